"""The one interface to models: a request goes in, completions come out.

Everything that costs money passes `Backend.complete`. The cache, the demo tiers, the direct client,
LiteLLM and the scripted fake all implement it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar, cast

from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.records import Completion, Message, ServiceTier

T = TypeVar("T")


class Request(Struct, frozen=True, kw_only=True, gc=False):
    """A request to a model for `n` completions.

    Samples are numbered: the completions are samples first … first+n-1 or a leading
    part of them, and the cache stores each under its own number. `params` are sampling
    parameters by name; `api_key_env` names the variable that holds the key. With
    `embeds` the request is for the embedding of its one message, and the completion's
    text is that vector (`embedding.packed`). `backend` is what the profile says of the client
    (`choice.client_of`), and `service_tier` what it says of the service that is paid for.
    """

    model: str
    messages: tuple[Message, ...]
    params: tuple[tuple[str, Any], ...] = ()
    n: int = 1
    first: int = 0
    api_base: str | None = None
    api_key_env: str | None = None
    timeout: float = 60.0
    embeds: bool = False
    backend: str = "auto"
    service_tier: ServiceTier | None = None

    @property
    def param(self) -> dict[str, Any]:
        """The parameters as a dictionary."""
        return dict(self.params)

    @property
    def max_tokens(self) -> int:
        """The most tokens that a sample may have; an embedding has none."""
        return 0 if self.embeds else int(self.param["max_tokens"])

    @property
    def endpoint(self) -> str:
        """The address that is called, or the provider's name where it has its own address.

        Example:
            >>> Request(model="openai/gpt-5", messages=()).endpoint
            'openai'
        """
        return endpoint_name(self.model, self.api_base)

    def part(self, first: int, n: int) -> Request:
        """The same request for other samples.

        Example:
            >>> Request(model="m", messages=(), n=8).part(3, 1).first
            3
        """
        return self if (first, n) == (self.first, self.n) else replace(self, first=first, n=n)


def endpoint_name(model: str, api_base: str | None) -> str:
    """The address that is called, or the provider's name where it has its own address."""
    return api_base or model.partition("/")[0]


class NeedsLoop(BaseException):
    """A completion has to be bought or waited for, and no event loop runs.

    It tells of no fault, and is no `Exception`, so that no handler of faults takes it for one.
    """


def result_at_once(job: Awaitable[T]) -> T:
    """The result of a job that waits for nothing.

    Raises:
        NeedsLoop: it does wait.
    """
    steps = job.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return cast(T, stop.value)
    steps.close()
    raise NeedsLoop


class Backend(Protocol):
    """A source of completions."""

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Return at least one and at most `request.n` completions, validated and in sample order.

        Fewer than n is legal (a server may return fewer, some of several calls may fail):
        the caller asks again for the rest.

        Raises:
            BackendError: when there is not a single completion.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and files."""
        ...


class ScriptedBackend(Struct):
    """A backend that answers from a function or a list: for tests, examples and dry runs.

    `script` is called with each request, one sample at a time, and returns a text, a
    completion or an exception to raise; a list is served in order. `calls` records the requests.

    Example:
        >>> import asyncio
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
        completions = []
        for i in range(request.n):
            reply = self._next(request.part(request.first + i, 1))
            if isinstance(reply, Exception):
                raise reply
            completions.append(Completion(text=reply) if isinstance(reply, str) else reply)
        return tuple(completions)

    async def aclose(self) -> None:
        """Nothing to release."""


class ChosenBackend(Struct):
    """Sends each request to the backend that `choose` names; each is made when first needed.

    Example:
        >>> import asyncio
        >>> makers = {"demo": lambda: ScriptedBackend(["simulated"])}
        >>> chosen = ChosenBackend(makers, lambda request: "demo")
        >>> asyncio.run(chosen.complete(Request(model="demo/small", messages=())))[0].text
        'simulated'
    """

    makers: Mapping[str, Callable[[], Backend]]
    choose: Callable[[Request], str]
    _backends: dict[str, Backend] = field(default_factory=dict)

    def complete(self, request: Request) -> Coroutine[Any, Any, tuple[Completion, ...]]:
        """Pass the request on."""
        name = self.choose(request)
        if name not in self._backends:
            self._backends[name] = self.makers[name]()
        return self._backends[name].complete(request)

    async def aclose(self) -> None:
        """Close the backends made so far, each whatever becomes of the others."""
        async with AsyncExitStack() as stack:
            for backend in self._backends.values():
                stack.push_async_callback(backend.aclose)
