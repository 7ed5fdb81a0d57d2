"""The road to every provider: LiteLLM behind the seam, imported when the first call needs it.

LiteLLM is asked for one request at a time and for nothing else: no retries, no `.env`, no price
list from the network, no word on stdout, no redirect, no key but the one given with the call, no
parameter dropped in silence. What comes back is checked before anybody may call it an answer.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NoReturn

from automix_cli.backends.base import Request
from automix_cli.backends.catalog import is_local, is_loopback, provider_of, standard_key_envs
from automix_cli.backends.embedding import flaw, packed
from automix_cli.backends.foreign_warnings import ignore_foreign_warnings
from automix_cli.backends.retry import Retrier, retry_after
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    NoText,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    keep_secret,
    redact,
    without_secrets,
)
from automix_cli.records import Completion, TokenLogprob, Usage

DUMMY_KEY = "none"
"""Sent where a server wants no key: LiteLLM would otherwise look for one in the environment."""

MAX_TOKENS = 1024
"""For providers that would otherwise generate up to the model's maximum."""

MANY_TOKENS = 10_000_000
"""More than any request can use: counts beyond it are a mistake."""

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
_DROPPABLE = ("temperature", "top_p")  # sampling advice; a model that refuses it samples in its own way
_SAMPLING = re.compile(r"\bsampling (param|setting|option|control)", re.IGNORECASE)
_OURS = {
    *("model", "messages", "n", "stream", "client", "timeout", "max_retries", "num_retries", "fallbacks"),
    *("api_key", "api_base", "base_url", "headers", "extra_headers", "drop_params", "mock_response"),
    *("input", "encoding_format"),
}


# ---------------------------------------------------------------- LiteLLM, loaded once and quietly


@cache
def load_litellm() -> Any:
    """Import LiteLLM as a guest should behave: silent, offline, without its `.env`.

    The import makes half a million objects; scanning them for garbage takes as long as
    making them, hence the pause and the freeze.
    """
    import logging
    import warnings

    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else: a price list from the network
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # else: a `.env` from any folder above
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litellm

            litellm.ModelResponse()  # builds the schemas that every call needs
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
    ignore_foreign_warnings()  # other schemas are built, and warned about, when first needed
    litellm.suppress_debug_info = True  # else: advertisements on stdout
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "litellm"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    return litellm


def skip_last_collection() -> None:
    """Call when the process is about to end: what LiteLLM left behind need not be swept up (1 s)."""
    gc.freeze()


def endpoint_notes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What to tell the user about variables that would redirect requests, and do not.

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


# ---------------------------------------------------------------- errors

_KINDS: Mapping[str, type[BackendError]] = {
    "ContextWindowExceededError": ContextTooLong,
    "ContentPolicyViolationError": ContentFiltered,
    "GuardrailRaisedException": ContentFiltered,
    "GuardrailInterventionNormalStringError": ContentFiltered,  # gone from later releases
    "BlockedPiiEntityError": ContentFiltered,
    "SensitiveDataRouteException": ContentFiltered,
    "RejectedRequestError": ContentFiltered,
    "AuthenticationError": Unauthorised,
    "PermissionDeniedError": Unauthorised,
    "PaymentRequiredError": Unauthorised,
    "BudgetExceededError": Unauthorised,
    "RateLimitError": RateLimited,
    "Timeout": TimedOut,
    "APITimeoutError": TimedOut,
    "NotFoundError": UnknownModel,
    "ModelNotMappedError": BadRequest,
    "UnsupportedParamsError": BadRequest,
    "LiteLLMUnknownProvider": BadRequest,
    "BadRequestError": BadRequest,
    "InvalidRequestError": BadRequest,
    "UnprocessableEntityError": BadRequest,
    "OpenAIError": BadResponse,
}
"""Names rather than classes: LiteLLM's and the SDK's share them, and neither need be imported."""


