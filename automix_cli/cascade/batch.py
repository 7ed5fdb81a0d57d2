"""Many questions: bounded concurrency, input order, and a stop that loses nothing.

    rows ──▶ at most `concurrency` at work ──▶ results, in input order or as they finish

Memory stays flat: rows are read only as fast as they are answered, and no more finished
rows are held back for order than `AHEAD` times the concurrency.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, Protocol, TypeVar

from automix_cli import process

R = TypeVar("R")
T = TypeVar("T")

AHEAD = 8
_GRACE = 15  # seconds for rows in flight, after a signal to stop


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
        self.is_stopped = False
        self._slots = asyncio.Semaphore(concurrency)
        self._ahead = asyncio.Semaphore(concurrency * AHEAD)
        self._results: asyncio.Queue[asyncio.Task[T] | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[T]] = set()
        self._start_count = 0
        self._feeder: asyncio.Task[None] | None = None

    def stop(self, *, drop: bool = False) -> None:
        """Start no further row; `drop` also gives up those in flight, whose results never come."""
        self.is_stopped = True
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
        # By a callback: a task that is cancelled before its first step runs no `finally` of its own.
        self._feeder.add_done_callback(lambda _: self._results.put_nowait(None))
        if self.is_stopped:
            self._feeder.cancel()
        try:
            count, at_end = 0, False
            while not at_end or count < self._start_count:
                task = await self._results.get()
                if task is None:
                    at_end = True
                    continue
                count += 1
                if not task.done():
                    await asyncio.wait([task])
                self._ahead.release()
                if not task.cancelled():
                    yield task.result()
            if not self.is_stopped:
                await self._feeder
        finally:
            await self._clean()

    async def _feed(self, rows: AsyncIterator[R]) -> None:
        async for row in rows:
            await self._ahead.acquire()
            await self._slots.acquire()
            self._start(row)

    def _start(self, row: R) -> None:
        async def at_work() -> T:
            return await self.work(row)

        task = asyncio.create_task(at_work())
        self._start_count += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._slots.release())
        # Retrieved at once, because asyncio prints those of tasks whose results nobody takes any more.
        task.add_done_callback(lambda call: call.cancelled() or call.exception())
        if self.ordered:
            self._results.put_nowait(task)
        else:
            task.add_done_callback(self._results.put_nowait)

    async def _clean(self) -> None:
        """Whatever is still under way when the run ends early is given up."""
        open_tasks = [t for t in (self._feeder, *self._tasks) if t is not None and not t.done()]
        for task in open_tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*open_tasks, return_exceptions=True)


class Stoppable(Protocol):
    """Work that can be stopped: no more is begun, and with `drop` what is under way is given up, too."""

    def stop(self, *, drop: bool = False) -> None:
        """Stop."""
        ...


@contextlib.contextmanager
def interruptible(batch: Stoppable, say: Callable[[str], None], what: str = "rows") -> Iterator[list[int]]:
    """First Ctrl-C, SIGTERM or SIGHUP: start no more rows and finish those in flight; second: drop them.

    Yields the list that grows by every signal received. What the caller had ignored (`nohup`, a job
    in the background) stays ignored. In somebody else's program signals are not ours to handle: the list
    stays empty.
    """
    signals: list[int] = []
    if not process.is_ours():
        yield signals
        return
    kinds = [
        k for k in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(k) != signal.SIG_IGN
    ]

    def stop(number: int) -> None:
        signals.append(number)
        if len(signals) == 1:
            say(f"stopping: finishing the {what} in flight; again, or in {_GRACE} s, drops them")
            loop.call_later(_GRACE, lambda: batch.stop(drop=True))
        batch.stop(drop=len(signals) > 1)

    loop = asyncio.get_running_loop()
    for number in kinds:
        loop.add_signal_handler(number, stop, int(number))
    try:
        yield signals
    finally:
        for number in kinds:
            loop.remove_signal_handler(number)
