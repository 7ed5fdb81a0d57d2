"""Where a request goes, and with which key: a key is sent only to the host that it belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from msgspec import structs

from automix_cli.backends.base import Request
from automix_cli.backends.catalog import is_local, is_loopback, provider_of, standard_key_envs
from automix_cli.backends.openai_providers import PROVIDERS
from automix_cli.errors import BadRequest, Unauthorised, keep_secret

DUMMY_KEY = "none"
"""Sent where a server wants no key: LiteLLM would otherwise look for one in the environment."""

OWN_HOSTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{name: (p.address, p.redirects) for name, p in PROVIDERS.items() if p.address},
    "anthropic": ("https://api.anthropic.com", ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL")),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta", ("GEMINI_API_BASE",)),
    "cohere_chat": ("https://api.cohere.ai/v1/chat", ("COHERE_API_BASE",)),
}
"""Each provider's own address, and the variables with which an environment could redirect its key."""

_NEEDS_ADDRESS = {name: p.address_env for name, p in PROVIDERS.items() if not p.address and p.default is None}


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


def is_openai(url: str) -> bool:
    """Whether an address is OpenAI's own.

    Example:
        >>> is_openai("https://api.openai.com/v1"), is_openai("https://api.openai.com.example/v1")
        (True, False)
    """
    return re.match(r"https://([a-z]+\.)?api\.openai\.com(:443)?(/|$)", url) is not None


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


def openai_endpoint(request: Request, environ: Mapping[str, str]) -> Endpoint:
    """The endpoint of a request by the OpenAI protocol, which Ollama speaks below `/v1`.

    Example:
        >>> openai_endpoint(Request(model="ollama/gemma3", messages=()), {}).api_base
        'http://localhost:11434/v1'
    """
    endpoint = endpoint_of(request, environ)
    provider = PROVIDERS.get(endpoint.provider)
    if provider is None:
        raise BadRequest(f"{endpoint.provider} does not speak the OpenAI protocol", hint="backend: litellm")
    if provider.default is None:
        return endpoint
    base = (endpoint.api_base or environ.get(provider.address_env) or provider.default).rstrip("/")
    return replace(endpoint, api_base=base if base.endswith("/v1") else f"{base}/v1")


def shared_route(request: Request) -> Request:
    """The request by the OpenAI route, for Ollama's embeddings: on Ollama's LiteLLM takes no client.

    Example:
        >>> shared_route(Request(model="ollama/nomic-embed-text", messages=(), embeds=True)).api_base
        'http://localhost:11434/v1'
    """
    provider, _, name = request.model.partition("/")
    if provider not in ("ollama", "ollama_chat"):
        return request
    base = openai_endpoint(request, os.environ).api_base
    return structs.replace(request, model=f"openai/{name}", api_base=base)