def map_error(exc: Exception) -> BackendError:
    """Our error for whatever LiteLLM raised.

    What the transport found (`transport.Guard`) is taken as it is. Else the most specific class
    that says something decides, then the status and the words, then the general class.
    """
    from automix_cli.backends.http_guard import chain, error_class

    own = next((link for link in chain(exc) if isinstance(link, BackendError)), None)
    if own is not None:
        return own
    text, status = plain(exc), status_of(exc)
    if re.search(r"missing credentials|api_key client option must be set", text, re.IGNORECASE):
        return Unauthorised(text)
    kind = next((_KINDS[k.__name__] for k in type(exc).__mro__ if k.__name__ in _KINDS), BadResponse)
    if kind in (BadRequest, BadResponse, RateLimited) and status is not None:
        kind = error_class(status, words(exc))
    headers = getattr(exc, "litellm_response_headers", None) or {}
    # A bad response that the transport did not see was a good one on the wire: it will be on the bill.
    return kind(text, retry_after=retry_after(headers, time.time()), maybe_billed=kind is BadResponse)


def status_of(exc: BaseException) -> int | None:
    """The HTTP status of a refusal, wherever the exception keeps it; None for none.

    Example:
        >>> exc = ValueError()
        >>> exc.status_code = "429"
        >>> status_of(exc)
        429
    """
    for holder in (exc, getattr(exc, "response", None)):
        for name in ("status_code", "http_status", "status", "code"):
            value = getattr(holder, name, None)
            if re.fullmatch("[45][0-9][0-9]", str(value)):
                return int(str(value))
    return None


def words(exc: BaseException) -> str:
    """What an exception says; some of LiteLLM's cannot be printed unless all their fields are set."""
    try:
        return str(exc)
    except Exception:
        told = getattr(exc, "message", None)
        return told if isinstance(told, str) else " ".join(str(part) for part in exc.args)


def plain(exc: BaseException) -> str:
    """What an exception of LiteLLM says, without its names, advice, traceback and keys.

    Example:
        >>> plain(ValueError("litellm.BadRequestError: OpenAIException - no such thing. To drop it, do x"))
        'no such thing'
    """
    text = words(exc).partition("Traceback (most recent call last)")[0]
    text = re.split(r"\.?\s*(?:To drop |Handle with `|LiteLLM Retried|Pass in the LLM)", text)[0]
    text = re.sub(r"^(?:[\w.]*(?:Error|Exception|Timeout)\b[\s:-]*)+", "", text.strip())
    line = " ".join(redact(text).split())
    return line[:300] or type(exc).__name__


# ---------------------------------------------------------------- the backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a request goes, with which key, and the variable that holds it."""

    provider: str
    api_base: str | None
    api_key: str | None = field(repr=False)
    key_env: str = ""


