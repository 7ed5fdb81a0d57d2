"""The backend that looks on disk before it pays: every sample is asked for once."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from shell import PATIENCE

from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.cache import Cached, fingerprint
from automix_cli.backends.store import Store
from automix_cli.backends.store_entries import ENTRY_SCHEMA
from automix_cli.errors import (
    BackendError,
    BadResponse,
    BudgetError,
    CacheMiss,
    ContentFiltered,
    ContextTooLong,
    NoText,
    RateLimited,
    StorageError,
    TimedOut,
    UsageError,
)
from automix_cli.records import Completion, Message
from automix_cli.usage import Usage

BASE = Request(
    model="openai/small",
    messages=(Message("system", "Be brief."), Message("user", "2 + 2?")),
    params=(("temperature", 1.0), ("max_tokens", 64)),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "cache")) as opened:
        yield opened


def numbered(request: Request) -> Completion:
    """A text that names its sample, so that mixed-up samples show."""
    return Completion(text=f"sample {request.first}", usage=Usage(input_tokens=9, calls=1), latency_s=0.25)


def texts(completions: tuple[Completion, ...]) -> list[str]:
    return [c.text for c in completions]


def runs(backend: ScriptedBackend) -> list[tuple[int, int]]:
    """What was asked: (first sample, count)."""
    return [(r.first, r.n) for r in backend.calls]


@dataclass
class Gate:
    """An inner backend that answers when its gate opens, and knows what became of each call."""

    calls: int = 0
    cancelled: int = 0
    closed: bool = False
    error: Exception | None = None
    dying: float = 0.0
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        self.calls += 1
        self.entered.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(self.dying)
            raise
        if self.error:
            raise self.error
        return tuple(numbered(request.part(request.first + i, 1)) for i in range(request.n))

    async def aclose(self) -> None:
        self.closed = True


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "changed",
    [
        replace(BASE, model="openai/small-2"),
        replace(BASE, api_base="http://127.0.0.1:8000/v1"),
        replace(BASE, messages=BASE.messages[1:]),
        replace(BASE, messages=(BASE.messages[0], Message("user", "2 + 3?"))),
        replace(BASE, messages=(BASE.messages[0], Message("assistant", "2 + 2?"))),
        replace(BASE, messages=BASE.messages[::-1]),
        replace(BASE, params=(("temperature", 0.9), ("max_tokens", 64))),
        replace(BASE, params=(("temperature", 1.0), ("max_tokens", 65))),
        replace(BASE, params=(("temperature", 1.0),)),
        replace(BASE, params=(*BASE.params, ("seed", 0))),
        replace(BASE, params=(*BASE.params, ("seed", None))),
        replace(BASE, first=1),
    ],
)
def test_changing_anything_that_changes_the_text_is_a_miss(store: Store, changed: Request) -> None:
    backend = ScriptedBackend(numbered)
    cached = Cached(backend, store)
    asyncio.run(cached.complete(BASE))
    asyncio.run(cached.complete(changed))
    assert len(backend.calls) == 2


@pytest.mark.parametrize(
    "changed",
    [
        replace(BASE, timeout=5.0),
        replace(BASE, api_key_env="OTHER_KEY"),
        replace(BASE, params=BASE.params[::-1]),
        replace(BASE, messages=tuple(Message(*m) for m in BASE.messages)),
    ],
)
def test_changing_what_leaves_the_text_alone_is_a_hit(store: Store, changed: Request) -> None:
    backend = ScriptedBackend(numbered)
    cached = Cached(backend, store)
    asyncio.run(cached.complete(BASE))
    (found,) = asyncio.run(cached.complete(changed))
    assert found.cached
    assert len(backend.calls) == 1


def test_the_order_within_a_nested_parameter_does_not_matter_but_that_of_a_list_does() -> None:
    def key(value: Any) -> str:
        return fingerprint(replace(BASE, params=(("extra", value),)))

    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key(["a", "b"]) == key(("a", "b"))
    assert key(["a", "b"]) != key(["b", "a"])


def test_another_schema_is_a_miss() -> None:
    assert fingerprint(BASE, ENTRY_SCHEMA) == fingerprint(BASE)
    assert fingerprint(BASE, ENTRY_SCHEMA + 1) != fingerprint(BASE)


# ---------------------------------------------------------------- samples


def test_a_hit_keeps_its_usage_and_latency_and_says_that_nobody_paid(store: Store) -> None:
    cached = Cached(ScriptedBackend(numbered), store)
    (paid,) = asyncio.run(cached.complete(BASE))
    (hit,) = asyncio.run(cached.complete(BASE))
    assert not paid.cached
    assert hit == replace(paid, cached=True)
    assert (store.stats.hits, store.stats.writes) == (1, 1)


def test_going_from_four_samples_to_eight_pays_for_four(store: Store) -> None:
    backend = ScriptedBackend(numbered)
    cached = Cached(backend, store)
    asyncio.run(cached.complete(replace(BASE, n=4)))
    done = asyncio.run(cached.complete(replace(BASE, n=8)))
    assert texts(done) == [f"sample {i}" for i in range(8)]
    assert [c.cached for c in done] == [True] * 4 + [False] * 4
    assert runs(backend) == [(0, 4), (4, 4)]


def test_gaps_are_filled_a_run_at_a_time(store: Store) -> None:
    store.put(fingerprint(BASE), {i: Completion(text=f"sample {i}") for i in (2, 5, 6)})
    backend = ScriptedBackend(numbered)
    done = asyncio.run(Cached(backend, store).complete(replace(BASE, first=1, n=7)))
    assert texts(done) == [f"sample {i}" for i in range(1, 8)]
    assert runs(backend) == [(1, 1), (3, 2), (7, 1)]


def test_a_backend_that_returns_fewer_is_asked_for_the_rest(store: Store) -> None:
    class Stingy(ScriptedBackend):
        async def complete(self, request: Request) -> tuple[Completion, ...]:
            return (await ScriptedBackend.complete(self, request))[:3]

    backend = Stingy(numbered)
    done = asyncio.run(Cached(backend, store).complete(replace(BASE, n=8)))
    assert texts(done) == [f"sample {i}" for i in range(8)]
    assert runs(backend) == [(0, 8), (3, 5), (6, 2)]


@pytest.mark.parametrize("count", [0, 5])
def test_a_backend_that_returns_none_or_too_many_does_no_harm(store: Store, count: int) -> None:
    class Odd(ScriptedBackend):
        async def complete(self, request: Request) -> tuple[Completion, ...]:
            return tuple(numbered(request.part(i, 1)) for i in range(count))

    work = Cached(Odd([]), store).complete(replace(BASE, n=2))
    if count:
        assert texts(asyncio.run(work)) == ["sample 0", "sample 1"]
        assert store.stats.writes == 2
    else:
        with pytest.raises(BadResponse, match="no completion"):
            asyncio.run(work)


def test_what_was_paid_before_an_error_is_returned_and_stored_and_the_rest_can_be_asked_again(
    store: Store,
) -> None:
    class Failing(ScriptedBackend):
        async def complete(self, request: Request) -> tuple[Completion, ...]:
            if request.first == 3 and len(self.calls) == 1:
                self.calls.append(request)
                raise RateLimited("slow down")
            return (await ScriptedBackend.complete(self, request))[:3]

    cached = Cached(Failing(numbered), store)
    first = asyncio.run(cached.complete(replace(BASE, n=5)))
    assert texts(first) == ["sample 0", "sample 1", "sample 2"]
    assert not any(c.cached for c in first)
    again = asyncio.run(cached.complete(replace(BASE, n=5)))
    assert [c.cached for c in again] == [True, True, True, False, False]


def test_an_error_with_nothing_paid_is_raised_even_when_earlier_samples_are_stored(store: Store) -> None:
    store.put(fingerprint(BASE), {0: Completion(text="sample 0")})
    backend = ScriptedBackend([RateLimited("slow down")])
    with pytest.raises(RateLimited):
        asyncio.run(Cached(backend, store).complete(replace(BASE, n=2)))
    assert runs(backend) == [(1, 1)]


def test_a_truncated_completion_is_stored_and_a_blank_one_is_not(store: Store) -> None:
    cut = Completion(text="The ans", finish_reason="length", flags=("truncated",))
    backend = ScriptedBackend([cut, Completion(text=" "), Completion(text="again")])
    cached = Cached(backend, store)
    assert asyncio.run(cached.complete(BASE)) == (cut,)
    assert asyncio.run(cached.complete(BASE)) == (replace(cut, cached=True),)
    other = replace(BASE, model="other")
    assert texts(asyncio.run(cached.complete(other))) == [" "]
    assert texts(asyncio.run(cached.complete(other))) == ["again"]


def test_a_damaged_entry_is_paid_again_and_replaced(store: Store) -> None:
    backend = ScriptedBackend(numbered)
    cached = Cached(backend, store)
    asyncio.run(cached.complete(BASE))
    store.database.cache.set(f"{fingerprint(BASE)}/0", "junk")
    asyncio.run(cached.complete(BASE))
    (healed,) = asyncio.run(cached.complete(BASE))
    assert healed.cached
    assert (len(backend.calls), store.stats.corrupt) == (2, 1)


# ---------------------------------------------------------------- replies without text

REPLY = Completion(text="", usage=Usage(input_tokens=9, output_tokens=64, reasoning_tokens=64, calls=1))


def mute(kind: type[BackendError] = NoText, *, lasts: bool = True) -> BackendError:
    error = kind("it said nothing", hint="raise max_tokens", maybe_billed=True)
    error.reply, error.lasts = REPLY, lasts
    return error


@pytest.mark.parametrize("kind", [NoText, ContentFiltered])
@pytest.mark.parametrize("offline", [False, True])
def test_a_reply_without_text_is_remembered_as_the_error_that_it_was(
    kind: type[BackendError], offline: bool, store: Store
) -> None:
    with pytest.raises(kind):
        asyncio.run(Cached(ScriptedBackend([mute(kind)]), store).complete(replace(BASE, n=2)))
    again = Cached(lambda: pytest.fail("made"), store, offline=offline)
    with pytest.raises(kind) as caught:
        asyncio.run(again.complete(replace(BASE, n=2)))
    error = caught.value
    assert (error.message, error.hint, error.attempts) == ("it said nothing", "raise max_tokens", 0)
    assert not error.maybe_billed
    assert error.reply == replace(REPLY, cached=True)


def test_a_failure_that_says_nothing_of_the_prompt_is_not_remembered(store: Store) -> None:
    cached = Cached(ScriptedBackend([RateLimited("no"), mute(lasts=False), "4"]), store)
    for kind in (RateLimited, NoText):
        with pytest.raises(kind):
            asyncio.run(cached.complete(BASE))
    assert texts(asyncio.run(cached.complete(BASE))) == ["4"]


@pytest.mark.parametrize("error", [ContentFiltered("no"), ContextTooLong("no")], ids=repr)
@pytest.mark.parametrize("offline", [False, True])
def test_a_refusal_is_remembered_until_a_refresh_and_said_once(
    error: BackendError, offline: bool, tmp_path: Path
) -> None:
    backend = ScriptedBackend([error, "4"])

    def outcome(notes: list[str], **how: bool) -> list[str]:
        async def main() -> list[str]:
            cached = Cached(backend, Store(tmp_path), notes=notes, **how)
            results: list[Any] = []
            for _ in range(2):
                results += await asyncio.gather(cached.complete(BASE), return_exceptions=True)
            await cached.aclose()
            return [r.kind if isinstance(r, BackendError) else texts(r)[0] for r in results]

        return asyncio.run(main())

    first: list[str] = []
    later: list[str] = []
    fresh: list[str] = []
    assert outcome(first) == [error.kind] * 2
    assert outcome(later, offline=offline) == [error.kind] * 2
    assert len(backend.calls) == 1
    assert outcome(fresh, refresh=True) == ["4", "4"]
    said = [] if error.reply else ["1 refusal remembered from an earlier run; --refresh asks again"]
    assert (first, later, fresh) == ([], said, [])


def test_samples_before_a_reply_without_text_are_returned_and_those_after_it_can_be_bought(
    store: Store,
) -> None:
    backend = ScriptedBackend(lambda r: mute() if r.first == 1 else numbered(r))
    cold, warm = (Cached(backend, store) for _ in range(2))
    for cached in (cold, warm):
        assert texts(asyncio.run(cached.complete(replace(BASE, n=1)))) == ["sample 0"]
        with pytest.raises(NoText):
            asyncio.run(cached.complete(BASE.part(1, 1)))
        assert texts(asyncio.run(cached.complete(BASE.part(0, 3)))) == ["sample 0"]
        assert texts(asyncio.run(cached.complete(BASE.part(2, 1)))) == ["sample 2"]
    assert runs(backend) == [(0, 1), (1, 1), (2, 1)]


def test_refresh_asks_again_for_what_had_no_text(store: Store) -> None:
    with pytest.raises(NoText):
        asyncio.run(Cached(ScriptedBackend([mute()]), store).complete(BASE))
    refreshing = Cached(ScriptedBackend(["4"]), store, refresh=True)
    assert texts(asyncio.run(refreshing.complete(BASE))) == ["4"]
    assert texts(asyncio.run(Cached(ScriptedBackend([]), store).complete(BASE))) == ["4"]


def test_a_damaged_memory_of_a_reply_without_text_is_a_counted_miss(store: Store) -> None:
    with pytest.raises(NoText):
        asyncio.run(Cached(ScriptedBackend([mute()]), store).complete(BASE))
    (key,) = [key for key in store.database.cache.iterkeys() if key.endswith("/mute")]
    text = store.database.cache.get(key)
    for damaged in (text.replace("no_text", "no_texT"), "junk", "{}"):
        store.database.cache.set(key, damaged)
        assert store.get_failure(fingerprint(BASE), 0) is None
    assert store.stats.corrupt == 1
    assert texts(asyncio.run(Cached(ScriptedBackend(["4"]), store).complete(BASE))) == ["4"]


# ---------------------------------------------------------------- refresh, offline, no cache


def test_refresh_pays_each_sample_once_a_run_and_replaces_what_was_stored(store: Store) -> None:
    asyncio.run(Cached(ScriptedBackend(["old"]), store).complete(BASE))
    for new in ("new", "newer"):
        backend = ScriptedBackend([new])
        refreshing = Cached(backend, store, refresh=True)
        done = [asyncio.run(refreshing.complete(BASE)) for _ in range(3)]
        assert [texts(d) for d in done] == [[new]] * 3
        assert [d[0].cached for d in done] == [False, True, True]
        assert len(backend.calls) == 1
    assert texts(asyncio.run(Cached(ScriptedBackend([]), store).complete(BASE))) == ["newer"]


def test_offline_answers_from_the_store_and_never_makes_the_backend(store: Store) -> None:
    asyncio.run(Cached(ScriptedBackend(numbered), store).complete(BASE))
    offline = Cached(lambda: pytest.fail("made"), store, offline=True)
    assert texts(asyncio.run(offline.complete(BASE))) == ["sample 0"]
    with pytest.raises(CacheMiss, match="sample 1 of this prompt to openai/small") as caught:
        asyncio.run(offline.complete(replace(BASE, n=2)))
    assert caught.value.kind == "cache_miss"
    asyncio.run(offline.aclose())


def test_offline_and_refresh_contradict_each_other(store: Store) -> None:
    with pytest.raises(UsageError):
        Cached(ScriptedBackend([]), store, refresh=True, offline=True)


def test_the_backend_is_made_once_and_only_when_something_is_missing(store: Store) -> None:
    made = []

    def make() -> ScriptedBackend:
        made.append(ScriptedBackend(numbered))
        return made[-1]

    cached = Cached(make, store)
    for _ in range(2):
        asyncio.run(cached.complete(replace(BASE, n=2)))
    asyncio.run(cached.complete(replace(BASE, n=3)))
    assert len(made) == 1
    asyncio.run(Cached(lambda: pytest.fail("made"), store).complete(BASE))


def test_without_a_cache_equal_requests_of_a_run_are_still_paid_once() -> None:
    backend = Gate()
    backend.gate.set()

    async def run() -> Cached:
        cached = Cached(backend, None)
        await asyncio.gather(*(cached.complete(BASE) for _ in range(5)))
        await cached.complete(BASE)
        await cached.aclose()
        return cached

    assert not asyncio.run(run()).store.folder.exists()
    assert (backend.calls, backend.closed) == (1, True)


# ---------------------------------------------------------------- single flight


def test_equal_requests_at_the_same_time_are_asked_once(store: Store) -> None:
    backend = ScriptedBackend(numbered)

    async def run() -> list[tuple[Completion, ...]]:
        cached = Cached(backend, store)
        return await asyncio.gather(*(cached.complete(replace(BASE, n=2)) for _ in range(50)))

    done = asyncio.run(run())
    assert runs(backend) == [(0, 2)]
    assert {tuple(texts(d)) for d in done} == {("sample 0", "sample 1")}
    assert sum(not c.cached for d in done for c in d) == 2


def test_overlapping_requests_pay_for_each_sample_once(store: Store) -> None:
    backend = ScriptedBackend(numbered)
    wanted = [(0, 4), (2, 4), (0, 8), (6, 1), (9, 1)]

    async def run() -> list[tuple[Completion, ...]]:
        cached = Cached(backend, store)
        return await asyncio.gather(*(cached.complete(BASE.part(*w)) for w in wanted))

    done = asyncio.run(run())
    assert [texts(d) for d in done] == [[f"sample {i}" for i in range(f, f + n)] for f, n in wanted]
    asked = [i for first, n in runs(backend) for i in range(first, first + n)]
    assert sorted(asked) == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert sum(not c.cached for d in done for c in d) == len(asked)


@pytest.mark.parametrize("error", [TimedOut("late", maybe_billed=True), BudgetError("no more"), ValueError()])
def test_one_failure_is_told_to_all_who_wait_and_billed_to_one(store: Store, error: Exception) -> None:
    backend = Gate(error=error)
    billed = isinstance(error, TimedOut)
    if isinstance(error, BackendError):
        error.attempts = 6

    async def run() -> list[Any]:
        cached = Cached(backend, store)
        backend.gate.set()
        return await asyncio.gather(*(cached.complete(BASE) for _ in range(5)), return_exceptions=True)

    told = asyncio.run(run())
    assert [type(e) for e in told] == [type(error)] * 5
    assert backend.calls == 1
    if isinstance(error, BackendError):
        assert [(e.maybe_billed, e.attempts) for e in told] == [(billed, 6)] + [(False, 0)] * 4
        assert {str(e) for e in told} == {str(error)}


def test_after_a_failure_the_next_request_asks_again(store: Store) -> None:
    cached = Cached(ScriptedBackend([TimedOut("late"), "answer"]), store)
    with pytest.raises(TimedOut):
        asyncio.run(cached.complete(BASE))
    assert texts(asyncio.run(cached.complete(BASE))) == ["answer"]


def test_a_failure_is_not_told_to_one_who_wants_other_samples(store: Store) -> None:
    backend = ScriptedBackend([TimedOut("late"), "other"])

    async def run() -> list[Any]:
        cached = Cached(backend, store)
        work = (cached.complete(BASE), cached.complete(replace(BASE, first=5)))
        return await asyncio.gather(*work, return_exceptions=True)

    failed, done = asyncio.run(run())
    assert isinstance(failed, TimedOut)
    assert texts(done) == ["other"]


def test_cancelling_the_one_who_asked_does_not_disturb_the_others(store: Store) -> None:
    async def run() -> tuple[Gate, list[Any]]:
        backend = Gate()
        cached = Cached(backend, store)
        tasks = [asyncio.create_task(cached.complete(BASE)) for _ in range(3)]
        await backend.entered.wait()
        tasks[0].cancel()
        await asyncio.sleep(0)
        backend.gate.set()
        return backend, await asyncio.gather(*tasks, return_exceptions=True)

    backend, (first, *rest) = asyncio.run(run())
    assert isinstance(first, asyncio.CancelledError)
    assert [texts(d) for d in rest] == [["sample 0"]] * 2
    assert [d[0].cached for d in rest] == [False, True]  # somebody has it on the bill
    assert (backend.calls, backend.cancelled) == (1, 0)


def test_cancelling_all_cancels_the_request_and_frees_the_prompt(store: Store) -> None:
    async def run() -> tuple[Gate, Any]:
        backend = Gate()
        cached = Cached(backend, store)
        tasks = [asyncio.create_task(cached.complete(BASE)) for _ in range(3)]
        await backend.entered.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert backend.cancelled == 1
        with contextlib.closing(Store(store.folder)) as other:
            assert other.take(fingerprint(BASE), 60)
            other.release(fingerprint(BASE))
        backend.gate.set()
        return backend, await cached.complete(BASE)

    backend, done = asyncio.run(run())
    assert texts(done) == ["sample 0"]
    assert backend.calls == 2


def test_one_who_joins_a_request_that_is_being_cancelled_asks_again(store: Store) -> None:
    async def run() -> Any:
        backend = Gate(dying=0.05)
        cached = Cached(backend, store)
        first = asyncio.create_task(cached.complete(BASE))
        await backend.entered.wait()
        first.cancel()
        await asyncio.sleep(0)
        late = asyncio.create_task(cached.complete(BASE))
        await asyncio.sleep(0)
        backend.gate.set()
        return await late

    assert texts(asyncio.run(run())) == ["sample 0"]


def test_a_backend_that_cancels_itself_is_not_asked_for_ever(store: Store) -> None:
    class Quitter(ScriptedBackend):
        async def complete(self, request: Request) -> tuple[Completion, ...]:
            self.calls.append(request)
            raise asyncio.CancelledError

    backend = Quitter([])
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Cached(backend, store).complete(BASE))
    assert len(backend.calls) == 1


def test_a_locked_store_is_waited_for_without_holding_up_the_event_loop(store: Store) -> None:
    store.patience = PATIENCE

    async def run() -> int:
        cached = Cached(ScriptedBackend(numbered), store)
        with store.database.raw() as other:
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(cached.complete(BASE))
            ticks = 0
            for _ in range(3):
                await asyncio.sleep(0.05)
                ticks += not task.done()
            other.execute("ROLLBACK")
        await task
        return ticks

    assert asyncio.run(run()) == 3


def test_a_store_locked_for_good_is_a_storage_error_and_nothing_is_asked(store: Store) -> None:
    store.patience = 0.1
    backend = ScriptedBackend(numbered)
    with store.database.raw() as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            asyncio.run(Cached(backend, store).complete(BASE))
    assert backend.calls == []


# ---------------------------------------------------------------- several processes

WORKER = """
import asyncio, os, sys
from pathlib import Path
from automix_cli.backends.base import Request
from automix_cli.backends.cache import Cached
from automix_cli.records import Completion, Message
from automix_cli.backends.store import Store

