"""The seam: requests, the scripted backend, and every law of retrying. Time is virtual: nothing waits."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from automix_cli.backends.base import Backend, Request, ScriptedBackend
from automix_cli.backends.retry import Breaker, RateLimiter, Retrier
from automix_cli.backends.waits import retry_after
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    CacheMiss,
    ContentFiltered,
    ContextTooLong,
    NoText,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unauthorised,
    UnknownModel,
    Unreachable,
    keep_secret,
    redact,
)
from automix_cli.records import Completion, Message

T = TypeVar("T")
Attempt = Callable[[Request], Awaitable[str]]
ASK = Request(model="openai/m", messages=(Message("user", "2 + 2?"),), timeout=60)


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as there is nothing else to do."""

    _now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time, from 0."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


def retrier(**settings: Any) -> Retrier:
    return Retrier(clock=now, rng=random.Random(7), **settings)


class Server:
    """An attempt function with a ledger: fails with the errors given, then answers; or as `act` says."""

    def __init__(self, *errors: BackendError, act: Attempt | None = None, takes: float = 0.0) -> None:
        self.errors, self.act, self.takes = list(errors), act, takes
        self.starts: list[float] = []
        self.busy = self.peak = 0

    async def __call__(self, request: Request) -> str:
        self.starts.append(now())
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            await asyncio.sleep(self.takes)
            if self.act is not None:
                return await self.act(request)
            if self.errors:
                raise self.errors.pop(0)
            return "4"
        finally:
            self.busy -= 1

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in itertools.pairwise(self.starts)]


def outcome(retrying: Retrier, server: Server, request: Request = ASK) -> str | BackendError:
    async def main() -> str | BackendError:
        try:
            return await retrying.call(request, server)
        except BackendError as error:
            return error

    return run(main())


def endlessly(error: Callable[[], BackendError]) -> Server:
    async def fail(request: Request) -> str:
        raise error()

    return Server(act=fail)


def billed() -> BadResponse:
    return BadResponse("cut off", maybe_billed=True)


# ---------------------------------------------------------------- requests and the scripted backend


def test_a_part_of_a_request_differs_in_its_samples_only() -> None:
    part = Request(model="m", messages=(Message("user", "q"),), n=8, params=(("seed", 1),)).part(3, 2)
    assert (part.first, part.n, part.param) == (3, 2, {"seed": 1})


def test_the_scripted_backend_serves_texts_completions_and_errors_in_order() -> None:
    backend = ScriptedBackend(["a", Completion(text="b"), BadResponse("no")])

    async def main() -> None:
        assert [c.text for c in await backend.complete(Request(model="m", messages=(), n=2))] == ["a", "b"]
        with pytest.raises(BadResponse):
            await backend.complete(Request(model="m", messages=()))

    run(main())
    assert [r.n for r in backend.calls] == [2, 1]


def test_a_script_may_be_a_function_of_the_request() -> None:
    backend: Backend = ScriptedBackend(lambda request: f"sample {request.first}")
    done = run(backend.complete(Request(model="m", messages=(), n=3, first=4)))  # type: ignore[arg-type]
    assert [c.text for c in done] == ["sample 4", "sample 5", "sample 6"]


# ---------------------------------------------------------------- which errors, how often


@pytest.mark.parametrize(
    ("error", "requests"),
    [
        (lambda: RateLimited("slow down"), 6),
        (lambda: BadResponse("500"), 6),
        (lambda: TimedOut("late"), 6),
        (billed, 4),  # billed_retries = 3
        (lambda: TimedOut("late", maybe_billed=True), 4),
        (lambda: NoText("blank"), 2),
        (lambda: NoText("blank", maybe_billed=True), 2),
        (lambda: Unauthorised("401"), 1),
        (lambda: ContextTooLong("long"), 1),
        (lambda: ContentFiltered("no"), 1),
        (lambda: BadRequest("400"), 1),
        (lambda: UnknownModel("404"), 1),
        (lambda: CacheMiss("offline"), 1),
        (lambda: Unreachable("refused"), 2),  # an endpoint that has never answered
    ],
)
def test_each_error_is_retried_as_often_as_it_is_worth(
    error: Callable[[], BackendError], requests: int
) -> None:
    server = endlessly(error)
    raised = outcome(retrier(), server)
    assert isinstance(raised, BackendError)
    assert type(raised) is type(error())
    assert (len(server.starts), raised.attempts) == (requests, requests)