@dataclass(slots=True)
class LiteLLMBackend:
    """Completions from any model that LiteLLM can reach.

    `retrier` owns retries and pacing. `environ` is where keys are looked up (default: the process's).
    `notes` collects what a user should be told once, such as a parameter that a model refuses.

    Several completions are asked for in one request where provider and server take `n`, else
    one by one; a server that returns fewer than asked, or refuses, is remembered.
    """

    retrier: Retrier = field(default_factory=Retrier)
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    notes: list[str] = field(default_factory=list)
    _wire: Wire | None = None
    _singles: set[tuple[str, str]] = field(default_factory=set)
    _refused: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)
    _widths: dict[tuple[str, str], int] = field(default_factory=dict)

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Ask for `n` completions; see `Backend.complete`.

        Raises:
            BackendError: when not a single one could be had. A missing key is found before anything is sent.
        """
        self._way(request)
        load_litellm()  # here, so that its seconds do not count against the first call's wall clock
        if request.n > 1 and not self.supports_n(request.model, request.api_base):
            return await self._one_by_one(request)
        try:
            return await self.retrier.call(request, self._attempt)
        except BadRequest:
            if request.n == 1 or self.supports_n(request.model, request.api_base):
                raise
            return await self._one_by_one(request)  # it was n that the server refused

    async def aclose(self) -> None:
        """Close all connections."""
        if self._wire is not None:
            await self._wire.aclose()
            self._wire = None

    def supports_n(self, model: str, api_base: str | None = None) -> bool:
        """Whether several completions come from one request; a custom server is believed until refuted."""
        seen = Request(model=model, messages=(), api_base=api_base)
        return (model, seen.endpoint) not in self._singles and "n" in listed_params(model)

    def supports_logprobs(self, model: str) -> bool:
        """Whether a model returns the log-probabilities of its likeliest tokens."""
        return {"logprobs", "top_logprobs"} <= listed_params(model)

    async def _one_by_one(self, request: Request) -> tuple[Completion, ...]:
        """`n` requests at once; those that succeed are kept."""
        parts = [request.part(request.first + i, 1) for i in range(request.n)]
        calls = (self.retrier.call(part, self._attempt) for part in parts)
        results = await asyncio.gather(*calls, return_exceptions=True)
        done = [c for r in results if isinstance(r, tuple) for c in r]
        failed = [r for r in results if isinstance(r, BaseException)]
        bug = next((e for e in failed if not isinstance(e, BackendError)), None)
        if bug is not None:
            raise bug
        if not done:
            raise next((e for e in failed if isinstance(e, BackendError) and e.fatal), failed[0])
        return tuple(done)

    async def _attempt(self, request: Request) -> tuple[Completion, ...]:
        """One request on the wire, its answer checked."""
        started = time.monotonic()
        if request.embeds:
            return (self._read_embedding(await self._send(by_open_road(request)), request, started),)
        response = await self._send(request)
        if 0 < len(response.choices) < request.n:  # none at all is a failure, which teaches nothing
            self._singles.add((request.model, request.endpoint))
        return read_response(response, request, time.monotonic() - started)

    async def _send(self, request: Request) -> Any:
        """Call LiteLLM, again at once when it refused what can be put differently."""
        litellm, way = load_litellm(), self._way(request)
        self._wire = self._wire or Wire(litellm)
        self._wire.introduce(way, request.model)
        while True:
            arguments = self._arguments(request, way)
            try:
                return await (litellm.aembedding if request.embeds else litellm.acompletion)(**arguments)
            except Exception as exc:  # LiteLLM lets ValueError, KeyError and TypeError through as well
                if not (self._wire.learns(way, exc) or self._learns(request, arguments, exc)):
                    blame(exc, way)

    def _arguments(self, request: Request, way: Endpoint) -> dict[str, Any]:
        """The keyword arguments of `litellm.acompletion`, or of `litellm.aembedding`."""
        assert self._wire is not None
        params = request.param
        if ours := _OURS & params.keys():
            raise BadRequest(f"params: {', '.join(sorted(ours))} cannot be set")
        for name, instead in self._refused.get((request.model, request.endpoint), {}).items():
            value = params.pop(name, None)
            if instead and value is not None:
                params[instead] = value
        if way.provider == "anthropic":
            params.setdefault("max_tokens", MAX_TOKENS)
        if request.n > 1:
            params["n"] = request.n
        if request.embeds:
            params["input"] = [sendable(m.content) for m in request.messages]
            if "dimensions" in params:  # which LiteLLM knows of OpenAI's own models only
                params["allowed_openai_params"] = ["dimensions"]
            if way.provider == "azure":  # whose SDK would else ask for another form than all others
                params["encoding_format"] = "float"
        else:
            params["messages"] = [{"role": m.role, "content": sendable(m.content)} for m in request.messages]
        return params | {
            "model": request.model,
            "timeout": request.timeout,
            "max_retries": 0,
            "drop_params": False,
            "api_key": way.api_key,
            "api_base": way.api_base,
            "client": self._wire.client(way),
        }

    def _read_embedding(self, response: Any, request: Request, started: float) -> Completion:
        """The vector of an answer; one of another length than before is none of this model's.

        Raises:
            BadResponse: no vector, or one that cannot be it.
        """
        held = getattr(response, "data", None) or [{}]
        vector: Any = held[0].get("embedding") if isinstance(held[0], dict) else None
        problem = flaw(vector)
        if problem:
            raise BadResponse(f"{request.model}: the embedding {problem}", maybe_billed=True)
        wanted = request.param.get("dimensions")
        width = self._widths.get((request.model, request.endpoint), wanted or len(vector))
        if len(vector) != width:
            told = f"{request.model}: an embedding of {len(vector)} numbers instead of {width}"
            raise BadResponse(told, maybe_billed=True)
        self._widths[request.model, request.endpoint] = width
        usage, suspect = read_embedding_usage(response, request)
        return Completion(
            text=packed(vector),
            usage=usage,
            latency_s=time.monotonic() - started,
            flags=("usage_suspect",) if suspect else (),
        )

    def _way(self, request: Request) -> Endpoint:
        """Provider, address and key of a request.

        A key goes only where it belongs: the provider's own variable to the provider's own
        host; to any other address nothing but the variable that the request names.
        """
        environ = os.environ if self.environ is None else self.environ
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
            raise Unauthorised(
                f"no key for {request.model}: {names[0]} is not set", hint=f"export {names[0]}=…"
            )
        if not name:
            # Cloud credentials (bedrock, vertex_ai) are found by LiteLLM itself; others get a placeholder.
            signed = not request.api_base and not is_local(request.model)
            return Endpoint(provider=provider, api_base=base, api_key=None if signed else DUMMY_KEY)
        key = environ[name].strip()  # a newline that came along from a file would break the header
        keep_secret(key)
        if base is not None and base.startswith("http:") and not is_loopback(base):
            raise Unauthorised(
                f"the key in {name} would go to {base} unencrypted", hint="use an https address"
            )
        return Endpoint(provider=provider, api_base=base, api_key=key, key_env=name)

    def _learns(self, request: Request, arguments: Mapping[str, Any], exc: Exception) -> bool:
        """Whether the refusal names something that can be left out, or must be asked for differently."""
        error = map_error(exc)
        # Without a status LiteLLM itself refused, in an exception that may be new.
        if type(error) is not BadRequest and (type(error) is not BadResponse or status_of(exc)):
            return False
        said, where = f"{words(exc)} {error.message}", (request.model, request.endpoint)
        refused = self._refused.setdefault(where, {})
        if "max_tokens" in arguments and "max_completion_tokens" in said and "max_tokens" not in refused:
            refused["max_tokens"] = "max_completion_tokens"
            return True
        for name in _DROPPABLE:
            if name in arguments and (names_parameter(said, name) or _SAMPLING.search(said)):
                refused[name] = None
                note = f"{request.model} refuses {name}: it samples in its own way"
                self.notes += [] if note in self.notes else [note]
                return True
        if request.n > 1 and re.search(r"(?<!\\)\bn\b", said):
            self._singles.add(where)
        return False


def names_parameter(said: str, name: str) -> bool:
    """Whether a refusal speaks of a parameter, in whatever spelling.

    Example:
        >>> [names_parameter(said, "top_p") for said in ("`top_p` is gone", "topP: not here", "stop_pin")]
        [True, True, False]
    """
    loose = name.replace("_", "[-_ ]?")
    return re.search(rf"(?<![a-z_]){loose}(?![a-z_])", said, re.IGNORECASE) is not None


def by_open_road(request: Request) -> Request:
    """Ollama's embeddings by the road that all servers share: on its own one LiteLLM takes no client.

    Example:
        >>> by_open_road(Request(model="ollama/nomic-embed-text", messages=(), embeds=True)).api_base
        'http://localhost:11434/v1'
    """
    provider, _, name = request.model.partition("/")
    if provider not in ("ollama", "ollama_chat"):
        return request
    base = request.api_base or os.environ.get("OLLAMA_API_BASE") or "http://localhost:11434"
    return replace(request, model=f"openai/{name}", api_base=f"{base.rstrip('/')}/v1")


@cache
def listed_params(model: str) -> frozenset[str]:
    """The OpenAI parameters that LiteLLM lists for a model; asks no server."""
    litellm = load_litellm()
    provider = provider_of(model)
    name = model.partition("/")[2] if provider and model.startswith(f"{provider}/") else model
    found = litellm.get_supported_openai_params(model=name, custom_llm_provider=provider)
    return frozenset(found or ())


def sendable(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs, which JSON lets in, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def blame(exc: Exception, way: Endpoint) -> NoReturn:
    """Raise our error for LiteLLM's.

    Raises:
        BackendError: always.
    """
    error = map_error(exc)
    if isinstance(error, Unauthorised) and not error.hint:
        error.hint = (
            f"check the key in {way.key_env}" if way.key_env else "name the key's variable: api_key_env"
        )
    # One that the transport raised has its own cause; LiteLLM's wrapping of it adds nothing.
    raise error from (exc if error.__traceback__ is None else error.__cause__)


# ---------------------------------------------------------------- the clients that carry the requests


class Wire:
    """Guarded clients, made once: an HTTP handler, and SDK clients over the same connections.

    LiteLLM wants its own handler for most providers and an SDK client for the others; which is which
    differs from release to release, and it says so at once when it is given the wrong one. (It
    ignores both for cohere, replicate, models of the responses protocol and Gemini's embeddings: these go
    without the guard.)
    """

    def __init__(self, litellm: Any) -> None:
        from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

        from automix_cli.backends.http_guard import Guard

        self._litellm = litellm
        self._handler = AsyncHTTPHandler(timeout=None)
        client = self._handler.client
        client.follow_redirects = False
        client._transport = Guard(client._transport)
        self._by_sdk = {"openai", "azure"}
        self._sdk: dict[Endpoint, Any] = {}
        self._met: set[str] = set()

    def introduce(self, way: Endpoint, model: str) -> None:
        """Spare LiteLLM the question what this model can do, which it would put to Ollama, waiting."""
        if way.provider in ("ollama", "ollama_chat") and model not in self._met:
            self._met.add(model)
            free = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "chat"}
            self._litellm.register_model({model: free | {"litellm_provider": way.provider}})

    def client(self, way: Endpoint) -> Any:
        """The client for LiteLLM's `client=`."""
        if way.provider not in self._by_sdk:
            return self._handler
        if way not in self._sdk:
            self._sdk[way] = self._sdk_client(way)
        return self._sdk[way]

    def learns(self, way: Endpoint, exc: Exception) -> bool:
        """Whether LiteLLM could not use the handler, and is to get an SDK client from now on."""
        if way.provider in self._by_sdk or "AsyncHTTPHandler" not in words(exc):
            return False
        self._by_sdk.add(way.provider)
        return True

    def _sdk_client(self, way: Endpoint) -> Any:
        """An SDK client that keeps to one request: LiteLLM sets two retries on clients it is given."""
        import openai

        never = property(lambda self: 0, lambda self, retries: None)
        kind = openai.AsyncAzureOpenAI if way.provider == "azure" else openai.AsyncOpenAI
        once = type(kind.__name__, (kind,), {"max_retries": never})
        shared = {"api_key": way.api_key, "http_client": self._handler.client}
        if way.provider != "azure":
            return once(base_url=way.api_base, **shared)
        version = os.environ.get("AZURE_API_VERSION") or self._litellm.AZURE_DEFAULT_API_VERSION
        base = way.api_base or os.environ.get("AZURE_API_BASE", "")
        return once(azure_endpoint=base, api_version=version, **shared)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._handler.close()


