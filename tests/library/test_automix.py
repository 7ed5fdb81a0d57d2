"""The face for Python programs: threads, event loops, many rows, closing, and what it leaves alone."""

import asyncio
import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Reply
from shell import PATIENCE, environment

from automix_cli import Answer, Automix, Question
from automix_cli.errors import AutomixError, DataError, ProfileError, UsageError

PROFILE = """\
version: 1
name: own
tiers:
  - {{name: small, model: openai/tiny, api_base: '{url}', price: {{input: 1, output: 1}}}}
limits: {{concurrency: {concurrency}, attempts: 1}}
"""


def threads() -> int:
    """How many threads of ours run."""
    return sum(thread.name == "automix" for thread in threading.enumerate())


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A model that answers each question with its last word."""
    with Loopback(lambda call: call.prompt.split()[-1]) as server:
        yield server


Make = Callable[..., Automix]


@pytest.fixture
def make(server: Loopback, tmp_path: Path) -> Iterator[Make]:
    """Opens faces of one profile, and closes what a test leaves open."""
    opened: list[Automix] = []

    def make(concurrency: int = 8, **options: Any) -> Automix:
        path = tmp_path / "own.yaml"
        path.write_text(PROFILE.format(url=server.url, concurrency=concurrency), encoding="utf-8")
        opened.append(Automix.from_profile(path, **{"no_cache": True, **options}))
        return opened[-1]

    yield make
    for automix in opened:
        automix.close()
    assert threads() == 0


def words(rows: list[Answer]) -> list[str | None]:
    return [row.answer for row in rows]


# ---------------------------------------------------------------- whoever calls

COUNT = 40  # calls in each of six ways


def from_threads(automix: Automix) -> list[Answer]:
    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(automix.ask, (f"say {n}" for n in range(COUNT))))


def from_a_running_loop(automix: Automix) -> list[Answer]:
    async def main() -> list[Answer]:
        return [automix.ask(f"say {n}") for n in range(COUNT)]  # as the cell of a notebook does

    return asyncio.run(main())


def from_one_loop_at_once(automix: Automix) -> list[Answer]:
    async def main() -> list[Answer]:
        return list(await asyncio.gather(*(automix.aask(f"say {n}") for n in range(COUNT))))

    return asyncio.run(main())


def from_several_loops_in_turn(automix: Automix) -> list[Answer]:
    async def some(first: int) -> list[Answer]:
        return list(await asyncio.gather(*(automix.aask(f"say {n}") for n in range(first, first + 10))))

    return [row for first in range(0, COUNT, 10) for row in asyncio.run(some(first))]


def from_loops_in_threads(automix: Automix) -> list[Answer]:
    async def some(first: int) -> list[Answer]:
        return [row async for row in automix.aask_many(f"say {n}" for n in range(first, first + 10))]

    with ThreadPoolExecutor(4) as pool:
        return [row for rows in pool.map(lambda n: asyncio.run(some(n)), range(0, COUNT, 10)) for row in rows]


def as_rows(automix: Automix) -> list[Answer]:
    return list(automix.ask_many(f"say {n}" for n in range(COUNT)))


WAYS = [
    *(from_threads, from_a_running_loop, from_one_loop_at_once),
    *(from_several_loops_in_turn, from_loops_in_threads, as_rows),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_call_of_all_these_raises(
    way: Callable[[Automix], list[Answer]], make: Make, server: Loopback
) -> None:
    rows = way(make())
    assert words(rows) == [str(n) for n in range(COUNT)]
    assert len(server.calls) == COUNT


def test_the_row_is_that_of_the_command_line(make: Make) -> None:
    row = make().ask({"prompt": "say yes", "custom_id": "q7", "metadata": {"a": 1}}).to_dict()
    assert (row["schema"], row["id"], row["answer"]) == ("automix.ask/1", "q7", "yes")
    assert row["metadata"] == {"a": 1}


def test_a_context_is_sent_with_the_question(make: Make, server: Loopback) -> None:
    server.reply = lambda call: "yes" if "The lease ends in May." in call.prompt else "no"
    assert make().ask("say maybe", context="The lease ends in May.").answer == "yes"


# ---------------------------------------------------------------- many rows


def test_rows_come_in_order_with_the_concurrency_of_the_profile(make: Make, server: Loopback) -> None:
    at_work, most = [0], [0]

    def slow(call: Any) -> Reply:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        word = call.prompt.split()[-1]
        time.sleep(0.02 if word == "0" else 0.001)
        at_work[0] -= 1
        return Reply(texts=(word,), latency=0.01)

    server.reply = slow
    assert words(list(make(concurrency=3).ask_many(f"say {n}" for n in range(20)))) == [
        str(n) for n in range(20)
    ]
    assert most[0] <= 3


def test_a_row_that_is_no_question_becomes_an_error_row(make: Make) -> None:
    given: list[Any] = [
        "say a",
        {"question": 7},
        "",
        Question(text="say b"),
        3,
        {"id": 0, "question": "say c"},
        Question(text="say d", id=0),
    ]
    rows = list(make().ask_many(given))
    assert words(rows) == ["a", None, None, "b", None, None, None]
    assert [row.error.message for row in rows if row.error] == [
        "line 2: question: expected text, got a number",
        "line 3: question: is empty",
        "line 5: expected text, a row or a Question, got int",
        "line 6: id 0 stands twice (first in line 1)",
        "line 7: id 0 stands twice (first in line 1)",
    ]
    assert [row.question.index for row in rows] == [0, 1, 2, 3, 4, 5, 6]


def test_the_id_0_of_a_record_is_an_id_and_none_is_its_place(make: Make) -> None:
    given = [Question(text="say a", id="x"), Question(text="say b", id=0), Question(text="say c")]
    assert [row.to_dict()["id"] for row in make().ask_many(given)] == ["x", 0, 2]


def test_few_rows_are_read_ahead_and_breaking_off_asks_no_more(make: Make, server: Loopback) -> None:
    taken = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(len(taken))
            yield f"say {len(taken)}"

    rows = make(concurrency=2).ask_many(endless())
    assert next(rows).answer == "1"
    rows.close()  # type: ignore[attr-defined]
    assert len(taken) <= 2 * 8 + 1
    assert len(server.calls) <= len(taken)


def test_an_asynchronous_generator_may_be_given(make: Make) -> None:
    async def questions() -> AsyncIterator[str]:
        for n in range(5):
            await asyncio.sleep(0)
            yield f"say {n}"

    async def main() -> list[Answer]:
        async with make() as automix:
            return [row async for row in automix.aask_many(questions())]

    assert words(asyncio.run(main())) == [str(n) for n in range(5)]


def test_an_error_that_every_row_would_meet_ends_the_rows(make: Make, server: Loopback) -> None:
    server.reply = lambda call: Reply(status=401, body=b'{"error": {"message": "no such key"}}')
    rows: list[Answer] = []
    with pytest.raises(AutomixError, match="stopped: "):
        rows.extend(make(concurrency=2).ask_many(f"say {n}" for n in range(1000)))
    assert {row.status for row in rows} == {"error"}
    assert len(rows) < 30
    assert len(server.calls) <= 4


def test_an_exception_of_the_generator_is_the_callers(make: Make) -> None:
    def questions() -> Iterator[str]:
        yield "say a"
        raise KeyError("mine")

    automix = make()
    with pytest.raises(KeyError, match="mine"):
        list(automix.ask_many(questions()))
    assert automix.ask("say b").answer == "b"


# ---------------------------------------------------------------- cancel and close


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_cancelling_the_callers_task_cancels_its_call(make: Make, server: Loopback) -> None:
    gate = threading.Event()
    server.reply = lambda call: Reply(texts=("late",), gate=gate.is_set)
    automix = make()

    async def main() -> None:
        task = asyncio.create_task(automix.aask("say a"))
        await asyncio.to_thread(wait_until, lambda: len(server.calls) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    loop = automix._session._loop
    assert loop is not None
    wait_until(lambda: not asyncio.all_tasks(loop._loop))
    gate.set()
    server.reply = lambda call: "b"
    assert automix.ask("say b").answer == "b"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_closing_ends_calls_under_way_with_a_clear_error(kind: str, make: Make, server: Loopback) -> None:
    server.reply = lambda call: Reply(texts=("late",), gate=lambda: False)
    automix, errors = make(), []

    def call() -> None:
        try:
            automix.ask("say a") if kind == "sync" else asyncio.run(automix.aask("say a"))
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: len(server.calls) == 1)
    automix.close()
    thread.join(PATIENCE)
    assert [type(error) for error in errors] == [UsageError]
    assert "closed" in str(errors[0])
    with pytest.raises(UsageError, match="this Automix is closed"):
        automix.ask("say b")
    automix.close()  # once more does nothing


def test_a_face_that_nobody_holds_is_closed(make: Make, server: Loopback, tmp_path: Path) -> None:
    make().close()
    automix = Automix.from_profile(tmp_path / "own.yaml", no_cache=True)
    automix.ask("say a")
    assert threads() == 1
    del automix
    gc.collect()
    wait_until(lambda: threads() == 0)


def test_two_faces_share_one_cache(make: Make, server: Loopback, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    faces = [make(no_cache=False) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda n: faces[n % 2].ask(f"say {n // 8}"), range(40)))
    assert words(rows) == [str(n // 8) for n in range(40)]
    assert len(server.calls) == 5, "an equal question is paid once"


def test_an_event_loop_is_not_shared_with_a_forked_process(make: Make) -> None:
    automix = make()
    assert automix.ask("say a").answer == "a"

    def child(pipe: Any) -> None:
        pipe.send(automix.ask("say b").answer)
        os._exit(0)

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    process.start()
    assert ours.poll(PATIENCE)
    assert ours.recv() == "b"
    process.join(PATIENCE)
    assert automix.ask("say c").answer == "c"


# ---------------------------------------------------------------- refusals and notes


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda way: way.__name__)
def test_it_cannot_be_pickled_and_says_what_to_do(way: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="make one there"):
        way(Automix.from_profile("demo"))


def test_what_cannot_be_used_is_refused_where_it_is_given(make: Make) -> None:
    automix = make()
    with pytest.raises(ProfileError):
        Automix.from_profile("no-such-profile")
    with pytest.raises(DataError, match="question: is empty"):
        automix.ask(" ")
    with pytest.raises(DataError, match="context: is given"):
        automix.ask({"question": "say a", "context": "b"}, context="c")
    with pytest.raises(UsageError, match="no tier"):
        automix.verify("say a", "a", tier="large")


def test_a_missing_key_is_said_at_each_call_and_nothing_hangs(tmp_path: Path) -> None:
    automix = Automix.from_tiers(["openai/gpt-5-nano", "openai/gpt-5"])
    for _ in range(2):
        with pytest.raises(UsageError, match="OPENAI_API_KEY is not set"):
            automix.ask("say a")
    automix.close()


def test_each_note_comes_once_and_may_not_ask(make: Make) -> None:
    notes: list[str] = []
    automix = Automix.from_profile("demo", no_cache=True, note=notes.append)
    for _ in range(3):
        automix.ask("What is 17 * 23?")
    assert len(notes) == len(set(notes))
    assert notes[0] == "demo tiers: simulated models, no network, prices made up"
    automix.close()
    asking = Automix.from_profile("demo", no_cache=True, note=lambda line: automix2.ask(line) and None)
    automix2 = asking
    with pytest.raises(UsageError, match="cannot ask"):
        asking.ask("What is 17 * 23?")
    asking.close()


# ---------------------------------------------------------------- seen from outside


def child(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        env=environment(),
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_import_is_light() -> None:
    code = (
        "import sys, automix_cli; from automix_cli import Automix, Answer, Question\n"
        "heavy = {'asyncio', 'numpy', 'litellm', 'aiohttp', 'typer', 'rich', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert child(code).stdout == "[]\n"


PROGRAM = """
import gc, logging, os, signal, sys, threading, warnings
from automix_cli import Automix

