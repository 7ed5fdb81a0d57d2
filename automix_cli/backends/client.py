"""What all clients of model servers do alike, whatever protocol they speak.

    complete ─▶ retries and pacing (retry.py) ─▶ _attempt ─▶ exchange (each client's own) ─▶ completions

A client remembers what a server has refused, or failed to return, and asks differently from then on.
"""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from automix_cli.backends.base import Request, endpoint_name
from automix_cli.backends.catalog import provider_of
from automix_cli.backends.endpoints import Endpoint, endpoint_of
from automix_cli.backends.openai_providers import RESERVED, extra_body_problem
from automix_cli.backends.refusals import Refusal, names_parameter, refuses_n, refuses_sampling
from automix_cli.backends.replies import Reply, completions_of, embedding_of
from automix_cli.backends.retry import Retrier
from automix_cli.errors import BackendError, BadRequest, RateLimited
from automix_cli.records import Completion

_DROPPABLE = ("temperature", "top_p")  # a model that refuses these samples in its own way

_NO_MAX_TOKENS = Refusal("max_tokens", "unsupported_parameter")  # a refusal that needs no words


@dataclass(slots=True)
class Client(ABC):
    """A client of model servers; a subclass exchanges one request for one reply.

    `retrier` decides retries and pacing. Keys are looked up in `environ`, by default the process's.
    `notes` collects notes for the user, such as a parameter that a model refuses.

    Several completions are requested in one call where provider and server take `n`, else one
    by one. The client remembers a server that returns fewer than `n`, or refuses.
    """

    retrier: Retrier = field(default_factory=Retrier)
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    notes: list[str] = field(default_factory=list)
    _singles: set[tuple[str, str]] = field(default_factory=set)
    _refused_params: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)
    _widths: dict[tuple[str, str], int] = field(default_factory=dict)

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Request `n` completions; see `Backend.complete`.

        Raises:
            BackendError: when there is not a single one. A missing key is noticed before anything is sent.
        """
        self.endpoint(request)
        self.prepare()
        if request.n > 1 and not self.supports_n(request.model, request.api_base):
            return await self._one_by_one(request)
        try:
            return await self.send(request)
        except BadRequest:
            if request.n == 1 or self.supports_n(request.model, request.api_base):
                raise
            return await self._one_by_one(request)  # the server refused `n`

    async def send(self, request: Request) -> tuple[Completion, ...]:
        """Send one request, again where that may help.

        Raises:
            BackendError: it failed for good.
        """
        return await self.retrier.call(request, self._attempt)

    def prepare(self) -> None:
        """Load what the first call needs: its seconds must not count against that call's timeout."""
        return

    @abstractmethod
    async def exchange(self, request: Request) -> Reply:
        """Send one request once, and read the reply.

        Raises:
            BackendError: there is no reply that can be read.
        """

    @abstractmethod
    def provider_takes_n(self, model: str) -> bool:
        """Whether the provider of a model takes `n`, as far as is known without asking a server."""

    def supports_n(self, model: str, api_base: str | None = None) -> bool:
        """Whether one request may ask for several completions: yes, unless the server has shown otherwise."""
        return (model, endpoint_name(model, api_base)) not in self._singles and self.provider_takes_n(model)

    def endpoint(self, request: Request) -> Endpoint:
        """Address and key of a request."""
        return endpoint_of(request, os.environ if self.environ is None else self.environ)

    async def _one_by_one(self, request: Request) -> tuple[Completion, ...]:
        """Send `n` requests at once and return the completions of those that succeed."""
        parts = [request.part(request.first + i, 1) for i in range(request.n)]
        results = await asyncio.gather(*map(self.send, parts), return_exceptions=True)
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
        start, key = time.monotonic(), (request.model, request.endpoint)
        try:
            reply = await self.exchange(request)
        except RateLimited as error:
            if request.service_tier != "flex" or not error.lacks_room:
                raise
            request = self._without_flex(request)
            reply = await self.exchange(request)
        latency_s = time.monotonic() - start
        if request.embeds:
            width = self._widths.get(key, request.param.get("dimensions"))
            completion = embedding_of(reply, request, width, latency_s)
            self._widths[key] = len(reply.vector)
            return (completion,)
        if 0 < len(reply.choices) < request.n:  # none at all is a failure and says nothing about `n`
            self._singles.add(key)
        shares_prompt = self.supports_n(request.model, request.api_base)
        completions = completions_of(reply, request, latency_s, shares_prompt=shares_prompt)
        if "context_cut_by_server" in completions[0].flags:
            self.note(
                f"{request.model} counted far fewer prompt tokens than were sent: its server cuts the "
                "context (Ollama: params: {num_ctx: …})"
            )
        return completions

    def _without_flex(self, request: Request) -> Request:
        """The request to the standard service, where flex has no room for it."""
        self.note(f"{request.model}: flex had no room for some calls; they went to the standard service")
        return replace(request, service_tier="standard")

    def note(self, line: str) -> None:
        """Keep a note for the user, each once."""
        if line not in self.notes:
            self.notes.append(line)

    def params_for(self, request: Request) -> dict[str, Any]:
        """The parameters to send: those of the request, but for what its server has refused.

        Raises:
            BadRequest: a parameter that is none of sampling.
        """
        params = request.param
        if reserved_names := RESERVED & params.keys():
            raise BadRequest(f"params: {', '.join(sorted(reserved_names))} cannot be set")
        if (extra := params.get("extra_body")) and (problem := extra_body_problem(extra)):
            raise BadRequest(f"extra_body: {problem}")
        if request.service_tier is not None:
            params |= wire_service_tier(request)
        for name, substitute in self._refused_params.get((request.model, request.endpoint), {}).items():
            value = params.pop(name, None)
            if substitute and value is not None:
                params[substitute] = value
        return params

    def learn(self, request: Request, parameters: Mapping[str, Any], message: str, refusal: Refusal) -> bool:
        """Note a parameter to leave out or rename from now on; return whether a refusal names one."""
        key = (request.model, request.endpoint)
        substitutes = self._refused_params.setdefault(key, {})
        wants_other_name = "max_completion_tokens" in message or refusal == _NO_MAX_TOKENS
        if "max_tokens" in parameters and wants_other_name and "max_tokens" not in substitutes:
            substitutes["max_tokens"] = "max_completion_tokens"
            return True
        name = _droppable(parameters, refusal.param, message)
        if name is not None:
            substitutes[name] = None
            self.note(f"{request.model} refuses {name}: it samples in its own way")
            return True
        if request.n > 1 and refuses_n(message):
            self._singles.add(key)
        return False


def wire_service_tier(request: Request) -> dict[str, str]:
    """The parameter that asks for a service; the standard one has a name with OpenAI's protocol only.

    Example:
        >>> wire_service_tier(Request(model="openai/m", messages=(), service_tier="standard"))
        {'service_tier': 'default'}
    """
    if request.service_tier is None or request.embeds:
        return {}
    if request.service_tier == "standard":
        has_name = provider_of(request.model) in ("openai", "azure")
        return {"service_tier": "default"} if has_name else {}
    return {"service_tier": request.service_tier}


def _droppable(parameters: Mapping[str, Any], param: str, message: str) -> str | None:
    """The parameter to leave out after a refusal; None where it speaks of none that may be.

    A field, where there is one, decides: a message may name other parameters beside the one it refuses.
    """
    names = [name for name in _DROPPABLE if name in parameters]
    for name in names:
        if names_parameter(param, name):
            return name
    return next((name for name in names if refuses_sampling(message, name)), None)
