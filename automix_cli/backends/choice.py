"""Which client calls a model: the simulated tiers, the direct client, or LiteLLM for all others."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from automix_cli.backends.catalog import is_served_by_responses, provider_of
from automix_cli.backends.openai_providers import PROVIDERS

if TYPE_CHECKING:
    from automix_cli.backends.base import Request

BackendName = Literal["auto", "direct", "litellm"]
BACKENDS: tuple[str, ...] = get_args(BackendName)

ClientName = Literal["demo", "direct", "litellm"]


def client_of(
    model: str, params: Collection[str], *, api_base: str | None = None, backend: str = "auto"
) -> ClientName:
    """The client for a model with these parameters, as a tier's `backend` has it.

    Example:
        >>> client_of("openai/gpt-5", ()), client_of("anthropic/claude-haiku-4-5", ())
        ('direct', 'litellm')
        >>> client_of("ollama_chat/gemma3", ("num_ctx",)), client_of("groq/m", (), backend="litellm")
        ('litellm', 'litellm')
    """
    if model.startswith("demo/"):
        return "demo"
    if backend == "litellm" or not_direct(model, params, api_base):
        return "litellm"
    return "direct"


def not_direct(model: str, params: Collection[str], api_base: str | None = None) -> str:
    """Why the direct client cannot call a model, as the end of a sentence; "" when it can.

    Example:
        >>> not_direct("anthropic/claude-haiku-4-5", ())
        'anthropic does not speak the OpenAI protocol'
        >>> not_direct("ollama/gemma3", ("num_ctx", "seed"))
        'num_ctx is no parameter of the OpenAI protocol of ollama'
    """
    provider = provider_of(model) or model.partition("/")[0]
    if provider not in PROVIDERS:
        return f"{provider} does not speak the OpenAI protocol"
    names = sorted(PROVIDERS[provider].native_params.intersection(params))
    if names:
        verb = "is no parameter" if len(names) == 1 else "are no parameters"
        return f"{', '.join(names)} {verb} of the OpenAI protocol of {provider}"
    if api_base is None and is_served_by_responses(model):
        return f"{provider} serves {model} by its responses protocol only"
    return ""


def client_for(request: Request) -> ClientName:
    """The client for a request."""
    names = tuple([name for name, _ in request.params])
    return _known_client(request.model, names, request.api_base, request.backend)


@lru_cache(maxsize=64)
def _known_client(model: str, names: tuple[str, ...], api_base: str | None, backend: str) -> ClientName:
    return client_of(model, names, api_base=api_base, backend=backend)


def gives_logprobs(client: ClientName, model: str, *, alternatives: bool) -> bool:
    """Whether a model gives log-probabilities of its tokens, and of the likeliest alternatives too.

    Example:
        >>> gives_logprobs("direct", "mistral/mistral-small", alternatives=False)
        False
    """
    if client == "demo":
        return True
    if client == "direct":
        from automix_cli.backends import openai_providers

        provider = provider_of(model) or ""
        return openai_providers.gives_logprobs(provider, openai_providers.name_on_wire(provider, model))
    from automix_cli.backends.litellm_library import listed_params

    params = {"logprobs", "top_logprobs"} if alternatives else {"logprobs"}
    return params <= listed_params(model)