def test_any_three_recoverable_faults_in_a_row_are_survived() -> None:
    kinds = [
        lambda: RateLimited("429"),
        lambda: RateLimited("429", retry_after=2.0),
        lambda: BadResponse("500"),
        billed,
        lambda: TimedOut("late", maybe_billed=True),
    ]
    for three in itertools.product(kinds, repeat=3):
        server = Server(*(make() for make in three))
        assert outcome(retrier(), server) == "4"
        assert len(server.starts) == 4


def test_only_what_may_have_been_billed_is_told_and_every_time() -> None:
    told: list[Request] = []
    server = Server(RateLimited("429"), billed(), BadResponse("500"), billed())
    assert outcome(retrier(on_maybe_billed=lambda r, _: told.append(r)), server) == "4"
    assert told == [ASK, ASK]


def test_attempts_is_a_bound_on_requests() -> None:
    for attempts in (1, 2, 9):
        server = endlessly(lambda: BadResponse("500"))
        outcome(retrier(attempts=attempts), server)
        assert len(server.starts) == attempts


def test_a_bug_is_not_retried_and_frees_its_place() -> None:
    async def main() -> None:
        async def broken(request: Request) -> str:
            raise ZeroDivisionError

        retrying = retrier(concurrency=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await retrying.call(ASK, broken)

    run(main())


# ---------------------------------------------------------------- waiting


def test_waits_are_drawn_from_a_doubling_range_and_capped() -> None:
    tops = [0.5, 1.0, 2.0, 4.0, 4.0]
    waits = []
    for seed in range(200):
        server = endlessly(lambda: BadResponse("500"))
        outcome(Retrier(clock=now, rng=random.Random(seed), max_backoff=4.0), server)
        waits.append(server.gaps)
        assert all(0 <= gap <= top for gap, top in zip(server.gaps, tops, strict=True))
    for column, top in zip(zip(*waits, strict=True), tops, strict=True):
        assert min(column) < 0.1 * top  # full jitter: anything from 0 …
        assert max(column) > 0.9 * top  # … to the top
    assert len({tuple(w) for w in waits}) == 200  # no lock-step


def test_the_same_seed_waits_the_same() -> None:
    servers = [endlessly(lambda: BadResponse("500")) for _ in range(2)]
    for server in servers:
        outcome(retrier(), server)
    assert servers[0].gaps == servers[1].gaps


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "3600"}, 3600.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"Retry-After": "Sat, 21 Nov 2026 00:01:00 GMT"}, 60.0),
        ({"Retry-After": "Sat, 21 Nov 2026 00:01:00"}, 60.0),
        ({"Retry-After": "Sat, 21 Nov 2026 01:01:00 +0100"}, 60.0),
        ({"Retry-After": "Sat, 21 Nov 1926 00:01:00 GMT"}, 0.0),
        ({"Retry-After": "Sat, 99 Nov 2026 00:01:00 GMT"}, None),
        ({"Retry-After": "5 s"}, 5.0),
        ({"Retry-After": "250ms"}, 0.25),
        ({"Retry-After": "1m30s"}, 90.0),
        ({"retry-after-ms": "1500ms"}, 1.5),
        *(({"Retry-After": junk}, None) for junk in ("-5", "abc", "NaN", "1e9", "inf", "", "1_0", "١٢", "s")),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1795219200.0) == seconds  # 2026-11-21 00:00:00 UTC


def test_the_provider_is_waited_for_as_long_as_it_asks() -> None:
    server = Server(RateLimited("429", retry_after=7.0), BadResponse("503", retry_after=3.0))
    assert outcome(retrier(), server) == "4"
    assert 7.0 <= server.gaps[0] <= 7.5
    assert 3.0 <= server.gaps[1] <= 3.5


