"""Provider, key variables and list price of a model, without importing LiteLLM, which takes seconds.

LiteLLM's package folder holds a table of some four thousand models as JSON; single entries are
read out of it as they are needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from automix_cli.backends.openai_providers import PROVIDERS
from automix_cli.errors import describe_value, did_you_mean
from automix_cli.texts import lazy_pattern
from automix_cli.usage import Price

LOCAL_PROVIDERS = frozenset(
    {"ollama", "ollama_chat", "lm_studio", "llamafile", "hosted_vllm", "docker_model_runner"}
)
"""Servers that people run themselves, where a token costs nothing. All others charge."""

_COMMON_PROVIDERS = LOCAL_PROVIDERS | {
    *("anthropic", "gemini", "demo", "azure", "bedrock", "vertex_ai", "cohere_chat", *PROVIDERS)
}
_KEY_ENVS = {
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY",),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    # Signed with cloud credentials or logged in elsewhere: there is no one key.
    **dict.fromkeys(("bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai", "oci"), ()),
    **dict.fromkeys(("github_copilot", "chatgpt", "demo", *LOCAL_PROVIDERS), ()),
    **{name: provider.key_envs for name, provider in PROVIDERS.items()},
}
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?"
)


def is_loopback(api_base: str) -> bool:
    """Whether an address is certainly this machine.

    Example:
        >>> [is_loopback(f"http://{h}/v1") for h in ("localhost:80", "127.0.0.1", "[::1]", "127.0.0.1@e.com")]
        [True, True, True, False]
    """
    match = URL.fullmatch(api_base)
    return match is not None and is_loopback_host(match[2].strip("[]"))


def is_loopback_host(host: str) -> bool:
    """Whether a host's name, or its address without brackets, is certainly this machine.

    Example:
        >>> [is_loopback_host(h) for h in ("LOCALHOST", "127.0.0.1", "::1", "0.0.0.0", "localhost.e.com")]
        [True, True, True, False, False]
    """
    import ipaddress

    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local(model: str) -> bool:
    """Whether a model runs on a server of one's own."""
    return model.partition("/")[0] in LOCAL_PROVIDERS


def standard_key_envs(model: str) -> tuple[str, ...]:
    """The variables in which the model's provider looks for a key; empty when it needs none.

    Example:
        >>> standard_key_envs("gemini/gemini-2.5-flash"), standard_key_envs("ollama_chat/gemma3")
        (('GEMINI_API_KEY', 'GOOGLE_API_KEY'), ())
    """
    provider = provider_of(model)
    if provider is None:
        return ()
    return _KEY_ENVS.get(provider, (f"{provider.upper().replace('-', '_')}_API_KEY",))


def provider_of(model: str) -> str | None:
    """The provider that LiteLLM sends a model's requests to; None when it knows none.

    Example:
        >>> provider_of("openai/anything"), provider_of("demo/small"), provider_of("nobody/x")
        ('openai', 'demo', None)
    """
    head, slash, _ = model.partition("/")
    if slash and (head in _COMMON_PROVIDERS or head in _providers()):
        return head
    entry = _table_entry(model)
    return str(entry.get("litellm_provider", "")).partition("-")[0] or None if entry else None


def model_problem(model: str) -> str | None:
    """What is wrong with a model's name, if anything."""
    if not _MODEL_NAME.fullmatch(model) or "://" in model or model.endswith("/"):
        return f"expected a model such as openai/gpt-6-luna, got {describe_value(model)}"
    if provider_of(model) is not None:
        return None
    head, slash, _ = model.partition("/")
    if slash:
        return f"unknown provider {head}{did_you_mean(head, _COMMON_PROVIDERS | _providers())}"
    return f"unknown model {model}: write provider/model, such as openai/{model}"


_HOST = lazy_pattern(
    r"(?i)(^|/)([^/]*@)?(localhost|[0-9]{1,3}(\.[0-9]{1,3}){3}|[^/]*\.[a-z]{2,63})(:[0-9]+)?(/|$)"
    r"|arn:|agentcore|(^|/)\.*(/|$)|:[0-9]{2,5}(/|$)"
)


