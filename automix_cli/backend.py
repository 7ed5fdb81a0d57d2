"""The one seam: a request goes in, completions come out, whether from wire, disk or script.

Everything that costs money passes `Backend.complete`. The cache, the demo tiers, LiteLLM
and the scripted fake all stand behind it; retries, pacing and prices are decided here, once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from automix_cli.errors import BackendError, BadResponse, TimedOut
from automix_cli.records import Completion, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a model.

    Samples are numbered: a request for `n` completions starting at sample `first` is
    answered with samples first … first+n-1 or a leading part of them, so that the cache
    holds each under its own index. `params` are sampling parameters by name;
    `api_key_env` names the variable that holds the key.
    """

    model: str
    messages: tuple[Message, ...]
    params: tuple[tuple[str, Any], ...] = ()
    n: int = 1
    first: int = 0
    api_base: str | None = None
    api_key_env: str | None = None
    timeout: float = 60.0

    @property
    def param(self) -> dict[str, Any]:
        """The parameters as a dictionary."""
        return dict(self.params)

    def part(self, first: int, n: int) -> Request:
        """The same request for other samples.

        Example:
            >>> Request(model="m", messages=(), n=8).part(3, 1).first
            3
        """
        return replace(self, first=first, n=n)


class Backend(Protocol):
    """Where completions come from."""

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Return at least one and at most `request.n` completions, validated and in sample order.

        Fewer than n is legal (a server may return fewer, some of several calls may fail):
        the caller asks again for the rest.

        Raises:
            BackendError: when not a single completion could be had.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and files."""
        ...


@dataclass(slots=True)
class ScriptedBackend:
    """A backend that answers from a function or a list: for tests, examples and dry runs.

    `script` is called with each request, one sample at a time, and returns a text, a
    completion or an exception to raise; a list is served in order. `calls` is the ledger.

    Example:
        >>> backend = ScriptedBackend(["4"])
        >>> asyncio.run(backend.complete(Request(model="m", messages=())))[0].text
        '4'
    """

    script: Callable[[Request], str | Completion | Exception] | Iterable[str | Completion | Exception]
    calls: list[Request] = field(default_factory=list)
    _next: Callable[[Request], str | Completion | Exception] | None = None

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Serve `n` completions from the script."""
        if self._next is None:
            if callable(self.script):
                self._next = self.script
            else:
                rows = iter(self.script)
                self._next = lambda _: next(rows)
        self.calls.append(request)
        done = []
        for i in range(request.n):
            reply = self._next(request.part(request.first + i, 1))
            if isinstance(reply, Exception):
                raise reply
            done.append(Completion(text=reply) if isinstance(reply, str) else reply)
        return tuple(done)

    async def aclose(self) -> None:
        """Nothing to release."""