def test_those_who_are_told_the_same_time_do_not_come_at_the_same_time() -> None:
    servers = [Server(BadResponse("503", retry_after=7.0)) for _ in range(9)]

    async def main() -> None:
        retrying = retrier()
        await asyncio.gather(*(retrying.call(ASK, server) for server in servers))

    run(main())
    assert len({server.starts[1] for server in servers}) == 9


def test_a_provider_that_asks_for_too_much_stops_the_run() -> None:
    server = endlessly(lambda: RateLimited("slow down", retry_after=3600.0))
    raised = outcome(retrier(), server)
    assert isinstance(raised, RateLimited)
    assert (raised.fatal, raised.attempts, len(server.starts)) == (True, 1, 1)
    assert "asks to wait 3600 s" in raised.message


def test_a_429_with_a_time_holds_up_the_whole_model_and_no_other() -> None:
    async def main() -> tuple[list[float], list[float]]:
        retrying = retrier()
        mine, other = Server(RateLimited("429", retry_after=30.0)), Server()
        first = asyncio.create_task(retrying.call(ASK, mine))
        await asyncio.sleep(1)
        rest = [retrying.call(ASK, mine) for _ in range(3)]
        elsewhere = retrying.call(Request(model="openai/other", messages=()), other)
        await asyncio.gather(first, elsewhere, *rest)
        return mine.starts, other.starts

    mine, other = run(main())
    assert mine[0] == 0
    assert all(start >= 30.0 for start in mine[1:])
    assert other == [1.0]


def test_rpm_spaces_the_starts_of_a_model() -> None:
    async def main() -> Server:
        server, retrying = Server(takes=9.0), retrier(rpm={"openai/m": 60})
        await asyncio.gather(*(retrying.call(ASK, server) for _ in range(10)))
        return server

    assert run(main()).gaps == pytest.approx([2.0, *[1.0] * 8]), "the first one has two seconds of its own"


# ---------------------------------------------------------------- how many at once


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_no_more_requests_are_on_the_wire_than_allowed(concurrency: int) -> None:
    async def main() -> Server:
        server, retrying = Server(takes=1.0), retrier(concurrency=concurrency)
        models = (f"m{i % 4}" for i in range(40))
        await asyncio.gather(*(retrying.call(Request(model=m, messages=()), server) for m in models))
        return server

    assert run(main()).peak == concurrency


def test_a_call_that_waits_holds_no_place() -> None:
    async def main() -> float:
        retrying = retrier(concurrency=1)
        waiting = asyncio.create_task(retrying.call(ASK, Server(BadResponse("503", retry_after=50.0))))
        await asyncio.sleep(1)
        await retrying.call(Request(model="openai/other", messages=()), Server())
        done_at = now()
        await waiting
        return done_at

    assert run(main()) == 1.0


def test_a_burst_of_429s_halves_the_lane_once_and_successes_open_it_again() -> None:
    rate_limiter = RateLimiter(width=16)
    epochs = [rate_limiter.start(0.0) for _ in range(16)]
    for epoch in epochs:
        rate_limiter.finish(epoch, RateLimited("429"), 0.0)
    assert rate_limiter.window == 8
    rate_limiter.finish(rate_limiter.start(1.0), RateLimited("429"), 1.0)
    assert rate_limiter.window == 4
    for _ in range(4):
        rate_limiter.finish(rate_limiter.start(2.0), None, 2.0)
    assert 4.8 < rate_limiter.window <= 5.0
    for error in (BadResponse("500"), TimedOut("late")):
        rate_limiter.finish(rate_limiter.start(3.0), error, 3.0)
    assert 4.8 < rate_limiter.window <= 5.0


