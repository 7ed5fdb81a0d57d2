"""Where a request goes, and with which key: a key is sent only to the host that it belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from automix_cli.backends.base import Request
from automix_cli.backends.catalog import is_local, is_loopback, provider_of, standard_key_envs
from automix_cli.errors import BadRequest, Unauthorised, keep_secret

DUMMY_KEY = "none"
"""Sent where a server wants no key: LiteLLM would otherwise look for one in the environment."""

OWN_HOSTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "openai": ("https://api.openai.com/v1", ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    "anthropic": ("https://api.anthropic.com", ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL")),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta", ("GEMINI_API_BASE",)),
    "openrouter": ("https://openrouter.ai/api/v1", ("OPENROUTER_API_BASE",)),
    "groq": ("https://api.groq.com/openai/v1", ("GROQ_API_BASE",)),
    "mistral": ("https://api.mistral.ai/v1", ("MISTRAL_API_BASE", "MISTRAL_AZURE_API_BASE")),
    "deepseek": ("https://api.deepseek.com/beta", ("DEEPSEEK_API_BASE",)),
    "xai": ("https://api.x.ai/v1", ("XAI_API_BASE",)),
    "together_ai": ("https://api.together.ai/v1", ("TOGETHER_AI_API_BASE",)),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_BASE",)),
    "cerebras": ("https://api.cerebras.ai/v1", ("CEREBRAS_API_BASE",)),
    "perplexity": ("https://api.perplexity.ai", ("PERPLEXITY_API_BASE",)),
    "deepinfra": ("https://api.deepinfra.com/v1/openai", ("DEEPINFRA_API_BASE",)),
    "cohere_chat": ("https://api.cohere.ai/v1/chat", ("COHERE_API_BASE",)),
}
"""Each provider's own address, and the variables with which an environment could redirect its key."""

_NEEDS_ADDRESS = {"hosted_vllm": "HOSTED_VLLM_API_BASE", "lm_studio": "LM_STUDIO_API_BASE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address that a request goes to, its key, and the variable that holds the key."""

    provider: str
    api_base: str | None
    api_key: str | None = field(repr=False)
    key_env: str = ""


def endpoint_of(request: Request, environ: Mapping[str, str]) -> Endpoint:
    """Provider, address and key of a request.

    A key goes only where it belongs: the provider's own variable to the provider's own
    host; to any other address nothing but the variable that the request names.

    Raises:
        BadRequest: there is no address.
        Unauthorised: there is no key, or it would be sent unencrypted.
    """
    provider = provider_of(request.model) or request.model.partition("/")[0]
    own_host, _ = OWN_HOSTS.get(provider, (None, ()))
    base = request.api_base or own_host or environ.get(_NEEDS_ADDRESS.get(provider, "")) or None
    if base is None and provider in _NEEDS_ADDRESS:
        raise BadRequest(f"{request.model} needs an address", hint="api_base: http://localhost:8000/v1")
    if request.api_key_env:
        names: tuple[str, ...] = (request.api_key_env,)
    else:
        names = () if request.api_base else standard_key_envs(request.model)
    name = next((n for n in names if environ.get(n, "").strip()), "")
    if names and not name:
        raise Unauthorised(f"no key for {request.model}: {names[0]} is not set", hint=f"export {names[0]}=…")
    if not name:
        # Cloud credentials (bedrock, vertex_ai) are found by LiteLLM itself; others get a placeholder.
        has_cloud_key = not request.api_base and not is_local(request.model)
        return Endpoint(provider=provider, api_base=base, api_key=None if has_cloud_key else DUMMY_KEY)
    key = environ[name].strip()  # a newline from a file would break the header
    keep_secret(key)
    if base is not None and base.startswith("http:") and not is_loopback(base):
        raise Unauthorised(f"the key in {name} would go to {base} unencrypted", hint="use an https address")
    return Endpoint(provider=provider, api_base=base, api_key=key, key_env=name)


def endpoint_notes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Notes for the user on variables that would redirect requests, and do not.

    Example:
        >>> endpoint_notes({"OPENAI_BASE_URL": "https://elsewhere.example"})[0].partition(":")[0]
        'OPENAI_BASE_URL is set and ignored'
    """
    return tuple(
        f"{name} is set and ignored: keys go to {address.split('/')[2]} only; "
        f"to use another address write api_base into a profile"
        for address, names in OWN_HOSTS.values()
        for name in names
        if environ.get(name)
    )


def shared_route(request: Request) -> Request:
    """The request by the OpenAI route, for Ollama's embeddings: on Ollama's LiteLLM takes no client.

    Example:
        >>> shared_route(Request(model="ollama/nomic-embed-text", messages=(), embeds=True)).api_base
        'http://localhost:11434/v1'
    """
    provider, _, name = request.model.partition("/")
    if provider not in ("ollama", "ollama_chat"):
        return request
    base = request.api_base or os.environ.get("OLLAMA_API_BASE") or "http://localhost:11434"
    return replace(request, model=f"openai/{name}", api_base=f"{base.rstrip('/')}/v1")