def names_host(model: str) -> bool:
    """Whether a model's name could say where a request goes; names in LiteLLM's table do not.

    Some providers build the address from the name: from the region in an ARN (`bedrock/agentcore/arn:…`),
    or from its first part (`baseten/NAME`).

    Example:
        >>> names_host("bedrock/agentcore/arn:aws:bedrock-agentcore:evil.example/:1:runtime/x")
        True
        >>> [names_host(m) for m in ("openai/gpt-5", "ollama_chat/gemma3:4b", "groq/llama-3.3-70b")]
        [False, False, False]
    """
    _, _, name = model.partition("/")
    return _HOST.search(name or model) is not None and not _entry(model)


def _litellm_folder() -> Path | None:
    """Where LiteLLM is installed, found without the seconds it takes to import it."""
    from importlib.util import find_spec

    spec = find_spec("litellm")
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def _price_table() -> bytes:
    """LiteLLM's bundled table of models as JSON; empty when there is none.

    It stays bytes, since to decode three megabytes takes several times as long as to search them.
    """
    folder = _litellm_folder()
    path = folder / "model_prices_and_context_window_backup.json" if folder else None
    return path.read_bytes() if path and path.is_file() else b""


@cache
def _providers() -> frozenset[str]:
    """Every provider of LiteLLM, from several files, because none has them all."""
    folder = _litellm_folder()
    if folder is None:
        return frozenset()
    names = re.findall(rb'"litellm_provider": "([a-z0-9_.-]+)"', _price_table())
    providers = {name.decode() for name in names}
    providers |= {p.name for p in folder.glob("llms/[a-z]*") if p.is_dir()}
    endpoints, types = folder / "provider_endpoints_support_backup.json", folder / "types" / "utils.py"
    if endpoints.is_file():
        providers |= json.loads(endpoints.read_text(encoding="utf-8")).get("providers", {}).keys()
    if types.is_file():
        _, _, members = types.read_text(encoding="utf-8").partition("class LlmProviders")
        providers |= set(
            re.findall(r'^    [A-Z0-9_]+ = "([a-z0-9_.-]+)"', members.partition("\n\n\n")[0], re.M)
        )
    return frozenset(providers)


_VALUE = re.compile(rb":\s*(?=\{)")
_MOST_OF_ENTRIES = 4096  # bytes


@cache
def _table_entry(model: str) -> dict[str, Any] | None:
    """LiteLLM's entry for a model; only this entry of the three megabytes is decoded."""
    table, key = _price_table(), json.dumps(model).encode()
    start = -1 if model == "sample_spec" else table.find(key)
    while start >= 0:
        if match := _VALUE.match(table, start + len(key)):
            return _object_at(table, match.end())
        start = table.find(key, start + 1)
    return None


def _object_at(table: bytes, start: int) -> dict[str, Any]:
    """The JSON object that begins at a place."""
    size = _MOST_OF_ENTRIES
    while True:
        piece = table[start : start + size]
        try:
            entry: dict[str, Any] = json.JSONDecoder().raw_decode(piece.decode("utf-8", "replace"))[0]
        except ValueError:
            if start + size >= len(table):
                raise
            size *= 16
        else:
            return entry


@cache
def _entry(model: str) -> Mapping[str, Any]:
    """The table's entry for a model, with or without its provider's prefix; empty when there is none."""
    entry = _table_entry(model)
    provider, slash, rest = model.partition("/")
    if entry is None and slash:
        # OpenAI, Anthropic and a few others stand in the table without their prefix.
        entry = _table_entry(rest)
        if entry is not None and not str(entry.get("litellm_provider")).startswith(provider):
            return {}
    return entry or {}


@cache
def list_price(model: str) -> Price | None:
    """The list price of a model in LiteLLM's table, USD per million tokens; None when unknown.

    Only models on a server of one's own are free (`LOCAL_PROVIDERS`), which Ollama's `…-cloud`
    models are not. A zero of any other provider is a gap in the table: the price is unknown,
    unless it is the output of an embedding model. Higher rates for very long prompts are not included.

    Example:
        >>> list_price("ollama_chat/gemma3:4b"), list_price("nobody/knows")
        (Price(input=0.0, output=0.0, cached_input=None, cache_write=None), None)
    """
    provider, _, rest = model.partition("/")
    if provider in LOCAL_PROVIDERS:
        return None if re.search("[:-]cloud$", rest) else Price(input=0.0, output=0.0)
    entry = _entry(model)
    input_rate, output_rate = _rate(entry, "input_cost_per_token"), _rate(entry, "output_cost_per_token")
    if not input_rate or not (output_rate or entry.get("mode") == "embedding"):
        return None
    return Price(
        input=input_rate,
        output=output_rate,
        cached_input=_rate(entry, "cache_read_input_token_cost") or None,
        cache_write=_rate(entry, "cache_creation_input_token_cost") or None,
    )


