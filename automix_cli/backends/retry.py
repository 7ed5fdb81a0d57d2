"""Retries, pacing and circuit breaking: when a request goes out, and when it goes out again."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from automix_cli.backends.base import Request
from automix_cli.backends.deadlines import Deadlines
from automix_cli.backends.places import CallPlaces, HeldPlace, hold_place, note_call, waiting
from automix_cli.errors import (
    BackendError,
    BadResponse,
    NoText,
    RateLimited,
    TimedOut,
    UnknownModel,
    Unreachable,
)

T = TypeVar("T")


@dataclass(slots=True)
class RateLimiter:
    """Limits the requests to one model at one endpoint.

    `window` is how many may be in flight, at most `width`. A burst of 429s halves it (once
    per burst, however many calls meet it), and it grows by one per `window` successes, as
    TCP's does. `rpm` spaces the starts evenly. When a 429 says how long to wait, all requests wait;
    after other errors only the call that met them does.
    """

    width: int
    rpm: float | None = None
    max_wait: float = math.inf
    window: float = 0.0
    successes: int = 0
    _blocked_until: float = -math.inf
    _next_start: float = -math.inf
    _epoch: int = 0
    _withheld: int = 0
    _places: CallPlaces = field(init=False)

    def __post_init__(self) -> None:
        self.window = float(self.width)
        self._places = CallPlaces(self.width)

    def delay(self, now: float) -> float:
        """Seconds until a request may start."""
        return max(self._blocked_until - now, self._next_start - now, 0.0)

    def start(self, now: float) -> int:
        """Record a start; return the epoch that `finish` needs."""
        if self.rpm:
            self._next_start = max(now, self._next_start) + 60.0 / self.rpm
        return self._epoch

    def finish(self, epoch: int, error: BackendError | None, now: float) -> None:
        """Record how a request that started in `epoch` ended."""
        if error is None:
            self.successes += 1
            self.window = min(self.width, self.window + 1.0 / self.window)
        elif isinstance(error, RateLimited):
            wait = error.retry_after or 0.0
            if wait <= self.max_wait:  # a longer wait ends the run with that error
                self._blocked_until = max(self._blocked_until, now + wait)
            if epoch == self._epoch:  # the others of this burst were sent before the first 429 came back
                self.window = max(1.0, self.window // 2)
                self._epoch += 1

    async def acquire(self) -> None:
        """Wait for one of the `window` places."""
        await self._places.take()

    def release(self) -> None:
        """Free the place, unless the window has shrunk and there is one place too many."""
        short = self.width - int(self.window)
        if self._withheld < short:
            self._withheld += 1
            return
        self._places.give()
        if self._withheld > short:
            self._withheld -= 1
            self._places.give()


RECOVERY = 30.0
"""Seconds after which an endpoint that was given up, or that refused for good, is tried once more."""

_FIRST_RECOVERY = 2.0
"""The same for an endpoint that has never answered: it may be about to start."""

_FIRST_PATIENCE = 0.5
"""Seconds for which calls that are tried the first time may fail to reach such an endpoint."""


@dataclass(slots=True)
class HeadStart:
    """Lets the first request for a model go alone, so that what all of them would meet costs one.

    A bad key, a used-up budget and an unknown model are refused at once, while an answer may take its
    time: so the others wait until the first has ended, but no longer than `seconds`. After a
    refusal that every request would meet, none is sent for `RECOVERY` seconds, or for as long as the
    provider asked to wait; then one goes alone again.
    """

    seconds: float
    refusal: BackendError | None = None
    is_open: bool = False
    _under_way: bool = False
    _closed_until: float = -math.inf
    _first_ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def enter(self, clock: Callable[[], float]) -> None:
        """Wait while the first request is under way.

        Raises:
            BackendError: it was refused, and this one would be too: it is not sent.
        """
        self.check(clock())
        if self.is_open or not self._under_way:
            self._under_way = True
            return
        with contextlib.suppress(TimeoutError), waiting():
            async with asyncio.timeout(self.seconds):
                await self._first_ended.wait()
        self.check(clock())

    def check(self, now: float) -> None:
        """Raise the error of a call that is not made while all would be refused."""
        if self.refusal is not None and now < self._closed_until:
            raise not_asked_error(self.refusal)

    def leave(self, error: BackendError | None, now: float) -> None:
        """Record how a request ended."""
        if error is None or not error.fatal or isinstance(error, Unreachable):  # that is for the breaker
            self.refusal, self.is_open = None, True
        elif error.attempts:
            self.refusal, self.is_open, self._under_way = error, False, False
            self._closed_until = now + max(RECOVERY, error.retry_after or 0.0)
        self._first_ended.set()
        if not self.is_open:
            self._first_ended = asyncio.Event()


@dataclass(slots=True)
class Breaker:
    """A circuit breaker: stops the requests to an endpoint that keeps failing.

    After `threshold` failures in a row nothing is sent for a pause that doubles from 0.5 s to
    8 s; then one request is let through as a trial, and its success closes the circuit. After
    `patience` seconds without an answer the endpoint counts as dead, and `dead` is the last error:
    calls fail at once, but for a trial every `RECOVERY` seconds, whose success closes the circuit too.
    One that has never answered is given up as soon as one call could not reach it twice, or several
    calls could not for half a second.
    """

    threshold: int
    patience: float
    failures: int = 0
    seen_alive: bool = False
    dead: BackendError | None = None
    _open_until: float = -math.inf
    _pause: float = 0.5
    _down_since: float = math.inf

    @property
    def is_open(self) -> bool:
        """Whether requests wait, because too many in a row have failed."""
        return self.failures >= self.threshold

    def down_for(self, now: float) -> float:
        """Seconds since the first failure; below 0 while the endpoint works."""
        return now - self._down_since

    def delay(self, now: float) -> float:
        """Seconds until a request may be sent; 0 while the endpoint works."""
        return max(0.0, self._open_until - now)

    def start(self, now: float) -> None:
        """Record a start; while tripped this request is the trial, and the others keep waiting."""
        if self.dead is not None:
            self._open_until = now + self._recovery()
        elif self.is_open:
            self._open_until = now + self._pause_at(now)
            self._pause = min(8.0, self._pause * 2)

    def give_up(self, error: BackendError, now: float) -> None:
        """Send nothing more, but for a trial now and then."""
        self.dead, self._open_until = error, now + self._recovery()

    def _recovery(self) -> float:
        return RECOVERY if self.seen_alive else _FIRST_RECOVERY

    def _pause_at(self, now: float) -> float:
        """The next pause, which ends no later than the patience does."""
        return min(self._pause, max(0.5, self._down_since + self.patience - now))

    def finish(self, error: BackendError | None, now: float) -> None:
        """Record how a request ended; an endpoint that refuses, limits or filters is alive."""
        self.seen_alive |= not isinstance(error, Unreachable | TimedOut)
        if not isinstance(error, TimedOut | BadResponse) or isinstance(error, NoText):
            self.failures, self._pause, self.dead = 0, 0.5, None
            self._open_until, self._down_since = -math.inf, math.inf
            return
        self.failures += 1
        self._down_since = min(self._down_since, now)
        if self.is_open:
            self._open_until = max(self._open_until, now + self._pause_at(now))
            if self.down_for(now) >= self.patience:
                self.give_up(error, now)


class Lane(NamedTuple):
    """What requests share: their head start, those for a model its pace, those to an endpoint the breaker."""

    first: HeadStart
    rate_limiter: RateLimiter
    breaker: Breaker


@dataclass(slots=True, kw_only=True)
class Retrier:
    """Decides every retry: which errors, how often, how long to wait, how many at once.

    A call is tried up to `attempts` times, after waits drawn uniformly from 0 to
    min(max_backoff, backoff·2^k) (full jitter), or after the wait that the provider asks
    for, up to `max_wait` seconds; a provider that asks for more stops the run. An attempt
    that may have been billed is reported to `on_maybe_billed` and retried at most
    `billed_retries` times. A request that never reached its endpoint does not count as an
    attempt: it is repeated until the breaker's `patience` is up, unless that endpoint has
    never answered at all: then it is repeated once, and the endpoint is given up. `note` is told once when an
    endpoint does not answer, and how long it is tried.

    The first request for a model goes alone for up to `head_start` seconds (`HeadStart`).
    `before_send` sees every attempt before it leaves, and may refuse it; `on_reply` sees what came back.

    `concurrency` bounds the requests in flight over all models; a waiting call does not count.
    `rpm` maps a model to its requests per minute. `rng`, `sleep` and `clock` (monotonic) can be
    replaced, so that tests need not wait.
    """

    attempts: int = 6
    concurrency: int = 16
    rpm: Mapping[str, float] = field(default_factory=dict)
    backoff: float = 0.5
    max_backoff: float = 20.0
    max_wait: float = 120.0
    billed_retries: int = 3
    patience: float = 60.0
    head_start: float = 2.0
    on_maybe_billed: Callable[[Request, BackendError], None] | None = None
    before_send: Callable[[Request], None] | None = None
    on_reply: Callable[[Request, Any], None] | None = None
    note: Callable[[str], None] = lambda line: None
    rng: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _rate_limiters: dict[tuple[str, str], RateLimiter] = field(default_factory=dict)
    _breakers: dict[str, Breaker] = field(default_factory=dict)
    _lanes: dict[tuple[str | None, ...], Lane] = field(default_factory=dict)
    _deadlines: Deadlines = field(default_factory=Deadlines)
    _troubles: set[tuple[str, bool]] = field(default_factory=set)
    _places: CallPlaces = field(init=False)

    def __post_init__(self) -> None:
        self._places = CallPlaces(self.concurrency)

    def _lane(self, request: Request) -> Lane:
        """What a request shares with others; looked up once a call."""
        key = (request.model, request.api_base, request.api_key_env)
        lane = self._lanes.get(key)
        if lane is None:
            model, endpoint = request.model, request.endpoint
            # One row that always fails must not trip the breaker, so it takes more than a row's attempts.
            breaker = Breaker(max(10, 2 * self.attempts), self.patience)
            limiter = RateLimiter(self.concurrency, self.rpm.get(model), self.max_wait)
            lane = self._lanes[key] = Lane(
                HeadStart(self.head_start),
                self._rate_limiters.setdefault((model, endpoint), limiter),
                self._breakers.setdefault(endpoint, breaker),
            )
        return lane

    async def call(self, request: Request, attempt: Callable[[Request], Awaitable[T]]) -> T:
        """Send one request, again when that may help.

        Raises:
            BackendError: the last error, with `attempts` made; `fatal` when no further call can succeed.
        """
        errors: list[BackendError] = []
        lane = self._lane(request)
        while True:
            if not lane.first.is_open:
                await lane.first.enter(self.clock)
            error: BackendError | None = None
            try:
                return await self._try_once(lane, request, attempt)
            except BackendError as exc:
                error = exc
                if exc.attempts:  # it was sent
                    errors.append(exc)
                    error = self._judge(lane, request, errors)
            finally:
                if error is not None or not lane.first.is_open:
                    lane.first.leave(error, self.clock())
            if not errors or error is not errors[-1] or not self._worth_retrying(errors):
                raise error
            await self.sleep(self._wait(errors))

    def _judge(self, lane: Lane, request: Request, errors: list[BackendError]) -> BackendError:
        """The error of the latest attempt, counted, billed, and `fatal` where all others would meet it."""
        error, breaker = errors[-1], lane.breaker
        error.attempts = len(errors)
        if error.maybe_billed and self.on_maybe_billed is not None:
            self.on_maybe_billed(request, error)
        if error.retry_after is not None and error.retry_after > self.max_wait:
            return wait_too_long_error(error)
        if isinstance(error, UnknownModel) and not lane.rate_limiter.successes:
            error.fatal = True
        if isinstance(error, Unreachable):
            now = self.clock()
            if not breaker.seen_alive and (len(errors) > 1 or breaker.down_for(now) >= _FIRST_PATIENCE):
                breaker.give_up(error, now)
            error.fatal = breaker.dead is not None
        self._tell_trouble(breaker, request.endpoint, error)
        return error

    def _tell_trouble(self, breaker: Breaker, endpoint: str, error: BackendError) -> None:
        """Say once that an endpoint does not answer, so that nobody watches a run that stands still."""
        is_silent = isinstance(error, Unreachable)
        if breaker.dead is not None or not (is_silent or breaker.is_open):
            return
        key = (endpoint, breaker.seen_alive)
        if key not in self._troubles:
            self._troubles.add(key)
            is_new = is_silent and not breaker.seen_alive
            how = "once more" if is_new else f"again, for up to {breaker.patience:g} s"
            self.note(f"{error.message}; trying {how}")

    async def _try_once(self, lane: Lane, request: Request, attempt: Callable[[Request], Awaitable[T]]) -> T:
        """Wait for a place and until a request may be sent, then send one."""
        while True:
            place = await self._take_place(lane.rate_limiter)
            try:
                pause = self._pause(lane, request)
                if not pause:
                    hold_place(place)
                    return await self._send(lane, request, attempt)
            finally:
                place.give_back()
            await self.sleep(pause)

    async def _take_place(self, rate_limiter: RateLimiter) -> HeldPlace:
        """Wait for a place among the requests for a model, and for one among all."""
        await rate_limiter.acquire()
        try:
            await self._places.take()
        except BaseException:
            rate_limiter.release()
            raise
        return HeldPlace(self._places.give, rate_limiter.release)

    def _pause(self, lane: Lane, request: Request) -> float:
        """Seconds until a request that has a place may be sent.

        Raises:
            BackendError: it is not to be sent: all would be refused, or the endpoint was given up.
        """
        now = self.clock()
        lane.first.check(now)
        pause = lane.breaker.delay(now)
        if pause and lane.breaker.dead is not None:
            raise dead_endpoint_error(request, lane.breaker.dead)
        return max(lane.rate_limiter.delay(now), pause)

    async def _send(self, lane: Lane, request: Request, attempt: Callable[[Request], Awaitable[T]]) -> T:
        """Send one request in its time; tell the rate limiter and the breaker how it ended."""
        if self.before_send is not None:
            self.before_send(request)
        note_call()
        now = self.clock()
        lane.breaker.start(now)
        epoch = lane.rate_limiter.start(now)
        try:
            result = await self._attempt_in_time(request, attempt)
        except BackendError as error:
            lane.rate_limiter.finish(epoch, error, self.clock())
            lane.breaker.finish(error, self.clock())
            raise
        now = self.clock()
        lane.rate_limiter.finish(epoch, None, now)
        lane.breaker.finish(None, now)
        if self.on_reply is not None:
            self.on_reply(request, result)
        return result

    async def _attempt_in_time(self, request: Request, attempt: Callable[[Request], Awaitable[T]]) -> T:
        """Make one attempt within the request's timeout, however slowly the body trickles in.

        Raises:
            TimedOut: it was not done in time, and was cancelled.
        """
        try:
            return await self._deadlines.result_within(request.timeout, attempt(request))
        except TimeoutError as exc:
            what = f"{request.model} gave no complete answer in {request.timeout:g} s"
            raise TimedOut(what, hint="limits: {timeout: …} in the profile", maybe_billed=True) from exc

    def _worth_retrying(self, errors: list[BackendError]) -> bool:
        """Whether to try again."""
        error = errors[-1]
        if isinstance(error, Unreachable):
            return not error.fatal
        tries = sum(not isinstance(e, Unreachable) for e in errors)
        alike = sum(type(e) is type(error) for e in errors)
        return (
            error.retryable
            and not error.fatal
            and tries < self.attempts
            and sum(e.maybe_billed for e in errors) <= self.billed_retries
            and (error.retries is None or alike <= error.retries)
        )

    def _wait(self, errors: list[BackendError]) -> float:
        """Seconds to wait after the latest failure."""
        wait = errors[-1].retry_after
        ceiling = min(self.max_backoff, self.backoff * 2.0 ** min(len(errors) - 1, 30))
        if wait is None:
            return self.rng.uniform(0.0, ceiling)
        return wait + self.rng.uniform(0.0, self.backoff)  # calls with the same wait must not return together


def wait_too_long_error(error: BackendError) -> BackendError:
    """The error of a provider that asks for a longer wait than `max_wait`."""
    message = f"{error.message} (the provider asks to wait {error.retry_after:.0f} s)"
    late = RateLimited(message, hint="run the same command again later", retry_after=error.retry_after)
    late.attempts, late.fatal = error.attempts, True
    late.__cause__ = error
    return late


def not_asked_error(refusal: BackendError) -> BackendError:
    """The error of a call that was not made, because one before it met a refusal that it would meet too."""
    error = copy(refusal)
    error.message = f"not asked: {refusal.message}"
    error.args = (error.message,)
    error.attempts, error.maybe_billed, error.reply = 0, False, None
    return error


def dead_endpoint_error(request: Request, last: BackendError) -> BackendError:
    """The error of a call to an endpoint that counts as dead; nothing was sent."""
    error = Unreachable(f"{request.endpoint} has been given up: {last.message}", hint=last.hint)
    error.fatal, error.attempts = True, 0
    return error
