"""The providers that speak the OpenAI protocol, and where each of them departs from it.

One closed list: the direct client (`openai_http.py`) calls these and no others, and the addresses
and key variables of these providers are known from nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


class Provider(Struct, frozen=True, kw_only=True):
    """A provider that speaks the OpenAI protocol.

    `address` is its own, `redirects` are the variables with which an environment could lead its
    keys elsewhere, which are ignored. Without an address of its own, a server is found by
    `api_base` or by the variable `address_env`, then at `default`. `key_envs` may hold the key.

    `takes_n` and `logprobs` tell what its servers give, as far as that is known without asking one;
    `bills_prompt_once`, that it says it bills one prompt for all completions of a call.
    `renames` are its own names of parameters. `native_params` are parameters that it takes in another
    protocol only, for which LiteLLM is needed.
    """

    address: str | None = None
    redirects: tuple[str, ...] = ()
    address_env: str = ""
    default: str | None = None
    key_envs: tuple[str, ...] = ()
    takes_n: bool = True
    bills_prompt_once: bool = False
    logprobs: bool = True
    renames: Mapping[str, str] = field(default_factory=dict)
    native_params: frozenset[str] = frozenset()


_OLLAMA_SERVER = Provider(
    address_env="OLLAMA_API_BASE",
    default="http://localhost:11434",
    takes_n=False,
    logprobs=False,
    # Options of Ollama's own protocol: under /v1 they are ignored without a word.
    native_params=frozenset({"num_ctx", "keep_alive", "top_k", "min_p", "repetition_penalty", "thinking"}),
)

PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider(
        address="https://api.openai.com/v1",
        redirects=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        key_envs=("OPENAI_API_KEY",),
        bills_prompt_once=True,
    ),
    "openrouter": Provider(
        address="https://openrouter.ai/api/v1",
        redirects=("OPENROUTER_API_BASE",),
        key_envs=("OPENROUTER_API_KEY",),
    ),
    "groq": Provider(
        address="https://api.groq.com/openai/v1", redirects=("GROQ_API_BASE",), key_envs=("GROQ_API_KEY",)
    ),
    "deepseek": Provider(
        address="https://api.deepseek.com/beta",
        redirects=("DEEPSEEK_API_BASE",),
        key_envs=("DEEPSEEK_API_KEY",),
    ),
    "mistral": Provider(
        address="https://api.mistral.ai/v1",
        redirects=("MISTRAL_API_BASE", "MISTRAL_AZURE_API_BASE"),
        key_envs=("MISTRAL_API_KEY",),
        takes_n=False,
        logprobs=False,
        renames={"seed": "random_seed"},
        native_params=frozenset({"reasoning_effort", "thinking"}),
    ),
    "together_ai": Provider(
        address="https://api.together.ai/v1",
        redirects=("TOGETHER_AI_API_BASE",),
        key_envs=("TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
    ),
    "fireworks_ai": Provider(
        address="https://api.fireworks.ai/inference/v1",
        redirects=("FIREWORKS_API_BASE",),
        key_envs=("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY"),
        native_params=frozenset({"thinking"}),
    ),
    "xai": Provider(address="https://api.x.ai/v1", redirects=("XAI_API_BASE",), key_envs=("XAI_API_KEY",)),
    "cerebras": Provider(
        address="https://api.cerebras.ai/v1",
        redirects=("CEREBRAS_API_BASE",),
        key_envs=("CEREBRAS_API_KEY",),
        takes_n=False,
        logprobs=False,
    ),
    "perplexity": Provider(
        address="https://api.perplexity.ai",
        redirects=("PERPLEXITY_API_BASE",),
        key_envs=("PERPLEXITYAI_API_KEY",),
        takes_n=False,
        logprobs=False,
    ),
    "deepinfra": Provider(
        address="https://api.deepinfra.com/v1/openai",
        redirects=("DEEPINFRA_API_BASE",),
        key_envs=("DEEPINFRA_API_KEY",),
        logprobs=False,
    ),
    "litellm_proxy": Provider(address_env="LITELLM_PROXY_API_BASE", key_envs=("LITELLM_PROXY_API_KEY",)),
    "hosted_vllm": Provider(address_env="HOSTED_VLLM_API_BASE", native_params=frozenset({"thinking"})),
    "lm_studio": Provider(address_env="LM_STUDIO_API_BASE"),
    "ollama": _OLLAMA_SERVER,
    "ollama_chat": _OLLAMA_SERVER,
}

NATIVE_OLLAMA = ("num_ctx", "keep_alive")
"""Parameters of a profile that Ollama alone has."""

_SILENT = re.compile(r"o\d|gpt-5(-(mini|nano|pro|codex).*|-\d{4}.*)?$")  # of OpenAI's reasoning models


def gives_logprobs(provider: str, name: str) -> bool:
    """Whether a model gives log-probabilities, as far as its provider and name tell.

    Example:
        >>> gives_logprobs("openai", "gpt-4o"), gives_logprobs("openai", "o3-mini")
        (True, False)
    """
    return PROVIDERS[provider].logprobs and not (provider == "openai" and _SILENT.match(name))


def name_on_wire(provider: str, model: str, *, embeds: bool = False) -> str:
    """The name by which the provider's server knows a model.

    Example:
        >>> name_on_wire("openrouter", "openrouter/a/m"), name_on_wire("openai", "gpt-4o")
        ('a/m', 'gpt-4o')
        >>> name_on_wire("fireworks_ai", "fireworks_ai/qwen3-8b")
        'accounts/fireworks/models/qwen3-8b'
    """
    name = model.removeprefix(f"{provider}/")
    if provider != "fireworks_ai" or embeds or name.startswith("accounts/") or "#" in name:
        return name
    if name.startswith(("routers/", "models/")):
        return f"accounts/fireworks/{name}"
    folder = "routers" if name.endswith("-fast") or name.startswith("firerouter") else "models"
    return f"accounts/fireworks/{folder}/{name}"


def own_params(provider: str, params: Mapping[str, Any], *, own_address: bool) -> dict[str, Any]:
    """The parameters by the provider's own names.

    OpenAI itself takes `max_completion_tokens` of every model, and of its newer ones nothing else.

    Example:
        >>> own_params("mistral", {"seed": 7}, own_address=True)
        {'random_seed': 7}
        >>> own_params("openai", {"max_tokens": 9}, own_address=True)
        {'max_completion_tokens': 9}
    """
    renames = PROVIDERS[provider].renames
    if provider == "openai" and own_address:
        renames = {**renames, "max_tokens": "max_completion_tokens"}
    return dict(params) if not renames else {renames.get(name, name): value for name, value in params.items()}


RESERVED = frozenset(
    {
        *("model", "messages", "n", "stream", "client", "timeout", "max_retries", "num_retries", "fallbacks"),
        *("api_key", "api_base", "base_url", "headers", "extra_headers", "drop_params", "mock_response"),
        *("input", "encoding_format"),
    }
)
"""What is no parameter of sampling, and is never taken from a profile."""


def _plain(name: str) -> str:
    """A field's name without the marks and capitals in which servers differ."""
    return name.lower().replace("_", "").replace("-", "")


_BOUNDS = (  # what a budget counts on: how many completions, and how long each may be
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "max_length"),
    *("num_predict", "n_predict", "best_of", "num_return_sequences", "candidate_count", "extra_body"),
)
_NEVER_EXTRA = frozenset(map(_plain, (*RESERVED, *_BOUNDS)))


def extra_body_problem(extra: Mapping[str, Any]) -> str | None:
    """What is wrong with fields that a profile adds to the body of a request.

    Example:
        >>> extra_body_problem({"guided_choice": ["a", "b"]})
        >>> extra_body_problem({"n": 8})
        'n cannot be set here'
    """
    if any(name.lower() == "options" for name in extra):
        return (
            "options would replace all options of Ollama, max_tokens and temperature too: "
            "write num_ctx, keep_alive and the others into params"
        )
    names = sorted(name for name in extra if _plain(name) in _NEVER_EXTRA)
    return f"{', '.join(names)} cannot be set here" if names else None