def test_a_lane_that_was_narrowed_and_has_recovered_is_as_wide_as_before() -> None:
    async def main() -> None:
        rate_limiter = RateLimiter(width=8)
        for _ in range(8):
            await rate_limiter.acquire()
        for epoch in [rate_limiter.start(0.0) for _ in range(8)]:
            rate_limiter.finish(epoch, RateLimited("429"), 0.0)
            rate_limiter.release()
        assert await free_places(rate_limiter) == 4
        for _ in range(60):
            await rate_limiter.acquire()
            rate_limiter.finish(rate_limiter.start(1.0), None, 1.0)
            rate_limiter.release()
        assert rate_limiter.window == 8
        assert await free_places(rate_limiter) == 8

    run(main())


async def free_places(rate_limiter: RateLimiter) -> int:
    """How many may come in at once."""
    taken = 0
    with contextlib.suppress(TimeoutError):
        while True:
            await asyncio.wait_for(rate_limiter.acquire(), 1.0)
            taken += 1
    for _ in range(taken):
        rate_limiter.release()
    return taken


def test_a_provider_that_bears_four_at_once_gets_everything_done() -> None:
    async def main() -> tuple[Server, int]:
        async def at_most_four(request: Request) -> str:
            if server.busy > 4:
                raise RateLimited("too many at once")
            await asyncio.sleep(1.0)
            return "4"

        server, retrying = Server(act=at_most_four), retrier(concurrency=32)
        results = await asyncio.gather(
            *(retrying.call(ASK, server) for _ in range(200)), return_exceptions=True
        )
        return server, sum(r == "4" for r in results)

    server, done = run(main())
    assert done >= 190
    assert len(server.starts) < 2.2 * 200


# ---------------------------------------------------------------- deadlines and cancellation


def test_an_attempt_ends_with_the_wall_clock_and_may_be_on_the_bill() -> None:
    told: list[Request] = []

    async def drip(request: Request) -> str:
        while True:
            await asyncio.sleep(0.3)

    server = Server(act=drip)
    raised = outcome(
        retrier(on_maybe_billed=lambda r, _: told.append(r)),
        server,
        Request(model="m", messages=(), timeout=5),
    )
    assert isinstance(raised, TimedOut)
    assert raised.maybe_billed
    assert len(told) == len(server.starts) == 4
    assert all(5.0 <= gap <= 9.0 for gap in server.gaps)


@pytest.mark.parametrize("moment", ["on the wire", "backing off", "in the queue"])
def test_cancelling_ends_a_call_at_once_and_frees_its_place(moment: str) -> None:
    async def main() -> None:
        retrying = retrier(concurrency=1)
        server = (
            Server(BadResponse("503", retry_after=50.0)) if moment == "backing off" else Server(takes=9.0)
        )
        first = asyncio.create_task(retrying.call(ASK, server))
        await asyncio.sleep(1)
        task = asyncio.create_task(retrying.call(ASK, server)) if moment == "in the queue" else first
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() == 2.0
        assert len(server.starts) == 1
        assert await retrying.call(ASK, Server()) == "4"

    run(main())


# ---------------------------------------------------------------- endpoints that are down


def tripped(threshold: int = 3) -> Breaker:
    breaker = Breaker(threshold=threshold, patience=60.0)
    for _ in range(threshold):
        assert breaker.delay(0.0) == 0.0
        breaker.start(0.0)
        breaker.finish(BadResponse("500"), 0.0)
    return breaker


def test_a_breaker_trips_and_lets_one_try_after_pauses_that_double() -> None:
    breaker, at, pauses = tripped(), 0.0, []
    for _ in range(7):
        pauses.append(breaker.delay(at))
        at += pauses[-1]
        breaker.start(at)
        assert breaker.delay(at) > 0  # the others wait on while one tries
        breaker.finish(BadResponse("500"), at)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize(
    "alive", [None, RateLimited("429"), BadRequest("400"), NoText("blank"), Unauthorised("401")]
)
def test_whatever_shows_that_an_endpoint_is_alive_closes_the_breaker_for_good(alive: Any) -> None:
    breaker = tripped()
    breaker.start(0.5)
    breaker.finish(alive, 0.6)
    assert (breaker.delay(0.6), breaker.failures, breaker.dead) == (0.0, 0, None)
    for _ in range(2):
        breaker.finish(BadResponse("500"), 100.0)  # it takes the whole number again, and a new patience
    assert breaker.delay(100.0) == 0.0
    breaker.finish(BadResponse("500"), 100.0)
    assert (breaker.delay(100.0), breaker.dead) == (0.5, None)


