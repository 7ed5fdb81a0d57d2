"""P: processes that are killed, stopped, interrupted, short of something, or two at once."""

import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import Call, Loopback, Reply, default_reply
from nursery import World, comparable, double_paid, paid, rows
from shell import COMMAND, PATIENCE, environment, jsonl, until
from trouble import POINTS

ROWS = 12


@pytest.fixture(scope="module")
def whole(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a run without any trouble writes."""
    world = World(server, tmp_path_factory.mktemp("whole"))
    assert world.ask(world.questions(ROWS)).code == 0
    return comparable(world.out)


def slowly(call: Call) -> Reply:
    """The default reply after a moment, so that several requests are in flight."""
    return Reply(texts=default_reply(call).texts, latency=0.05)


HANGS = Reply(fault="hang")


def after(moment: threading.Event, *, free: int) -> Callable[[Call], Reply]:
    """The default reply: at once for the first questions, for the others not before the moment has come."""

    def reply(call: Call) -> Reply:
        at_once = any(f"What is q {n}?" in call.prompt for n in range(free))
        return Reply(texts=default_reply(call).texts, gate=None if at_once else moment.is_set)

    return reply


# ---------------------------------------------------------------- killed

LATE = [p for p in POINTS if "new file" in p or "joined" in p]
EARLY = [p for p in POINTS if p not in LATE]


@pytest.mark.parametrize("point", POINTS)
def test_P1_killed_at_any_point_and_resumed_nothing_is_lost_and_little_paid_again(
    point: str, world: World, whole: list[dict[str, Any]]
) -> None:
    questions = world.questions(ROWS)
    args = ("--resume", "--max-cost", "1")
    if point in LATE:
        assert world.ask(questions, *args, crash=("after the row", 5)).code == -signal.SIGKILL
    killed = world.ask(questions, *args, crash=(point, 1 if point in LATE else 4))
    assert killed.code == -signal.SIGKILL, killed.err
    world.server.ledger  # noqa: B018 (settled before the next run starts)
    resumed = world.ask(questions, *args)
    assert resumed.code == 0, resumed.err
    assert comparable(world.out) == whole
    assert not list(world.folder.glob("one.jsonl.*"))
    assert double_paid(world.server) <= 4  # those in flight


def test_P1_a_verification_killed_and_resumed_pays_nothing_twice(world: World) -> None:
    answers = world.folder / "answers.jsonl"
    answers.write_text(jsonl(*({"id": n, "question": f"What is q {n}?", "answer": "4"} for n in range(ROWS))))
    args = ("verify", "-i", answers, "-o", world.out, "-j", "1")
    assert world.run(*args, crash=("in the middle of a row", 5)).code == -signal.SIGKILL
    assert len(world.server.ledger) == 5
    resumed = world.run(*args, "--resume")
    assert resumed.code == 0, resumed.err
    assert "4 rows kept; redone: 1 torn" in resumed.err
    assert [row["status"] for row in rows(world.out)] == ["ok"] * ROWS
    assert (len(paid(world.server.ledger)), double_paid(world.server)) == (ROWS, 0)


def test_P2_killed_again_and_again_at_random_times_and_resumed_each_time(
    world: World, whole: list[dict[str, Any]]
) -> None:
    draw, questions, kills = random.Random(11), world.questions(ROWS), 5
    for _ in range(kills):
        last = len(world.server.ledger) + draw.randrange(6)
        # That one request is never answered, so that the run cannot end before it is killed.
        world.server.reply = lambda call, last=last: slowly(call) if call.number != last else HANGS
        child = world.start("ask", "-i", questions, "-o", world.out, "--resume")
        until(lambda last=last: len(world.server.ledger) > last)
        child.process.join(draw.uniform(0.0, 0.15))
        child.kill(signal.SIGKILL)
        assert child.wait().code == -signal.SIGKILL
    world.server.reply = default_reply
    assert world.ask(questions, "--resume").code == 0
    assert comparable(world.out) == whole
    assert double_paid(world.server) <= 4 * kills


# ---------------------------------------------------------------- interrupted


def test_P3_a_second_interrupt_drops_what_is_in_flight_and_the_next_run_goes_on(
    world: World, whole: list[dict[str, Any]]
) -> None:
    world.write_profile(timeout=PATIENCE)
    world.server.reply = lambda call: default_reply(call) if call.number < 5 else HANGS
    questions = world.questions(ROWS)
    child = world.start("ask", "-i", questions, "-o", world.out)
    until(lambda: len(world.server.calls) > 5)
    child.kill(signal.SIGINT)
    until(lambda: "stopping" in child.err.read_text())
    child.kill(signal.SIGINT)
    ran = child.wait(PATIENCE / 2)
    assert ran.code == 130
    assert "Traceback" not in ran.err
    assert {row["status"] for row in rows(world.out)} <= {"ok"}
    [command] = [line for line in ran.err.splitlines() if line.startswith("go on with: ")]
    world.server.reply = default_reply
    assert command.endswith("--resume")
    assert world.run(*shlex.split(command)[4:]).code == 0
    assert comparable(world.out) == whole


def test_P3_an_interrupt_ends_a_wait_between_attempts(world: World) -> None:
    world.server.reply = lambda call: Reply(status=429, headers={"Retry-After": "100"})
    child = world.start("ask", "-i", world.questions(ROWS), "-o", world.out)
    until(lambda: len(world.server.calls) > 0)
    child.kill(signal.SIGINT)
    until(lambda: "stopping" in child.err.read_text())
    child.kill(signal.SIGINT)
    assert child.wait().code == 130
    assert len(world.server.calls) <= 4, "no wait came to its end"


def test_P3_an_interrupt_while_an_output_is_read_changes_nothing(world: World) -> None:
    questions = world.questions(ROWS)
    world.ask(questions, crash=("after the row", 5))
    before = world.out.read_bytes()
    ran = world.ask(questions, "--resume", crash=("before two files are joined", 1, signal.SIGINT))
    assert ran.code == 130
    assert "Traceback" not in ran.err
    assert world.out.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_P4_a_request_to_end_finishes_what_is_in_flight_and_prints_the_way_on(
    number: signal.Signals, world: World, whole: list[dict[str, Any]]
) -> None:
    stopping = threading.Event()
    world.server.reply = after(stopping, free=1)
    questions = world.questions(ROWS)
    child = world.start("ask", "-i", questions, "-o", world.out, "-j", "2")
    until(lambda: world.out.exists() and bool(world.out.read_bytes()) and world.server.busy == 2)
    child.kill(number)
    until(lambda: "stopping" in child.err.read_text())
    stopping.set()
    ran = child.wait()
    assert ran.code == 128 + number
    assert [row["status"] for row in rows(world.out)] == ["ok"] * 3, "the first, and the two in flight"
    assert "go on with: automix ask" in ran.err
    assert world.ask(questions, "--resume").code == 0
    assert comparable(world.out) == whole
    assert double_paid(world.server) == 0


def test_P4_what_the_caller_had_ignored_stays_ignored(world: World) -> None:
    sent = threading.Event()
    world.server.reply = after(sent, free=1)
    child = world.start("ask", "-i", world.questions(ROWS), "-o", world.out, ignored=signal.SIGHUP)
    until(lambda: world.out.exists() and bool(world.out.read_bytes()))
    child.kill(signal.SIGHUP)
    sent.set()
    assert child.wait().code == 0
    assert len(rows(world.out)) == ROWS


# ---------------------------------------------------------------- streams


def test_P5_a_closed_pipe_stops_the_spending_and_what_was_paid_is_kept(
    world: World, whole: list[dict[str, Any]]
) -> None:
    closed = threading.Event()
    world.server.reply = after(closed, free=4)
    questions, pipe = world.questions(60), world.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    child = world.start("ask", "-i", questions, "-j", "2", stdout=str(pipe))
    until(lambda: len(world.server.calls) > 8)
    os.close(reader)
    closed.set()
    child.process.join(PATIENCE)
    assert child.process.exitcode == 141
    assert child.err.read_text().count("\n") <= 2, "nothing but the notes from before"
    assert len(paid(world.server.calls)) < 100
    world.server.reply = default_reply
    assert world.ask(questions).code == 0
    assert double_paid(world.server) == 0


CLOSED = "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


def with_closed(number: int, *args: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the demo with one standard stream closed, as `2>&-` does."""
    return subprocess.run(
        [sys.executable, "-c", CLOSED, str(number), *COMMAND, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        cwd=folder,
        timeout=PATIENCE,
        check=False,
    )


def test_P5_with_stderr_closed_no_note_lands_in_the_data(tmp_path: Path) -> None:
    ran = with_closed(2, "ask", "--profile", "demo", "What is 2 + 2?", folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, b"4\n")


def test_P5_with_stdout_closed_nothing_is_asked(tmp_path: Path) -> None:
    ran = with_closed(1, "ask", "--profile", "demo", "What is 2 + 2?", folder=tmp_path)
    assert ran.returncode == 2
    assert b"stdout is closed" in ran.stderr
    assert b"spent" not in ran.stderr


@pytest.mark.parametrize("args", [("What is 2 + 2?",), ("-i", "q.jsonl"), ("--json", "What is 2 + 2?")])
def test_P5_a_full_stdout_is_a_storage_error(args: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "What is 2 + 2?"}\n')
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [*COMMAND, "ask", "--profile", "demo", *args],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            cwd=tmp_path,
            timeout=PATIENCE,
            check=False,
        )
    assert ran.returncode == 1
    assert b"automix: stdout: No space left on device" in ran.stderr
    assert b"internal" not in ran.stderr


# ---------------------------------------------------------------- slow, short, several


def test_P6_a_process_that_was_stopped_longer_than_its_timeouts_goes_on(
    world: World, whole: list[dict[str, Any]]
) -> None:
    world.write_profile(timeout=PATIENCE)
    stopped = threading.Event()
    world.server.reply = after(stopped, free=1)
    child = world.start("ask", "-i", world.questions(ROWS), "-o", world.out, leap=2 * PATIENCE)
    until(lambda: world.server.busy == 4)
    child.kill(signal.SIGSTOP)
    stopped.set()
    until(lambda: world.server.busy == 0)
    child.leap()
    child.kill(signal.SIGCONT)
    assert child.wait().code == 0
    assert comparable(world.out) == whole
    assert double_paid(world.server) <= 4


def test_P7_too_few_file_descriptors_are_named_and_lose_no_row(
    world: World, whole: list[dict[str, Any]]
) -> None:
    world.server.reply = slowly
    questions = world.questions(ROWS)
    ran = world.ask(questions, "-j", "12", limits=[(resource.RLIMIT_NOFILE, 22)])
    assert ran.code in (0, 1)  # how many sockets are open at once hangs on timing
    assert ran.code == 0 or "too many open files" in ran.err  # it is said, too, where trying again helps
    assert "Traceback" not in ran.err
    assert world.ask(questions, "--resume").code == 0
    assert comparable(world.out) == whole
    assert double_paid(world.server) == 0


def test_P8_two_processes_on_one_cache_and_one_input_make_the_calls_of_one(
    world: World, whole: list[dict[str, Any]]
) -> None:
    world.server.reply = slowly
    questions = world.questions(ROWS)
    outputs = [world.folder / "first.jsonl", world.folder / "second.jsonl"]
    children = [world.start("ask", "-i", questions, "-o", out) for out in outputs]
    assert [child.wait().code for child in children] == [0, 0]
    assert comparable(outputs[0]) == comparable(outputs[1]) == whole
    plan = sum(step["calls"] for row in whole for step in row["route"])
    assert len(world.server.calls) == len({e.body_sha for e in world.server.calls}) == plan


def test_P9_a_second_process_on_one_output_is_refused_before_any_call(world: World) -> None:
    refused = threading.Event()
    world.server.reply = after(refused, free=0)
    first = world.start("ask", "-i", world.questions(ROWS), "-o", world.out)
    until(world.out.exists)
    for way in ("--force", "--resume"):
        second = world.run("ask", "-i", world.questions(3, "other"), "-o", world.out, way)
        assert second.code == 2
    assert not [e for e in world.server.calls if "other" in e.body.decode()]
    refused.set()
    assert first.wait().code == 0
    assert len(rows(world.out)) == ROWS