def service_price(model: str, service: str, standard: Price) -> Price | None:
    """The price of a service such as flex, where `standard` is that of the standard one; None when unknown.

    Each rate changes as the table's does. Where the table gives no rate for cached input, that changes as
    the input's.

    Example:
        >>> service_price("openai/gpt-5", "flex", Price(input=1.25, output=10.0, cached_input=0.125))
        Price(input=0.625, output=5.0, cached_input=0.0625, cache_write=None)
        >>> service_price("nobody/knows", "flex", Price(input=1.0, output=1.0)) is None
        True
    """
    entry = _entry(model)

    def ratio(name: str) -> float | None:
        of_service, of_standard = _rate(entry, f"{name}_{service}"), _rate(entry, name)
        return of_service / of_standard if of_service and of_standard else None

    for_input, for_output = ratio("input_cost_per_token"), ratio("output_cost_per_token")
    if for_input is None or for_output is None:
        return None
    for_cached = ratio("cache_read_input_token_cost") or for_input
    cached, for_write = standard.cached_input, standard.cache_write
    return Price(
        input=standard.input * for_input,
        output=standard.output * for_output,
        cached_input=None if cached is None else cached * for_cached,
        cache_write=None if for_write is None else for_write * for_input,
    )


def context_window(model: str) -> int | None:
    """How many input tokens a model takes, in LiteLLM's table; None when unknown.

    Example:
        >>> context_window("nobody/knows") is None
        True
    """
    tokens = _entry(model).get("max_input_tokens")
    return tokens if isinstance(tokens, int) and tokens > 0 else None


MARKS_PREFIXES = frozenset(
    {"anthropic", "bedrock", "bedrock_converse", "vertex_ai", "azure_ai", "databricks"}
)
"""Providers of Claude, which caches a prefix only where it is marked; other models need no marks."""

_CACHEABLE_TOKENS = 1024
_WRITE_RATE = 1.25  # of the input's rate, at Anthropic


def least_marked_prefix(model: str) -> int | None:
    """The fewest tokens of a prefix that is cached where it is marked; None for a model that takes no marks.

    A model takes them where LiteLLM's table lists that it caches prompts, and it is a Claude.

    Example:
        >>> least_marked_prefix("anthropic/claude-sonnet-4-5"), least_marked_prefix("openai/gpt-5")
        (1024, None)
        >>> least_marked_prefix("nobody/claude") is None
        True
    """
    if "claude" not in model or provider_of(model) not in MARKS_PREFIXES:
        return None  # without a look at the table, which takes some milliseconds to read
    entry = _entry(model)
    if not entry.get("supports_prompt_caching"):
        return None
    tokens = entry.get("prompt_cache_min_tokens")
    return tokens if isinstance(tokens, int) else _CACHEABLE_TOKENS


def with_write_rate(model: str, price: Price) -> Price:
    """The price with a rate for what is written into a provider's cache, where a model takes marks.

    A rate that it lacks stands to the input's as in the table.

    Example:
        >>> with_write_rate("anthropic/claude-sonnet-4-5", Price(input=2.0, output=9.0)).cache_write
        2.5
        >>> with_write_rate("openai/gpt-5", Price(input=2.0, output=9.0)).cache_write is None
        True
    """
    if price.cache_write is not None or least_marked_prefix(model) is None:
        return price
    names = ("input_cost_per_token", "cache_creation_input_token_cost")
    of_input, of_write = (_rate(_entry(model), name) for name in names)
    ratio = of_write / of_input if of_input and of_write else _WRITE_RATE
    return replace(price, cache_write=price.input * ratio)


def is_served_by_responses(model: str) -> bool:
    """Whether a model speaks only the protocol that OpenAI calls responses, in LiteLLM's table.

    Example:
        >>> is_served_by_responses("nobody/knows")
        False
    """
    return _entry(model).get("mode") == "responses"


def _rate(entry: Mapping[str, Any], key: str) -> float:
    """A rate of the table in USD per million tokens; 0 where it has none."""
    return round(float(entry.get(key) or 0) * 1e6, 9)