# ---------------------------------------------------------------- reading an answer


def read_response(response: Any, request: Request, latency_s: float) -> tuple[Completion, ...]:
    """The completions of an answer, each with its share of the usage.

    Blank and filtered choices are left out; what they cost is borne by the others.

    Raises:
        ContentFiltered: nothing but refusals by the provider's filter.
        NoText: no choice with any text.
    """
    choices = list(response.choices)[: request.n]
    spoken = [c for c in choices if says_something(c)]
    if not spoken:
        raise silence(choices, request)
    usage, suspect = read_usage(response, request, [str(c.message.content) for c in spoken])
    return tuple(
        Completion(
            text=without_secrets(sendable(choice.message.content)),  # a server may repeat what it was sent
            usage=share,
            finish_reason=str(choice.finish_reason or "stop"),
            latency_s=latency_s,
            logprobs=read_logprobs(choice),
            flags=flags_of(choice, suspect),
        )
        for choice, share in zip(spoken, split_usage(usage, len(spoken)), strict=True)
    )


def says_something(choice: Any) -> bool:
    """Whether a choice is a text that the provider did not filter."""
    content = choice.message.content
    return isinstance(content, str) and bool(content.strip()) and choice.finish_reason != "content_filter"


def silence(choices: list[Any], request: Request) -> BackendError:
    """The error of an answer without a usable choice; it has been paid for all the same."""
    reasons, model = {choice.finish_reason for choice in choices}, request.model
    if "content_filter" in reasons:
        return ContentFiltered(f"{model}: the provider's filter withheld the answer", maybe_billed=True)
    if "length" in reasons:  # a reasoning model that spent all its tokens on thinking will do so again
        advice = "raise params: {max_tokens: …} of this tier"
        mute = NoText(f"{model} used up max_tokens before it said anything", hint=advice, maybe_billed=True)
        mute.retries = 0
        return mute
    return NoText(f"{model} returned no text", maybe_billed=True)


