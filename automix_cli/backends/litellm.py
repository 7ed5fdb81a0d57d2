"""Completions from every provider that LiteLLM reaches.

LiteLLM gets one request at a time: no retries, no `.env`, no price list from the network, no
redirects, no key but the one passed with the call, no parameter dropped silently. Its replies are
checked before they count as answers.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automix_cli.backends.base import Request
from automix_cli.backends.embedding import flaw, pack_vector
from automix_cli.backends.endpoints import Endpoint, endpoint_of, shared_route
from automix_cli.backends.foreign_warnings import ignore_warnings_in_calls
from automix_cli.backends.litellm_errors import (
    map_error,
    message_of,
    names_parameter,
    raise_mapped,
    refusal_of,
    status_of,
)
from automix_cli.backends.litellm_library import Clients, listed_params, load_litellm
from automix_cli.backends.litellm_replies import read_embedding_usage, read_response, sendable
from automix_cli.backends.retry import Retrier
from automix_cli.errors import BackendError, BadRequest, BadResponse
from automix_cli.records import Completion

ANTHROPIC_MAX_TOKENS = 1024  # Anthropic requires a limit

_DROPPABLE = ("temperature", "top_p")  # a model that refuses these samples in its own way

_NO_MAX_TOKENS = ("max_tokens", "unsupported_parameter")  # a refusal that needs no words

_SAMPLING = re.compile(r"\bsampling (param|setting|option|control)", re.IGNORECASE)

_RESERVED = {
    *("model", "messages", "n", "stream", "client", "timeout", "max_retries", "num_retries", "fallbacks"),
    *("api_key", "api_base", "base_url", "headers", "extra_headers", "drop_params", "mock_response"),
    *("input", "encoding_format"),
}


@dataclass(slots=True)
class LiteLLMBackend:
    """Completions from any model that LiteLLM can reach.

    `retrier` decides retries and pacing. Keys are looked up in `environ`, by default the process's.
    `notes` collects notes for the user, such as a parameter that a model refuses.

    Several completions are requested in one call where provider and server take `n`, else one
    by one. The backend remembers a server that returns fewer than `n`, or refuses.
    """

    retrier: Retrier = field(default_factory=Retrier)
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    notes: list[str] = field(default_factory=list)
    _clients: Clients | None = None
    _singles: set[tuple[str, str]] = field(default_factory=set)
    _refused_params: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)
    _widths: dict[tuple[str, str], int] = field(default_factory=dict)

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Request `n` completions; see `Backend.complete`.

        Raises:
            BackendError: when there is not a single one. A missing key is noticed before anything is sent.
        """
        self._endpoint(request)
        load_litellm()  # here, because its seconds must not count against the first call's timeout
        if request.n > 1 and not self.supports_n(request.model, request.api_base):
            return await self._one_by_one(request)
        try:
            return await self.retrier.call(request, self._attempt)
        except BadRequest:
            if request.n == 1 or self.supports_n(request.model, request.api_base):
                raise
            return await self._one_by_one(request)  # the server refused `n`

    async def aclose(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.aclose()

    def supports_n(self, model: str, api_base: str | None = None) -> bool:
        """Whether one request may ask for several completions: yes, unless the server has shown otherwise."""
        request = Request(model=model, messages=(), api_base=api_base)
        return (model, request.endpoint) not in self._singles and "n" in listed_params(model)

    def supports_logprobs(self, model: str) -> bool:
        """Whether a model returns the log-probabilities of its likeliest tokens."""
        return {"logprobs", "top_logprobs"} <= listed_params(model)

    async def _one_by_one(self, request: Request) -> tuple[Completion, ...]:
        """Send `n` requests at once and return the completions of those that succeed."""
        parts = [request.part(request.first + i, 1) for i in range(request.n)]
        calls = (self.retrier.call(part, self._attempt) for part in parts)
        results = await asyncio.gather(*calls, return_exceptions=True)
        completions = [c for r in results if isinstance(r, tuple) for c in r]
        errors = [r for r in results if isinstance(r, BaseException)]
        bug = next((e for e in errors if not isinstance(e, BackendError)), None)
        if bug is not None:
            raise bug
        if not completions:
            raise next((e for e in errors if isinstance(e, BackendError) and e.fatal), errors[0])
        return tuple(completions)

    async def _attempt(self, request: Request) -> tuple[Completion, ...]:
        """Send one request and check its reply."""
        start = time.monotonic()
        if request.embeds:
            return (self._read_embedding(await self._send(shared_route(request)), request, start),)
        response = await self._send(request)
        choices = getattr(response, "choices", None) or ()
        if 0 < len(choices) < request.n:  # none at all is a failure and says nothing about `n`
            self._singles.add((request.model, request.endpoint))
        try:
            return read_response(response, request, time.monotonic() - start)
        except (AttributeError, TypeError, ValueError, KeyError, IndexError) as exc:
            raise BadResponse(f"{request.model} sent a reply that cannot be read: {exc}") from exc

    async def _send(self, request: Request) -> Any:
        """Call LiteLLM; call it again at once when a refusal can be avoided by other arguments."""
        litellm, endpoint = load_litellm(), self._endpoint(request)
        self._clients = self._clients or Clients(litellm)
        self._clients.register(endpoint, request.model)
        while True:
            arguments = self._arguments(request, endpoint)
            ignore_warnings_in_calls()
            try:
                return await (litellm.aembedding if request.embeds else litellm.acompletion)(**arguments)
            except asyncio.CancelledError as exc:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody cancelled this task, so the library did: without an error the row would be lost.
                raise BadResponse(f"{request.model}: the call was cancelled by LiteLLM") from exc
            except Exception as exc:  # LiteLLM raises ValueError, KeyError and TypeError as well
                if not (self._clients.switch_client(endpoint, exc) or self._adapt(request, arguments, exc)):
                    raise_mapped(exc, endpoint)

    def _endpoint(self, request: Request) -> Endpoint:
        return endpoint_of(request, os.environ if self.environ is None else self.environ)

    def _arguments(self, request: Request, endpoint: Endpoint) -> dict[str, Any]:
        """The keyword arguments of `litellm.acompletion`, or of `litellm.aembedding`."""
        assert self._clients is not None
        params = request.param
        if reserved_names := _RESERVED & params.keys():
            raise BadRequest(f"params: {', '.join(sorted(reserved_names))} cannot be set")
        for name, substitute in self._refused_params.get((request.model, request.endpoint), {}).items():
            value = params.pop(name, None)
            if substitute and value is not None:
                params[substitute] = value
        if endpoint.provider == "anthropic":
            params.setdefault("max_tokens", ANTHROPIC_MAX_TOKENS)
        if request.n > 1:
            params["n"] = request.n
        if request.embeds:
            params["input"] = [sendable(m.content) for m in request.messages]
            if "dimensions" in params:  # LiteLLM allows it for OpenAI's own models only
                params["allowed_openai_params"] = ["dimensions"]
            if endpoint.provider == "azure":  # its SDK would else request base64
                params["encoding_format"] = "float"
        else:
            params["messages"] = [{"role": m.role, "content": sendable(m.content)} for m in request.messages]
        return params | {
            "model": request.model,
            "timeout": request.timeout,
            "max_retries": 0,
            "drop_params": False,
            "api_key": endpoint.api_key,
            "api_base": endpoint.api_base,
            "client": self._clients.client(endpoint),
        }

    def _read_embedding(self, response: Any, request: Request, start: float) -> Completion:
        """The vector of a reply, which must be as long as all others of the model.

        Raises:
            BadResponse: no vector, or a wrong one.
        """
        rows = getattr(response, "data", None) or [{}]
        vector: Any = rows[0].get("embedding") if isinstance(rows[0], dict) else None
        problem = flaw(vector)
        if problem:
            raise BadResponse(f"{request.model}: the embedding {problem}", maybe_billed=True)
        dimensions = request.param.get("dimensions")
        width = self._widths.get((request.model, request.endpoint), dimensions or len(vector))
        if len(vector) != width:
            message = f"{request.model}: an embedding of {len(vector)} numbers instead of {width}"
            raise BadResponse(message, maybe_billed=True)
        self._widths[request.model, request.endpoint] = width
        usage, suspect = read_embedding_usage(response, request)
        return Completion(
            text=pack_vector(vector),
            usage=usage,
            latency_s=time.monotonic() - start,
            flags=("usage_suspect",) if suspect else (),
        )

    def _adapt(self, request: Request, arguments: Mapping[str, Any], exc: Exception) -> bool:
        """Note a parameter to leave out or rename from now on; return whether the refusal names one."""
        error = map_error(exc)
        # An exception without a status is a refusal of LiteLLM's own, perhaps of a new class.
        if type(error) is not BadRequest and (type(error) is not BadResponse or status_of(exc)):
            return False
        message, refusal = f"{message_of(exc)} {error.message}", refusal_of(exc)
        key = (request.model, request.endpoint)
        substitutes = self._refused_params.setdefault(key, {})
        wants_other_name = "max_completion_tokens" in message or refusal == _NO_MAX_TOKENS
        if "max_tokens" in arguments and wants_other_name and "max_tokens" not in substitutes:
            substitutes["max_tokens"] = "max_completion_tokens"
            return True
        name = _droppable(arguments, refusal.param, message)
        if name is not None:
            substitutes[name] = None
            note = f"{request.model} refuses {name}: it samples in its own way"
            self.notes += [] if note in self.notes else [note]
            return True
        if request.n > 1 and re.search(r"(?<!\\)\bn\b", message):
            self._singles.add(key)
        return False


def _droppable(arguments: Mapping[str, Any], param: str, message: str) -> str | None:
    """The argument to leave out after a refusal; None where it speaks of none that may be.

    A field, where there is one, decides: a message may name other parameters beside the one it refuses.
    """
    names = [name for name in _DROPPABLE if name in arguments]
    for name in names:
        if names_parameter(param, name):
            return name
    return next((n for n in names if names_parameter(message, n) or _SAMPLING.search(message)), None)