class Paid:
    async def complete(self, request):
        texts = [f"{request.messages[0].content} {request.first + i}" for i in range(request.n)]
        with open(sys.argv[2], "a") as ledger:
            ledger.write("".join(f"{text}\\n" for text in texts))
        await asyncio.sleep(0.02)
        if sys.argv[3] == "hang":
            print("asked", flush=True)
            await asyncio.Event().wait()
        return tuple(Completion(text=text) for text in texts)
    async def aclose(self): pass

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    cached = Cached(Paid(), Store(Path(sys.argv[1])))
    asks = [Request(model="m", messages=(Message("user", f"q{i}"),), n=2) for i in range(int(sys.argv[4]))]
    done = await asyncio.gather(*(cached.complete(ask) for ask in asks))
    for completions in done:
        print(*(c.text for c in completions), sep=", ")
    await cached.aclose()

asyncio.run(main())
"""


def start(folder: Path, ledger: Path, mode: str, rows: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WORKER, str(folder), str(ledger), mode, str(rows)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def begin(*children: subprocess.Popen[str]) -> None:
    """Have them all ask, once the last of them is ready to."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()


def test_two_processes_on_one_cache_pay_for_each_sample_once(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    children = [start(tmp_path / "cache", ledger, "answer", 30) for _ in range(2)]
    begin(*children)
    outputs = [child.communicate(timeout=PATIENCE)[0].splitlines() for child in children]
    assert outputs == [[f"q{i} 0, q{i} 1" for i in range(30)]] * 2
    assert sorted(ledger.read_text().splitlines()) == sorted(f"q{i} {s}" for i in range(30) for s in (0, 1))


@pytest.mark.parametrize("meanwhile", [True, False])
def test_what_another_store_keeps_between_look_up_and_lease_is_not_bought(
    store: Store, meanwhile: bool
) -> None:
    backend = ScriptedBackend(numbered)
    cached = Cached(backend, store)

    async def run() -> list[str]:
        await cached.complete(replace(BASE, model="openai/first"))  # from now on the version is known
        task = asyncio.create_task(cached.complete(BASE))
        await asyncio.sleep(0)  # it has looked, and waits for its lease
        if meanwhile:
            with contextlib.closing(Store(store.folder)) as other:
                other.put(fingerprint(BASE), {0: Completion(text="theirs")})
        return texts(await task)

    assert asyncio.run(run()) == ["theirs" if meanwhile else "sample 0"]
    assert len(backend.calls) == 2 - meanwhile


def test_the_request_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    victim = start(tmp_path / "cache", ledger, "hang", 1)
    begin(victim)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "asked\n"
    waiter = start(tmp_path / "cache", ledger, "answer", 1)
    begin(waiter)
    with pytest.raises(subprocess.TimeoutExpired):  # the victim lives, so its lease is respected
        waiter.communicate(timeout=1)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert waiter.communicate(timeout=PATIENCE)[0] == "q0 0, q0 1\n"
    assert ledger.read_text().splitlines() == ["q0 0", "q0 1"] * 2  # in flight when killed: paid again
