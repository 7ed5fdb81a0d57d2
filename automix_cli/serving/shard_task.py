"""One shard of a run, as a process of its own works on it: the function that Ray runs as a task.

It goes on where an earlier process of the same shard stopped or died, and raises nothing that a row can
cause: what ended it early comes back as its outcome.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from automix_cli.api import CallOptions, Runtime
from automix_cli.cascade.jobs import AnswerJob
from automix_cli.data.destination import Destination
from automix_cli.data.jsonl import RowCount
from automix_cli.data.output import EarlierRows, LockedError
from automix_cli.data.shards import Stamp
from automix_cli.data.sources import Form, Rows, read_rows
from automix_cli.errors import AutomixError, DataError, redact
from automix_cli.records import ASK_SCHEMA, Answer, RowError
from automix_cli.serving.flight import FlightFile

if TYPE_CHECKING:
    from automix_cli.cascade.batch import Batch
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.jobs import EarlierRow
    from automix_cli.data.jsonl import Row
    from automix_cli.profile.model import Profile

LOCK_PATIENCE = 120.0
"""Seconds to wait for the lock of a process that is thought dead, perhaps on another machine."""

STOP_PATIENCE = 15.0
"""Seconds for rows at work, after a wish to stop."""


class InputFile(Struct, frozen=True, kw_only=True):
    """The input, as every worker is to find it: its path, its size in bytes, and how it is read."""

    path: Path
    size: int
    form: Form = "auto"
    columns: str | None = None
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    rows: int = 0

    def open(self, stamp: Stamp) -> Rows:
        """The rows of a shard; all rows were checked before the run began.

        Raises:
            DataError: there is no such file here, or it is another.
        """
        rows = read_rows(self.path, columns=self.columns, say=lambda line: None, form=self.form)
        if rows is None or os.fstat(rows.fd).st_size != self.size:
            problem = f"{self.path}: is another file on this worker than where the run was started"
            raise DataError(problem, hint="the input must be on a file system that all workers see")
        own = rows.with_places().pick(limit=self.limit, sample=self.sample, seed=self.seed, shard=stamp.shard)
        return replace(own, stamp=stamp, counts=RowCount(self.rows, 0, ""))


class ShardTask(Struct, frozen=True, kw_only=True):
    """One shard of a run: plain values that can be sent to another machine.

    `alone` are positions of rows that were at work when an earlier process of this shard died: each is
    worked on alone, before all others. `deadly` are those whose processes died then, too; they become error
    rows. `cache` is the cache folder of a worker that names none itself. A file `stop` asks to stop.
    """

    folder: Path
    stamp: Stamp
    profile: Profile
    options: CallOptions
    source: InputFile
    stop: Path
    cache: str | None = None
    alone: frozenset[int] = frozenset()
    deadly: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """What the files of the shard are called."""
        return f"part-{self.stamp.shard.index:05d}-of-{self.stamp.shard.count:05d}"

    @property
    def output(self) -> Path:
        """Its rows."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def flight(self) -> Path:
        """What it is at work on."""
        return self.folder / f"{self.name}.flight"


class ShardOutcome(Struct, frozen=True, kw_only=True):
    """How a process of a shard ended: its rows are complete, or it was stopped, or an error ended it."""

    complete: bool = False
    message: str = ""
    hint: str = ""
    exit_code: int = 0
    notes: tuple[str, ...] = ()


class ShardJob(AnswerJob):
    """Answers the rows of a shard; `flight` says which are at work."""

    def __init__(self, cascade: Cascade, earlier: EarlierRows, task: ShardTask, flight: FlightFile) -> None:
        super().__init__(cascade, earlier, task.stamp)
        self.deadly, self.flight = task.deadly, flight
        self.results: dict[int, Answer | EarlierRow] = {}

    async def work(self, row: Row) -> Answer | EarlierRow:
        """The answer; that of a row in doubt is there already."""
        if row.index in self.results:
            return self.results.pop(row.index)
        if row.index in self.deadly and row.question is not None:
            return Answer(question=row.question).with_error(RowError(type="internal", message=_LOST))
        with self.flight.row(row.index):
            return await super().work(row)


_LOST = "its worker process died twice while it was at work on this row alone"


def run_shard(task: ShardTask) -> ShardOutcome:
    """Work on one shard, from where its last process stopped."""
    if task.cache is not None:
        os.environ.setdefault("AUTOMIX_CACHE_DIR", task.cache)
    notes: list[str] = []
    try:
        rows = task.source.open(task.stamp)
        earlier = _when_unlocked(lambda: EarlierRows(task.output, task.profile.sha, ASK_SCHEMA))
        runtime = Runtime(task.profile, task.options, note=notes.append)
        flight = FlightFile(task.flight, task.profile.limits.concurrency + 1)
        try:
            outcome = runtime.run(lambda cascade: _run(cascade, rows, earlier, task, flight, runtime))
        finally:
            flight.close()
    except AutomixError as exc:
        outcome = ShardOutcome(message=redact(exc.message), hint=redact(exc.hint), exit_code=exc.exit_code)
    return structs.replace(outcome, notes=tuple(map(redact, notes)))


def _when_unlocked(open_file: Callable[[], EarlierRows]) -> EarlierRows:
    """Open the file of a shard, once nobody holds it: its last process may still be dying."""
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            return open_file()
        except LockedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


async def _run(
    cascade: Cascade, rows: Rows, earlier: EarlierRows, task: ShardTask, flight: FlightFile, runtime: Runtime
) -> ShardOutcome:
    """Rows in doubt one at a time, then all."""
    job = ShardJob(cascade, earlier, task, flight)
    if doubtful := task.alone - task.deadly:
        for row in rows.all():
            if row.index in doubtful and not task.stop.exists():
                job.results[row.index] = await job.work(row)
    ending = await job.run(
        rows,
        Destination(path=task.output, earlier=earlier),
        say=lambda line: None,
        on_result=lambda result: flight.finish_row(runtime.meter.spent_usd),
        stopper=lambda batch, say: _stop_on_wish(batch, task.stop),
    )
    errors = [stop.error for stop in ending.stops if isinstance(stop, Answer) and stop.error is not None]
    if errors:
        error = min(errors, key=lambda error: not error.attempts)
        at_once = error.type in ("auth", "model") and runtime.meter.spent_usd == 0
        code = 2 if at_once else 1
        return ShardOutcome(message=redact(error.message), hint=redact(error.hint), exit_code=code)
    return ShardOutcome(complete=not ending.early)


@contextmanager
def _stop_on_wish(batch: Batch[Any, Any], stop: Path) -> Iterator[list[int]]:
    """Start no more rows once the file is there, and drop those at work after a while.

    Yields a list that then holds a number, as after a signal.
    """
    wishes: list[int] = []

    async def look() -> None:
        while not stop.exists():
            await asyncio.sleep(0.5)
        wishes.append(0)
        batch.stop()
        await asyncio.sleep(STOP_PATIENCE)
        batch.stop(drop=True)

    looking = asyncio.get_running_loop().create_task(look())
    try:
        yield wishes
    finally:
        looking.cancel()