def test_a_request_that_never_arrived_is_no_attempt() -> None:
    async def main() -> str:
        retrying = retrier()
        await retrying.call(ASK, Server())  # it is there
        lost: list[BackendError] = [Unreachable("refused") for _ in range(8)]
        failed: list[BackendError] = [BadResponse("500") for _ in range(5)]
        mixed = [e for pair in itertools.zip_longest(failed, lost) for e in pair if e is not None]
        return await retrying.call(ASK, Server(*mixed))

    assert run(main()) == "4"


async def at_most(seconds: float, work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await work


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_an_endpoint_that_goes_away_for_twenty_seconds_costs_no_answer(concurrency: int) -> None:
    async def main() -> tuple[Server, list[Any]]:
        async def away(request: Request) -> str:
            if 10.0 <= now() < 30.0:
                raise Unreachable("connection refused")
            await asyncio.sleep(1.0)
            return "4"

        server, retrying = Server(act=away), retrier(concurrency=concurrency)
        calls = (retrying.call(ASK, server) for _ in range(20 * concurrency))
        return server, await asyncio.gather(*calls)

    server, answers = run(main())
    assert answers == ["4"] * (20 * concurrency)
    tries = [start for start in server.starts if 11.0 < start < 30.0]
    assert len(tries) <= 40  # it is not hammered while it is down


def test_an_endpoint_that_does_not_come_back_is_given_up() -> None:
    async def main() -> tuple[list[Any], Server, Server]:
        async def dies(request: Request) -> str:
            if now() >= 10.0:
                raise Unreachable("connection refused", hint="is it up?")
            await asyncio.sleep(1.0)
            return "4"

        server, late, retrying = Server(act=dies), Server(), retrier(concurrency=8)
        calls = [retrying.call(ASK, server) for _ in range(200)]
        results = await at_most(600, asyncio.gather(*calls, return_exceptions=True))
        with pytest.raises(Unreachable, match="openai has been given up") as caught:
            await retrying.call(ASK, late)
        assert caught.value.fatal
        return results, server, late

    results, server, late = run(main())
    failed = [r for r in results if r != "4"]
    assert 70 <= results.count("4") <= 80
    assert all(isinstance(r, Unreachable) and r.fatal for r in failed)
    assert not late.starts
    assert len(server.starts) < 200


def test_an_endpoint_that_never_answered_is_told_after_one_more_try() -> None:
    server = endlessly(lambda: Unreachable("connection refused"))
    raised = outcome(retrier(), server)
    assert isinstance(raised, Unreachable)
    assert (raised.fatal, len(server.starts)) == (True, 2)


@pytest.mark.parametrize("concurrency", [4, 16, 64])
def test_a_batch_gives_up_an_endpoint_that_never_answered_within_seconds_and_says_so_once(
    concurrency: int,
) -> None:
    notes: list[str] = []

    async def main() -> tuple[float, list[Any], str]:
        server = endlessly(lambda: Unreachable("cannot reach x: connection refused"))
        retrying = retrier(concurrency=concurrency, note=notes.append)
        calls = [retrying.call(ASK, server) for _ in range(600)]
        results = await at_most(600, asyncio.gather(*calls, return_exceptions=True))
        seconds = now()
        await asyncio.sleep(2.0)  # it may have been about to start
        return seconds, results, await retrying.call(ASK, Server())

    seconds, results, answer = run(main())
    assert seconds < 1.5, seconds
    assert all(isinstance(r, Unreachable) and r.fatal for r in results[1:])
    assert notes == ["cannot reach x: connection refused; trying once more"]
    assert answer == "4"


@pytest.mark.parametrize("trouble", [Unreachable, BadResponse])
def test_how_long_an_endpoint_that_went_away_is_tried_is_said_once_and_is_so(
    trouble: type[BackendError],
) -> None:
    notes: list[tuple[float, str]] = []

    async def main() -> float:
        async def dies(request: Request) -> str:
            if now() >= 10.0:
                raise trouble("cannot reach x: gone")
            await asyncio.sleep(1.0)
            return "4"

        retrying = retrier(concurrency=8, note=lambda line: notes.append((now(), line)), attempts=30)
        calls = [retrying.call(ASK, Server(act=dies)) for _ in range(200)]
        await at_most(600, asyncio.gather(*calls, return_exceptions=True))
        return now()

    end = run(main())
    [(start, line)] = notes
    assert line == "cannot reach x: gone; trying again, for up to 60 s"
    assert 10.0 <= start < 12.0 or trouble is BadResponse
    assert 70.0 <= end < 72.0


def test_an_endpoint_that_only_hangs_is_given_up_in_a_few_minutes() -> None:
    async def main() -> tuple[float, int, int]:
        async def hang(request: Request) -> str:
            await asyncio.Event().wait()
            raise AssertionError

        server, retrying = Server(act=hang), retrier(concurrency=16)
        calls = [retrying.call(ASK, server) for _ in range(500)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(r, BackendError) for r in results)
        return now(), len(server.starts), sum(r.fatal for r in results)

    seconds, requests, fatal = run(main())
    assert seconds < 400
    assert requests < 100
    assert fatal > 450


def test_a_row_that_always_fails_does_not_stop_the_others() -> None:
    async def main() -> list[Any]:
        async def one_is_broken(request: Request) -> str:
            if request.messages:
                raise BadResponse("500")
            return "4"

        server, retrying, results = Server(act=one_is_broken), retrier(concurrency=1), []
        for i in range(20):
            request = Request(model="openai/m", messages=(Message("user", "x"),) if i % 4 == 0 else ())
            results += await asyncio.gather(retrying.call(request, server), return_exceptions=True)
        return results

    results = run(main())
    assert [r == "4" for r in results] == [i % 4 != 0 for i in range(20)]
    assert not any(isinstance(r, BackendError) and r.fatal for r in results)


def test_a_model_that_nobody_knows_stops_the_run_but_not_once_it_has_answered() -> None:
    async def main(first: list[Any]) -> list[bool]:
        retrying, fatal = retrier(), []
        server = Server(*first)
        for _ in first:
            try:
                await retrying.call(ASK, server)
            except UnknownModel as error:
                fatal.append(error.fatal)
        return fatal

    assert run(main([UnknownModel("404") for _ in range(4)])) == [True] * 4

    async def known() -> list[bool]:
        retrying, fatal = retrier(), []
        await retrying.call(ASK, Server())
        for _ in range(5):
            with pytest.raises(UnknownModel) as caught:
                await retrying.call(ASK, Server(UnknownModel("404")))
            fatal.append(caught.value.fatal)
        return fatal

    assert run(known()) == [False] * 5


# ---------------------------------------------------------------- what all requests would meet


def refused_for_all() -> list[BackendError]:
    late = RateLimited("tomorrow", retry_after=3600.0)
    return [Unauthorised("401"), QuotaExhausted("402"), UnknownModel("404"), late]


@pytest.mark.parametrize("error", refused_for_all(), ids=lambda e: e.kind)
@pytest.mark.parametrize("takes", [0.0, 1.9])
def test_what_all_requests_would_meet_costs_one(error: BackendError, takes: float) -> None:
    async def main() -> tuple[list[Any], Server]:
        server, retrying = Server(error, takes=takes), retrier()
        calls = (retrying.call(ASK, server) for _ in range(40))
        return await asyncio.gather(*calls, return_exceptions=True), server

    results, server = run(main())
    assert len(server.starts) == 1
    assert all(isinstance(r, BackendError) and r.kind == error.kind and r.fatal for r in results)
    assert [r.attempts for r in results] == [1] + [0] * 39
    assert all(r.message.startswith("not asked: ") for r in results[1:])


def test_a_refusal_in_the_middle_of_a_run_costs_what_was_in_flight() -> None:
    async def main() -> Server:
        async def revoked(request: Request) -> str:
            if now() >= 10.0:
                raise Unauthorised("401")
            await asyncio.sleep(1.0)
            return "4"

        server, retrying = Server(act=revoked), retrier(concurrency=4)
        calls = (retrying.call(ASK, server) for _ in range(100))
        await asyncio.gather(*calls, return_exceptions=True)
        return server

    assert sum(start >= 10.0 for start in run(main()).starts) <= 4


def test_a_first_answer_that_takes_its_time_holds_up_nobody_for_long() -> None:
    async def main() -> Server:
        server, retrying = Server(takes=30.0), retrier()
        await asyncio.gather(*(retrying.call(ASK, server) for _ in range(8)))
        return server

    assert run(main()).starts == [0.0] + [2.0] * 7


@pytest.mark.parametrize("ends", ["cancelled", "a bug", RateLimited("429"), BadResponse("500"), None])
def test_whatever_becomes_of_the_first_request_the_others_go(ends: Any) -> None:
    async def main() -> list[Any]:
        async def act(request: Request) -> str:
            await asyncio.sleep(1.0)
            if len(server.starts) == 1 and ends == "a bug":
                raise ZeroDivisionError
            if len(server.starts) == 1 and isinstance(ends, BackendError):
                raise ends
            return "4"

        server, retrying = Server(act=act), retrier()
        calls = [asyncio.create_task(retrying.call(ASK, server)) for _ in range(4)]
        await asyncio.sleep(0.5)
        if ends == "cancelled":
            calls[0].cancel()
        results = await at_most(60, asyncio.gather(*calls, return_exceptions=True))
        return list(results[1:])

    assert run(main()) == ["4"] * 3


def test_a_key_that_was_mended_works_in_a_process_that_goes_on() -> None:
    async def main() -> list[Any]:
        server, retrying, results = Server(Unauthorised("401"), Unauthorised("401")), retrier(), []
        for second in (0, 10, 31, 40, 62, 62, 63):
            await asyncio.sleep(second - now())
            results += await asyncio.gather(retrying.call(ASK, server), return_exceptions=True)
        assert server.starts == [0, 31, 62, 62, 63]
        return [getattr(r, "attempts", r) for r in results]

    assert run(main()) == [1, 0, 1, 0, "4", "4", "4"]


def test_each_model_and_each_key_is_tried_for_itself() -> None:
    async def main() -> int:
        server, retrying = Server(*[Unauthorised("401")] * 3), retrier()
        for request in (ASK, replace(ASK, model="openai/n"), replace(ASK, api_key_env="OTHER")):
            for _ in range(2):
                with pytest.raises(Unauthorised):
                    await retrying.call(request, server)
        return len(server.starts)

    assert run(main()) == 3


# ---------------------------------------------------------------- keys


def test_a_known_key_is_masked_in_every_form_and_short_words_are_not() -> None:
    keep_secret("s3cret/with+signs==")
    keep_secret("none")
    told = "s3cret/with+signs== s3cret%2Fwith%2Bsigns%3D%3D czNjcmV0L3dpdGgrc2lnbnM9PQ== none"
    assert redact(told) == "[key] [key] [key] none"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdefghijklmnop",
        "Authorization: Bearer abcdef123456",
        "https://host/v1?key=AIzaSyA1234567890abcdefghijk",
        "hf_abcdefghijklmnopqrstuv",
    ],
)
def test_what_looks_like_a_key_is_masked(text: str) -> None:
    assert "[key]" in redact(text)
    assert not any(part in redact(text) for part in ("abcdef", "AIza"))


@pytest.mark.parametrize("text", ["skateboardingchampionships", "a task-oriented-description", "sk-learn"])
def test_ordinary_words_are_left_alone(text: str) -> None:
    assert redact(text) == text
