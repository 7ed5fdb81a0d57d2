"""All shards of a run on a pool of workers, until each is complete, stopped, or given up.

A worker that dies (killed, out of memory, its machine gone) costs the rows it was at work on, and those
are done again from where its shard stopped. What stands against an endless loop:

    a row was alone at work when its process died, twice   it becomes an error row
    LOST_ROWS such rows in one shard                       the shard is given up
    DEATHS in a row, and no row was finished               the shard is given up

so that every death is followed by a finished row, or by one of a bounded number of further deaths. A shard
that is given up keeps its rows, and the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.serving.flight import ShardProgress, read_progress
from automix_cli.serving.shard_task import ShardOutcome, ShardTask

DEATHS = 3
ALONE_DEATHS = 2
LOST_ROWS = 20


class Death(NamedTuple):
    """A worker died before its shard was complete; `why` is what its engine says of it."""

    why: str


class Return(NamedTuple):
    """What came of a task."""

    task: ShardTask
    result: ShardOutcome | Death


class WorkerPool(Protocol):
    """Processes that each work on one shard at a time; Ray's, or others in their place."""

    def submit(self, task: ShardTask) -> None:
        """Have a worker run a task, as soon as one is free."""
        ...

    def wait(self, seconds: float) -> Sequence[Return]:
        """What came of tasks meanwhile; at the latest after so many seconds."""
        ...

    def cancel(self) -> None:
        """End all workers, whatever they are at work on."""
        ...


class ShardState(Struct):
    """What is known of one shard: deaths since its last progress, and deaths of rows that were alone."""

    task: ShardTask
    deaths: int = 0
    rows: int = 0
    spent_usd: float = 0.0
    alone_deaths: Counter[int] = field(default_factory=Counter)
    outcome: ShardOutcome | None = None

    def next_task(self, progress: ShardProgress) -> ShardTask | None:
        """The task after a death; None where it is the last that this shard may cause."""
        self.spent_usd += progress.spent_usd
        is_alone = len(progress.at_work) == 1
        suspects = progress.at_work & self.task.alone if is_alone else frozenset[int]()
        for position in suspects:
            self.alone_deaths[position] += 1
        deadly = frozenset(row for row, count in self.alone_deaths.items() if count >= ALONE_DEATHS)
        has_progress = bool(suspects) or progress.rows > self.rows
        self.rows = max(self.rows, progress.rows)
        self.deaths = 0 if has_progress else self.deaths + 1
        if self.deaths >= DEATHS or len(deadly) > LOST_ROWS:
            return None
        alone = self.task.alone | progress.at_work
        self.task = replace(self.task, alone=alone, deadly=deadly)
        return self.task

    def within_budget(self, task: ShardTask) -> ShardTask:
        """The task, with what is left of its share of the cap."""
        limits = task.profile.limits
        if limits.max_cost is None:
            return task
        left = max(0.0, limits.max_cost - self.spent_usd)
        return replace(task, profile=replace(task.profile, limits=replace(limits, max_cost=left)))


class ShardedRun(Struct):
    """Runs tasks on a pool.

    `say` takes what a person should know, `on_rows` the number of rows done so far, now and then.
    """

    pool: WorkerPool
    tasks: Sequence[ShardTask]
    say: Callable[[str], None] = lambda line: None
    on_rows: Callable[[int], None] = lambda rows: None
    shards: dict[int, ShardState] = field(default_factory=dict)
    is_stopped: bool = False

    def run(self) -> list[ShardOutcome]:
        """Run all to their end; the outcomes are in the order of the tasks."""
        self.shards = {task.stamp.shard.index: ShardState(task) for task in self.tasks}
        for task in self.tasks:
            self._submit(task)
        while any(shard.outcome is None for shard in self.shards.values()):
            for result in self.pool.wait(0.5):
                self._take(result)
            self.on_rows(sum(map(self._rows_of, self.shards.values())))
        return [shard.outcome for shard in self.shards.values() if shard.outcome is not None]

    def stop(self) -> None:
        """Ask all workers to finish the rows they are at work on, and to start no more."""
        self.is_stopped = True
        self.tasks[0].stop.touch()

    def drop(self) -> None:
        """End all workers now."""
        self.is_stopped = True
        self.pool.cancel()

    def _submit(self, task: ShardTask) -> None:
        task.flight.unlink(missing_ok=True)
        self.pool.submit(self.shards[task.stamp.shard.index].within_budget(task))

    def _rows_of(self, shard: ShardState) -> int:
        """Rows done; those of a finished shard are all."""
        if shard.outcome is not None and shard.outcome.complete:
            return shard.task.stamp.rows or 0
        return read_progress(shard.task.flight).rows

    def _take(self, back: Return) -> None:
        shard = self.shards[back.task.stamp.shard.index]
        if isinstance(back.result, ShardOutcome):
            shard.outcome = back.result
            for note in back.result.notes:
                self.say(note)
            if back.result.exit_code and not self.is_stopped:
                self.stop()
            return
        self._go_on_after(shard, back.result)

    def _go_on_after(self, shard: ShardState, death: Death) -> None:
        """Submit the shard again, unless it has had its last try or the run is to stop."""
        if self.is_stopped:
            shard.outcome = ShardOutcome()
            return
        name, deadly = f"shard {shard.task.stamp.shard}", shard.task.deadly
        task = shard.next_task(read_progress(shard.task.flight))
        if task is None:
            deaths = f"its worker died {DEATHS} times without finishing a row: {death.why}"
            rows = f"more than {LOST_ROWS} of its rows end their worker process"
            shard.outcome = ShardOutcome(message=f"{name}: {deaths if shard.deaths else rows}", exit_code=0)
            self.say(f"{shard.outcome.message}; given up, its rows are kept")
            return
        self.say(f"{name}: its worker died ({death.why}); it goes on from its last row")
        if new := _positions(task.deadly - deadly):
            self.say(f"{name}: row {new} ended its worker twice while alone; it becomes an error row")
        self._submit(task)


def _positions(rows: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(rows)))
