"""The one seam: a request goes in, completions come out, whether from wire, disk or script.

Everything that costs money passes `Backend.complete`. The cache, the demo tiers, LiteLLM
and the scripted fake all stand behind it; retries, pacing and prices are decided here, once.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Protocol, TypeVar

from automix_cli.errors import (
    BackendError,
    BadResponse,
    BudgetError,
    NoText,
    RateLimited,
    TimedOut,
    UnknownModel,
    Unreachable,
)
from automix_cli.records import Completion, Message, Price, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a model.

    Samples are numbered: a request for `n` completions starting at sample `first` is
    answered with samples first … first+n-1 or a leading part of them, so that the cache
    holds each under its own index. `params` are sampling parameters by name;
    `api_key_env` names the variable that holds the key. With `embeds` it is the embedding of
    its one message that is wanted; the completion's text is that vector (`embedding.packed`).
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
        """Who is called: the address, or the provider at its own.

        Example:
            >>> Request(model="openai/gpt-5", messages=()).endpoint
            'openai'
        """
        return self.api_base or self.model.partition("/")[0]

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


# ---------------------------------------------------------------- retries, pacing, circuit breakers

T = TypeVar("T")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds a provider asks to wait; None when it does not, or talks nonsense.

    Reads `retry-after-ms`, `Retry-After` in seconds and as an HTTP date (RFC 9110, 10.2.3;
    a date without a zone is read as GMT, which it must be). `now` is Unix time.

    Example:
        >>> retry_after({"Retry-After": "2"}, now=0.0), retry_after({"retry-after-ms": "250"}, now=0.0)
        (2.0, 0.25)
        >>> retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=10.0)
        50.0
    """
    given = {name.lower(): str(value).strip() for name, value in headers.items()}
    millis = _seconds(given.get("retry-after-ms", ""))
    if millis is not None:
        return millis / 1000
    asked = given.get("retry-after", "")
    return _seconds(asked) if _seconds(asked) is not None else _seconds_until(asked, now)


def _seconds(text: str) -> float | None:
    """A finite, non-negative decimal number; `float` alone would take "nan", "1e9" and "1_0"."""
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text, re.ASCII) else None


def _seconds_until(text: str, now: float) -> float | None:
    """Seconds from `now` to an HTTP date, 0 when it is past."""
    from email.utils import parsedate_to_datetime  # rarely needed, and slow to import

    if not re.search(r"[A-Za-z]", text):
        return None
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, aware.timestamp() - now)


