"""Shards whose processes die: every row is there in the end, little is paid again, and nothing loops."""

import itertools
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Reply, default_reply
from msgspec.structs import replace
from nursery import CANARY, World, comparable, double_paid, rows
from workers import ProcessPool

from automix_cli.api import CallOptions
from automix_cli.commands.engine import EngineRun
from automix_cli.data.shards import Shard, Stamp
from automix_cli.data.sources import read_rows
from automix_cli.errors import AutomixError, BudgetError, UsageError
from automix_cli.profile.model import Profile
from automix_cli.serving.flight import ShardProgress
from automix_cli.serving.shard_task import InputFile, ShardTask
from automix_cli.serving.sharded_run import ALONE_DEATHS, DEATHS, LOST_ROWS, ShardState
from automix_cli.views.terminal import Reporter

ROWS = 12


@pytest.fixture(scope="module")
def whole(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a single process writes, without any trouble."""
    world = World(server, tmp_path_factory.mktemp("whole"))
    assert world.ask(world.questions(ROWS)).code == 0
    return comparable(world.out)


def test_a_shard_that_is_killed_and_resumed_is_merged_as_if_nothing_had_happened(
    world: World, whole: list[dict[str, Any]]
) -> None:
    questions = world.questions(ROWS)
    for n in range(3):
        args = ("ask", "-i", questions, "-o", f"part-{n}.jsonl", "--shard", f"{n}/3")
        if n == 1:
            assert world.run(*args, crash=("after the row", 2)).code == -signal.SIGKILL
            unfinished = world.run("merge", "part-0.jsonl", "part-1.jsonl", "-o", world.out)
            assert unfinished.code == 1, unfinished.err
            assert "of shard 1/3" in unfinished.err
            assert not world.out.exists()
            args = (*args, "--resume")
        assert world.run(*args).code == 0
    merged = world.run("merge", *(f"part-{n}.jsonl" for n in (2, 0, 1)), "-o", world.out)
    assert merged.code == 0, merged.err
    assert comparable(world.out) == whole
    assert double_paid(world.server) <= 4  # those in flight


# ---------------------------------------------------------------- many workers


def engine_run(world: World, **changes: Any) -> EngineRun:
    questions = world.questions(ROWS)
    source = read_rows(questions, columns=None, say=lambda line: None)
    assert source is not None
    run = EngineRun(
        source=source,
        output=world.out,
        calls=CallOptions(profile=str(world.profile)),
        reporter=Reporter(),
        shards=2,
    )
    return replace(run, **changes)


def pool_of(world: World, **settings: Any) -> ProcessPool:
    env = {"HOME": os.environ["HOME"], "CANARY_KEY": CANARY, "AUTOMIX_CACHE_DIR": str(world.cache)}
    return ProcessPool(world.folder, 2, env, **settings)


def run(world: World, pool: ProcessPool, **changes: Any) -> int:
    own = engine_run(world, **changes)
    own.check()
    return own.run(pool, pool.workers)


def files(world: World) -> list[str]:
    return sorted(path.name for path in world.folder.glob("one.jsonl*"))


@pytest.mark.parametrize(
    "point", ["after the row", "after the response", "before the new file takes its place"]
)
def test_a_worker_that_is_killed_loses_no_row_and_pays_little_again(
    point: str, world: World, whole: list[dict[str, Any]]
) -> None:
    pool = pool_of(world, crash={1: (point, 1 if "file" in point else 2)})
    assert run(world, pool) == 0
    assert pool.deaths == {1: 1}
    assert comparable(world.out) == whole
    assert double_paid(world.server) <= 4  # those in flight
    assert files(world) == ["one.jsonl"]


def test_a_row_that_kills_its_worker_becomes_an_error_row_and_all_others_are_answered(
    world: World, whole: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = pool_of(world, deadly="q 5?")
    assert run(world, pool) == 3
    assert pool.deaths.total() == 1 + ALONE_DEATHS
    result = comparable(world.out)
    assert result[5]["error"]["type"] == "internal"
    assert "died twice while it was at work on this row alone" in result[5]["error"]["message"]
    assert [row for row in result if row["index"] != 5] == [row for row in whole if row["index"] != 5]
    assert double_paid(world.server) <= 4
    said = capsys.readouterr().err
    assert "row 5 ended its worker twice while alone; it becomes an error row" in said
    assert files(world) == ["one.jsonl", "one.jsonl.shards"]

    mended = pool_of(world)
    assert run(world, mended, resume=True, shards=None) == 0
    assert (comparable(world.out), files(world)) == (whole, ["one.jsonl"])
    assert double_paid(world.server) <= 4


def test_workers_that_die_before_their_first_row_are_given_up(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    doomed = pool_of(world, doomed=0)
    with pytest.raises(AutomixError, match="shard 0/2: its worker died 3 times without finishing") as caught:
        run(world, doomed)
    assert (caught.value.exit_code, "--resume" in caught.value.hint) == (1, True)
    assert doomed.deaths == {0: DEATHS}
    assert files(world) == ["one.jsonl.shards"]


def dying(rows: int, draw: random.Random, most: int = 4) -> int:
    """How many deaths a shard takes until it is given up, where workers die at random with rows at work."""
    shard = ShardState(task_of(rows))
    for count in itertools.count(1):
        alone = sorted(shard.task.alone - shard.task.deadly)
        at_work = [draw.choice(alone)] if alone and draw.random() < 0.7 else range(rows)[:most]
        done = draw.randrange(rows) if draw.random() < 0.1 else 0
        if shard.next_task(ShardProgress(done, 0.0, frozenset(at_work))) is None:
            return count
    raise AssertionError


def task_of(rows: int) -> ShardTask:
    stamp = Stamp(Shard(0, 1), rows, rows, "")
    source = InputFile(path=Path("q"), size=0)
    folder = Path("shards")
    profile = Profile(name="p", tiers=())
    return ShardTask(
        folder=folder, stamp=stamp, profile=profile, options=CallOptions(), source=source, stop=folder
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_shard_whose_workers_always_die_is_given_up_after_a_bounded_number_of_them(seed: int) -> None:
    rows = 60
    assert dying(rows, random.Random(seed)) <= DEATHS * (rows + ALONE_DEATHS * (LOST_ROWS + 1))


def test_an_interrupt_ends_the_rows_at_work_and_the_next_run_goes_on(
    world: World, whole: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[int] = []

    def interrupt() -> None:
        if len(world.server.calls) > 5 and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    world.server.reply = lambda call: Reply(texts=default_reply(call).texts, latency=0.2)
    assert run(world, pool_of(world, on_wait=interrupt)) == 130
    said = capsys.readouterr().err
    assert "stopping: the workers finish" in said
    assert "go on with:" in said
    assert files(world) == ["one.jsonl.shards"]
    world.server.reply = default_reply
    assert run(world, pool_of(world), resume=True) == 0
    assert (comparable(world.out), files(world)) == (whole, ["one.jsonl"])
    assert double_paid(world.server) == 0


def test_a_key_that_is_refused_ends_all_shards(world: World) -> None:
    world.server.reply = lambda call: Reply(status=401)
    with pytest.raises(AutomixError, match="stopped: ") as caught:
        run(world, pool_of(world))
    assert caught.value.exit_code == 2
    assert len(world.server.calls) <= 2 * 4


def test_all_shards_together_keep_within_the_budget(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    calls = CallOptions(profile=str(world.profile), max_cost=0.002)
    with pytest.raises(BudgetError, match="skipped"):
        run(world, pool_of(world, crash={0: ("after the row", 2)}), calls=calls)
    statuses = [row["status"] for row in rows(world.out)]
    assert len(statuses) == ROWS
    assert "skipped" in statuses
    assert sum(row["spent_usd"] for row in rows(world.out)) <= 0.002
    assert "of a shard: the cap of $0.0" in capsys.readouterr().err


def leave_shards(world: World) -> None:
    assert run(world, pool_of(world, deadly="q 5?")) == 3
    world.out.unlink()


def leave_output(world: World) -> None:
    world.out.write_text("")


def leave_folder(world: World) -> None:
    world.out.with_name("one.jsonl.shards").mkdir()


@pytest.mark.parametrize(
    ("before", "changes", "message"),
    [
        (leave_shards, {}, "one.jsonl.shards: holds the shards of an earlier run"),
        (leave_shards, {"resume": True, "shards": 3}, "holds 2 shards, not 3"),
        (leave_output, {}, "one.jsonl: exists"),
        (leave_output, {"resume": True}, "its run is finished, and its shards are gone"),
        (leave_folder, {"force": True}, "holds no shards of a run"),
        (leave_folder, {"force": True, "resume": True}, "they exclude each other"),
    ],
)
def test_what_is_there_is_neither_overwritten_nor_mixed(
    before: Callable[[World], None], changes: dict[str, Any], message: str, world: World
) -> None:
    before(world)
    with pytest.raises(UsageError, match=message):
        run(world, pool_of(world), **changes)


def test_a_worker_that_sees_another_file_says_so(world: World) -> None:
    class Elsewhere(ProcessPool):
        def submit(self, task: Any) -> None:
            other: Path = world.folder / "other.jsonl"
            other.write_text('{"question": "?"}\n')
            super().submit(replace(task, source=replace(task.source, path=other)))

    pool = pool_of(world)
    with pytest.raises(AutomixError, match="is another file on this worker") as caught:
        run(world, Elsewhere(pool.folder, 2, pool.env))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("ask", "-o", "x", "--engine", "ray"), "-i FILE"),
        (("ask", "-i", "q12.jsonl", "--engine", "ray"), "-o FILE"),
        (("ask", "-i", "q12.jsonl", "-o", "x", "--engine", "ray", "--shard", "0/2"), "excludes --shard"),
        (("ask", "-i", "q12.jsonl", "-o", "x", "--shards", "2"), "--shards goes with --engine ray"),
    ],
)
def test_options_that_do_not_go_with_an_engine_are_refused(
    args: tuple[str, ...], message: str, world: World
) -> None:
    questions = world.questions(ROWS)
    ran = world.run(*args, stdin=questions)
    assert (ran.code, message in ran.err) == (2, True)


def test_a_dry_run_needs_no_ray(world: World) -> None:
    ran = world.run("ask", "-i", world.questions(ROWS), "-o", "x", "--engine", "ray", "--dry-run")
    assert (ran.code, "12 questions" in ran.out) == (0, True)
    assert world.server.calls == []