def flags_of(choice: Any, suspect: bool) -> tuple[str, ...]:
    """What is odd about a completion."""
    odd = {"truncated": choice.finish_reason == "length", "usage_suspect": suspect}
    return tuple(name for name, holds in odd.items() if holds)


def read_usage(response: Any, request: Request, texts: list[str]) -> tuple[Usage, bool]:
    """The usage of a request, and whether it had to be doubted.

    Missing and impossible counts are replaced by an estimate. A total that is larger by just the
    reasoning tokens means that these were not counted as output, though they are charged as such.
    """
    told = getattr(response, "usage", None)
    read, wrote, total = (
        count(told, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    cached = count(getattr(told, "prompt_tokens_details", None), "cached_tokens") or 0
    thought = count(getattr(told, "completion_tokens_details", None), "reasoning_tokens") or 0
    if read is not None and wrote is not None and total and thought and total == read + wrote + thought:
        wrote += thought
    suspect = not read or wrote is None or cached > read or thought > wrote or total not in (read + wrote, 0)
    if not read or wrote is None:
        read, wrote = read or estimate(prompt_text(request)), wrote or estimate("\n".join(texts))
    if not wrote:
        wrote, suspect = estimate("\n".join(texts)), True
    usage = Usage(
        input_tokens=read,
        output_tokens=wrote,
        cached_input_tokens=min(cached, read),
        reasoning_tokens=min(thought, wrote),
        calls=1,
    )
    return usage, suspect


def read_embedding_usage(response: Any, request: Request) -> tuple[Usage, bool]:
    """The usage of an embedding, and whether it had to be estimated; nothing is written for it."""
    told = getattr(response, "usage", None)
    read = count(told, "prompt_tokens") or count(told, "total_tokens")
    return Usage(input_tokens=read or estimate(prompt_text(request)), calls=1), not read


def count(holder: Any, name: str) -> int | None:
    """A token count, None when it is missing or impossible."""
    value = getattr(holder, name, None)
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MANY_TOKENS
    return value if sound else None


def prompt_text(request: Request) -> str:
    """All that was sent, as one text."""
    return "\n".join(m.content for m in request.messages)


def estimate(text: str) -> int:
    """About how many tokens a text has, by LiteLLM's counter; at least one."""
    return max(1, int(load_litellm().token_counter(model="gpt-4o", text=sendable(text))))


def split_usage(usage: Usage, k: int) -> Iterator[Usage]:
    """`usage` in k parts that add up to it: whole numbers, the remainder to the first, the call too.

    Example:
        >>> [u.output_tokens for u in split_usage(Usage(output_tokens=8, calls=1), 3)]
        [3, 3, 2]
    """
    for i in range(k):
        yield Usage(**{name: n // k + (i < n % k) for name, n in usage.to_dict().items()})


def read_logprobs(choice: Any) -> tuple[TokenLogprob, ...]:
    """Log-probabilities of a choice's tokens; none when the server sent none, or nonsense."""
    content = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    try:
        return tuple(TokenLogprob(t.token, float(t.logprob), alternatives(t)) for t in content)
    except (AttributeError, TypeError, ValueError):
        return ()


def alternatives(token: Any) -> tuple[tuple[str, float], ...]:
    """The likeliest tokens in a token's place."""
    return tuple((other.token, float(other.logprob)) for other in token.top_logprobs or ())
