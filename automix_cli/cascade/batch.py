"""Many questions: bounded concurrency, input order, and a stop that loses nothing.

    rows ──▶ at most `concurrency` at work ──▶ results, in input order or as they finish

Memory stays flat: rows are read only as fast as they are answered, and no more finished
rows are held back for order than `AHEAD` times the concurrency.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from automix_cli.records import Answer, Step, Usage, Verdict, add_money

R = TypeVar("R")
T = TypeVar("T")

AHEAD = 8


class Batch(Generic[R, T]):
    """Runs `work` over rows, at most `concurrency` at a time; one run per object.

    Example:
        >>> async def rows():
        ...     for n in range(3):
        ...         yield n
        >>> async def double(n):
        ...     return 2 * n
        >>> async def main():
        ...     return [result async for result in Batch(double, concurrency=2).run(rows())]
        >>> asyncio.run(main())
        [0, 2, 4]
    """

    def __init__(self, work: Callable[[R], Awaitable[T]], *, concurrency: int, ordered: bool = True) -> None:
        self.work = work
        self.ordered = ordered
        self.stopped = False
        self._slots = asyncio.Semaphore(concurrency)
        self._ahead = asyncio.Semaphore(concurrency * AHEAD)
        self._done: asyncio.Queue[asyncio.Task[T] | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[T]] = set()
        self._started = 0
        self._feeder: asyncio.Task[None] | None = None

    def stop(self, *, drop: bool = False) -> None:
        """Start no further row; `drop` also gives up those in flight, whose results never come."""
        self.stopped = True
        if self._feeder is not None:
            self._feeder.cancel()
        if drop:
            for task in self._tasks:
                task.cancel()

    async def drain(self) -> None:
        """Start no further row, and wait for those in flight, whose results go nowhere."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def run(self, rows: AsyncIterator[R]) -> AsyncGenerator[T, None]:
        """Yield the result of every row that was started."""
        self._feeder = asyncio.create_task(self._feed(rows))
        try:
            finished, fed = 0, False
            while not fed or finished < self._started:
                task = await self._done.get()
                if task is None:
                    fed = True
                    continue
                finished += 1
                await asyncio.wait([task])
                self._ahead.release()
                if not task.cancelled():
                    yield task.result()
            if not self.stopped:
                await self._feeder
        finally:
            await self._clean()

    async def _feed(self, rows: AsyncIterator[R]) -> None:
        try:
            async for row in rows:
                await self._ahead.acquire()
                await self._slots.acquire()
                self._start(row)
        finally:
            self._done.put_nowait(None)

    def _start(self, row: R) -> None:
        async def at_work() -> T:
            return await self.work(row)

        task = asyncio.create_task(at_work())
        self._started += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._slots.release())
        if self.ordered:
            self._done.put_nowait(task)
        else:
            task.add_done_callback(self._done.put_nowait)

    async def _clean(self) -> None:
        """Whatever is still under way when the run ends early is given up."""
        left = [t for t in (self._feeder, *self._tasks) if t is not None and not t.done()]
        for task in left:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*left, return_exceptions=True)


@dataclass(slots=True)
class Tally:
    """What a batch came to, counted row by row.

    `faults` holds, per kind of error, how many rows have it and the first message;
    `first_votes` counts, per tier, the first verdict on every answer that was verified.
    """

    rows: int = 0
    ok: int = 0
    abstained: int = 0
    skipped: int = 0
    degraded: int = 0
    errors: int = 0
    escalated: int = 0
    cost_usd: float | None = 0.0
    spent_usd: float | None = 0.0
    usage: Usage = field(default_factory=Usage)
    bought: int = 0
    unparsed: int = 0
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)
    tier_cost: dict[str, float | None] = field(default_factory=dict)
    first_votes: dict[str, dict[Verdict, int]] = field(default_factory=dict)

    def add(self, row: Answer) -> None:
        """Count one row."""
        self.rows += 1
        self.ok += row.status == "ok"
        self.abstained += row.status == "abstained"
        self.skipped += row.status == "skipped"
        self.degraded += any("degraded" in step.flags for step in row.route)
        self.errors += row.status == "error"
        self.escalated += row.escalated
        self.cost_usd = add_money(self.cost_usd, row.cost_usd)
        self.spent_usd = add_money(self.spent_usd, row.spent_usd)
        self.usage = self.usage + row.usage
        if row.error is not None:
            seen, first = self.faults.get(row.error.type, (0, row.error.message))
            self.faults[row.error.type] = (seen + 1, first)
        for step in row.route:
            self._add_step(step)

    def _add_step(self, step: Step) -> None:
        self.tier_cost[step.tier] = add_money(self.tier_cost.get(step.tier, 0.0), step.cost_usd)
        self.bought += step.count.bought
        self.unparsed += step.count.unparsed
        if step.votes:
            seen = self.first_votes.setdefault(step.tier, dict.fromkeys(Verdict, 0))
            seen[step.votes[0]] += 1

    @property
    def answered(self) -> int:
        """Rows that were run to their end."""
        return self.ok + self.abstained

    @property
    def escalated_share(self) -> float | None:
        """Share of the rows with a route that went beyond their first tier."""
        return self.escalated / self.answered if self.answered else None