def state():
    root = logging.getLogger()
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    collector = gc.get_freeze_count(), gc.get_threshold(), gc.isenabled()
    return (dict(os.environ), list(warnings.filters), collector, handlers, sys.stdout, sys.stderr,
            root.level, list(root.handlers), sys.excepthook, threading.excepthook)

before = state()
automix = Automix.from_profile("demo")
assert automix.ask("What is 17 * 23?").answer == "391"
assert len(list(automix.ask_many(["What is 17 * 23?", "What is 6 * 7?"]))) == 2
assert state() == before, [(a, b) for a, b in zip(state(), before) if a != b]
print("the same")
"""


def test_nothing_of_the_process_is_changed_and_it_ends_without_a_close() -> None:
    ran = child(PROGRAM, "-W", "error")
    assert (ran.stdout, ran.stderr, ran.returncode) == ("the same\n", "", 0)


INTERRUPTED = """
import os, signal, threading
from automix_cli import Automix
automix = Automix.from_profile({path!r}, no_cache=True)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    automix.ask("say a")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_a_call_and_the_process_ends(make: Make, server: Loopback, tmp_path: Path) -> None:
    make()
    server.reply = lambda call: Reply(texts=("late",), gate=lambda: False)
    ran = child(INTERRUPTED.format(path=str(tmp_path / "own.yaml")), "-W", "error")
    assert (ran.stdout, ran.stderr, ran.returncode) == ("interrupted\n", "", 0)