@dataclass(slots=True)
class RateLimiter:
    """The traffic of one model at one endpoint: how many at once, how soon, whether at all.

    `allowed` requests in flight: halved by a burst of 429s (once per burst, however many
    calls meet it) and grown by one per `allowed` successes, as TCP does. `rpm` spaces the
    starts evenly. A provider that says when to come back holds up the whole rate_limiter.
    """

    width: int
    rpm: float | None = None
    max_wait: float = math.inf
    allowed: float = 0.0
    successes: int = 0
    refusals: int = 0
    _held_until: float = -math.inf
    _next_start: float = -math.inf
    _epoch: int = 0
    _withheld: int = 0
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.allowed = float(self.width)
        self._slots = asyncio.Semaphore(self.width)

    def delay(self, now: float) -> float:
        """Seconds until a request may start."""
        return max(self._held_until - now, self._next_start - now, 0.0)

    def start(self, now: float) -> int:
        """Note a start; returns the epoch, to be given back to `finish`."""
        if self.rpm:
            self._next_start = max(now, self._next_start) + 60.0 / self.rpm
        return self._epoch

    def finish(self, epoch: int, error: BackendError | None, now: float) -> None:
        """Note how a request that started in `epoch` ended."""
        if error is None:
            self.successes += 1
            self.allowed = min(self.width, self.allowed + 1.0 / self.allowed)
        elif isinstance(error, RateLimited):
            asked = error.retry_after or 0.0
            if asked <= self.max_wait:  # else the run ends with that error, and nobody must wait for it
                self._held_until = max(self._held_until, now + asked)
            if epoch == self._epoch:  # the others of this burst were sent before anyone could know
                self.allowed = max(1.0, self.allowed // 2)
                self._epoch += 1
        elif isinstance(error, UnknownModel):
            self.refusals += 1

    async def acquire(self) -> None:
        """Wait for a place among the `allowed`."""
        await self._slots.acquire()

    def release(self) -> None:
        """Give the place back, or keep it back while fewer are allowed."""
        short = self.width - int(self.allowed)
        if self._withheld < short:
            self._withheld += 1
            return
        self._slots.release()
        if self._withheld > short:
            self._withheld -= 1
            self._slots.release()


@dataclass(slots=True)
class Breaker:
    """Stops the traffic to one endpoint that fails again and again, and lets one request try.

    After `threshold` failures in a row nothing goes out for a pause that doubles from 0.5 s to
    8 s; then one request may try, and its success opens the way. An endpoint that has
    been silent for `patience` seconds is given up: `dead` holds the last error.
    """

    threshold: int
    patience: float
    failures: int = 0
    seen_alive: bool = False
    dead: BackendError | None = None
    _closed_until: float = -math.inf
    _pause: float = 0.5
    _down_since: float = math.inf

    def delay(self, now: float) -> float:
        """Seconds until a request may go out; 0 while all is well."""
        return max(0.0, self._closed_until - now)

    def start(self, now: float) -> None:
        """Note a start: while tripped it is the one that tries, and the others wait on."""
        if self.failures >= self.threshold:
            self._closed_until = now + self._pause
            self._pause = min(8.0, self._pause * 2)

    def finish(self, error: BackendError | None, now: float) -> None:
        """Note how a request ended; an endpoint that refuses, limits or filters is alive."""
        self.seen_alive |= not isinstance(error, Unreachable | TimedOut)
        if not isinstance(error, TimedOut | BadResponse) or isinstance(error, NoText):
            self.failures, self._pause = 0, 0.5
            self._closed_until, self._down_since = -math.inf, math.inf
            return
        self.failures += 1
        self._down_since = min(self._down_since, now)
        if self.failures >= self.threshold:
            self._closed_until = max(self._closed_until, now + self._pause)
            if now - self._down_since >= self.patience:
                self.dead = error


@dataclass(slots=True, kw_only=True)
class Retrier:
    """Owns every retry: which errors, how often, how long to wait, how many at once.

    One failing call is retried up to `attempts` requests in all, after a wait drawn uniformly from 0 to
    min(max_backoff, backoff·2^k) (full jitter), or after what the provider asks for,
    up to `max_wait` seconds; a provider that asks for more stops the run. Attempts that
    may have been billed are told to `on_maybe_billed` and retried at most `billed_retries` times.
    A request that never reached its endpoint is no attempt: it is repeated until the
    breaker's `patience` is up, unless that endpoint has never answered at all.

    `concurrency` bounds the requests on the wire over all models; waiting holds no place.
    `rpm` maps a model to its requests per minute. `rng`, `sleep`, `clock` (monotonic) are given
    so that tests need not wait.
    """

    attempts: int = 6
    concurrency: int = 16
    rpm: Mapping[str, float] = field(default_factory=dict)
    backoff: float = 0.5
    max_backoff: float = 20.0
    max_wait: float = 120.0
    billed_retries: int = 3
    patience: float = 60.0
    on_maybe_billed: Callable[[Request], None] | None = None
    rng: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _lanes: dict[tuple[str, str], RateLimiter] = field(default_factory=dict)
    _breakers: dict[str, Breaker] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    def rate_limiter(self, request: Request) -> RateLimiter:
        """The rate_limiter of a request's model at its endpoint."""
        key = (request.model, request.endpoint)
        if key not in self._lanes:
            self._lanes[key] = RateLimiter(self.concurrency, self.rpm.get(request.model), self.max_wait)
        return self._lanes[key]

    def breaker(self, request: Request) -> Breaker:
        """The breaker of a request's endpoint."""
        if request.endpoint not in self._breakers:
            # One row that always fails must not trip it, so it takes more than a row's attempts.
            self._breakers[request.endpoint] = Breaker(max(10, 2 * self.attempts), self.patience)
        return self._breakers[request.endpoint]

    async def call(self, request: Request, attempt: Callable[[Request], Awaitable[T]]) -> T:
        """Carry out one request, again when that may help.

        Raises:
            BackendError: the last error, with `attempts` made; `fatal` when no further call can succeed.
        """
        failed: list[BackendError] = []
        while True:
            try:
                return await self._try_once(request, attempt)
            except BackendError as error:
                failed.append(error)
                error.attempts = len(failed)
                if error.maybe_billed and self.on_maybe_billed is not None:
                    self.on_maybe_billed(request)
                if error.retry_after is not None and error.retry_after > self.max_wait:
                    raise too_long(error) from error
                if not self._worth_retrying(request, failed):
                    raise
                await self.sleep(self._wait(failed))

    async def _try_once(self, request: Request, attempt: Callable[[Request], Awaitable[T]]) -> T:
        """Wait for a place and the right moment, then make one request."""
        rate_limiter, breaker = self.rate_limiter(request), self.breaker(request)
        while True:
            await rate_limiter.acquire()
            try:
                async with self._slots:
                    if breaker.dead is not None:
                        raise given_up(request, breaker.dead)
                    pause = max(rate_limiter.delay(self.clock()), breaker.delay(self.clock()))
                    if not pause:
                        return await self._observed(rate_limiter, breaker, request, attempt)
            finally:
                rate_limiter.release()
            await self.sleep(pause)

    async def _observed(
        self,
        rate_limiter: RateLimiter,
        breaker: Breaker,
        request: Request,
        attempt: Callable[[Request], Awaitable[T]],
    ) -> T:
        """One request under its wall clock; rate_limiter and breaker learn how it went."""
        breaker.start(self.clock())
        epoch = rate_limiter.start(self.clock())
        try:
            done = await within(request, attempt)
        except BackendError as error:
            rate_limiter.finish(epoch, error, self.clock())
            breaker.finish(error, self.clock())
            raise
        rate_limiter.finish(epoch, None, self.clock())
        breaker.finish(None, self.clock())
        return done

    def _worth_retrying(self, request: Request, failed: list[BackendError]) -> bool:
        """Whether to ask again; marks errors that would meet every other call as fatal."""
        error, rate_limiter, breaker = failed[-1], self.rate_limiter(request), self.breaker(request)
        if (
            isinstance(error, UnknownModel)
            and not rate_limiter.successes
            and rate_limiter.refusals >= HOPELESS
        ):
            error.fatal = True
        if isinstance(error, Unreachable):
            error.fatal = breaker.dead is not None or (not breaker.seen_alive and len(failed) > 1)
            return not error.fatal
        tries = sum(not isinstance(e, Unreachable) for e in failed)
        alike = sum(type(e) is type(error) for e in failed)
        return (
            error.retryable
            and not error.fatal
            and tries < self.attempts
            and sum(e.maybe_billed for e in failed) <= self.billed_retries
            and (error.retries is None or alike <= error.retries)
        )

    def _wait(self, failed: list[BackendError]) -> float:
        """Seconds to wait after the latest failure."""
        asked = failed[-1].retry_after
        ceiling = min(self.max_backoff, self.backoff * 2.0 ** min(len(failed) - 1, 30))
        if asked is None:
            return self.rng.uniform(0.0, ceiling)
        return asked + self.rng.uniform(0.0, self.backoff)  # all who were told the same must not come at once


HOPELESS = 3  # times that a model which never answered is unknown, until the run is stopped for it


async def within(request: Request, attempt: Callable[[Request], Awaitable[T]]) -> T:
    """One attempt under the request's wall clock, which also cuts a body that drips."""
    try:
        async with asyncio.timeout(request.timeout):
            return await attempt(request)
    except TimeoutError as exc:
        what = f"{request.model} gave no complete answer in {request.timeout:g} s"
        raise TimedOut(what, hint="limits: {timeout: …} in the profile", maybe_billed=True) from exc


def too_long(error: BackendError) -> BackendError:
    """The error of a provider that wants more patience than the run has."""
    asked = f"{error.message} (the provider asks to wait {error.retry_after:.0f} s)"
    late = RateLimited(asked, hint="run the same command again later", retry_after=error.retry_after)
    late.attempts, late.fatal = error.attempts, True
    return late


def given_up(request: Request, last: BackendError) -> BackendError:
    """The error of a call to an endpoint that has been given up; nothing was sent."""
    error = Unreachable(f"{request.endpoint} has been given up: {last.message}", hint=last.hint)
    error.fatal = True
    return error


@dataclass(slots=True)
class PrefixBackend:
    """Sends each request to the backend its model's prefix names; each is made when first needed.

    The prefix "" takes what no other does.

    Example:
        >>> both = PrefixBackend({"demo/": lambda: ScriptedBackend(["simulated"])})
        >>> asyncio.run(both.complete(Request(model="demo/small", messages=())))[0].text
        'simulated'
    """

    makers: Mapping[str, Callable[[], Backend]]
    _made: dict[str, Backend] = field(default_factory=dict)

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Pass the request on."""
        prefix = next((p for p in self.makers if p and request.model.startswith(p)), "")
        if prefix not in self._made:
            self._made[prefix] = self.makers[prefix]()
        return await self._made[prefix].complete(request)

    async def aclose(self) -> None:
        """Close the backends that were made."""
        for backend in self._made.values():
            await backend.aclose()


# ------------------------------------------------------------------ money


@dataclass(slots=True)
class Budget:
    """A cap on dollars: the worst case is reserved before a call, the bill is settled after it.

    What is spent and what is reserved together never exceed `cap`, at any concurrency. Once refused, a
    `final` budget stays shut; another one goes on to pay for what still fits.

    Example:
        >>> budget = Budget(1.0)
        >>> budget.reserve(0.75)
        >>> budget.settle(0.75, 0.25)
        >>> budget.spent, budget.reserved
        (0.25, 0.0)
    """

    cap: float
    spent: float = 0.0
    reserved: float = 0.0
    refused: bool = False
    final: bool = True
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def wait_for(self, worst: float) -> None:
        """Reserve `worst` dollars, after waiting as long as only other calls' reserves are in the way.

        Raises:
            BudgetError: when they are not there, however the calls under way turn out.
        """
        while self._may_fit_later(worst):
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        self.reserve(worst)

    def _may_fit_later(self, worst: float) -> bool:
        open_still = not (self.refused and self.final)
        return open_still and self.spent + worst <= self.cap < self.spent + self.reserved + worst

    def _wake(self) -> None:
        """Let those who wait look again."""
        waiting, self._waiting = self._waiting, []
        for freed in waiting:
            if not freed.done():
                freed.set_result(None)

    def reserve(self, worst: float) -> None:
        """Set `worst` dollars aside.

        Raises:
            BudgetError: when they are not there, or were not once before: what is left over
                then would go to whichever rows happen to be cheap.
        """
        if (self.refused and self.final) or self.spent + self.reserved + worst > self.cap:
            self.refused = True
            self._wake()
            raise BudgetError(
                f"could exceed --max-cost ${self.cap:g}: ${self.spent:.6f} is spent, "
                f"and the next call may cost up to ${worst:.6f}"
            )
        self.reserved += worst

    def settle(self, worst: float, bill: float) -> None:
        """Pay a bill out of what was reserved for it; a bill beyond that is a mistake of the biller."""
        self.reserved = max(0.0, self.reserved - worst)
        # A forfeit that was refused has been paid out of this reserve already.
        left = max(0.0, self.cap - self.spent - self.reserved)
        self.spent += min(bill, worst, left)
        self._wake()

    def forfeit(self, worst: float) -> None:
        """Pay a failed attempt at its worst while the next one is reserved still.

        Raises:
            BudgetError: when both do not fit; then there must be no next attempt.
        """
        self.spent += worst
        if self.spent + self.reserved > self.cap:
            self.refused = True
            self._wake()
            raise BudgetError(f"--max-cost ${self.cap:g} reached by attempts that may have been billed")


def most_tokens(request: Request) -> Usage:
    """The most that a request can use: a token has at least a byte, and every sample may be a call."""
    told = sum(16 + len(m.content.encode("utf-8", "surrogatepass")) for m in request.messages)
    return Usage(input_tokens=request.n * told, output_tokens=request.n * request.max_tokens)


@dataclass(slots=True)
class BudgetedBackend:
    """A backend around the one that costs money: no request leaves unless its worst case fits the budget.

    `price` is what a budget counts for a request's model.
    """

    inner: Backend
    budget: Budget
    price: Callable[[Request], Price]

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        """Reserve, call, settle.

        Raises:
            BudgetError: before anything is sent.
            BackendError: as the inner backend.
        """
        price, worst = self.price(request), self.worst(request)
        await self.budget.wait_for(worst)
        bill = 0.0
        try:
            done = await self.inner.complete(request)
            suspect = any("usage_suspect" in c.flags for c in done)
            bill = worst if suspect else math.fsum(price.of(c.usage) for c in done)
            return done
        finally:
            self.budget.settle(worst, bill)

    def worst(self, request: Request) -> float:
        """The most that a request can cost, in dollars."""
        return self.price(request).of(most_tokens(request))

    def note_maybe_billed(self, request: Request) -> None:
        """Count a failed attempt that may be charged for; see `Budget.forfeit`."""
        self.budget.forfeit(self.worst(request))

    async def aclose(self) -> None:
        """Close the inner backend."""
        await self.inner.aclose()
