"""Many questions: bounded concurrency, input order, and a stop that loses nothing.

    rows ──▶ at most `concurrency` at work, `ready` more ──▶ results, in input order or as they finish

Memory stays flat: rows are read only as fast as they are answered, and no more finished
rows are held back for order than `AHEAD` times the concurrency.

A row that waits for nothing, because all that it asks for is stored, can be finished where it is read:
a task takes longer than such a row's look-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, Protocol, TypeVar

from automix_cli import process
from automix_cli.backends.base import NeedsLoop
from automix_cli.backends.places import RowCalls, open_calls

R = TypeVar("R")
T = TypeVar("T")

AHEAD = 8
_MOST_AT_ONCE = 16  # rows finished before what is under way has its turn
_MOST_PASSED_BY = 64  # rows that get a task untried, where those before them had to wait
_GRACE = 15  # seconds for rows in flight, after a signal to stop


class Batch(Generic[R, T]):
    """Runs `work` over rows, at most `concurrency` at a time; one run per object.

    `ready` more are at work where calls wait for places, so that a place that becomes free is taken at once.
    `at_once` gives the result of a row that waits for nothing, and raises `NeedsLoop` for any other, which
    then gets a task. The more rows in turn do wait, the fewer are tried.

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

    def __init__(
        self,
        work: Callable[[R], Awaitable[T]],
        *,
        concurrency: int,
        ready: int = 0,
        ordered: bool = True,
        at_once: Callable[[R], T] | None = None,
    ) -> None:
        self.work = work
        self.at_once = at_once
        self.ordered = ordered
        self.is_stopped = False
        self._slots = asyncio.Semaphore(concurrency + ready)
        self._ahead = asyncio.Semaphore(concurrency * AHEAD)
        self._results: asyncio.Queue[asyncio.Future[T] | None] = asyncio.Queue()
        self._tasks: dict[asyncio.Task[T], RowCalls] = {}
        self._start_count = 0
        self._finish_count = 0  # rows finished at once
        self._passed_by = self._next_passed_by = 0
        self._feeder: asyncio.Task[None] | None = None

    def stop(self, *, drop: bool = False) -> None:
        """Start no further row; `drop` also gives up those in flight, whose results never come.

        A row whose first call was not sent is not finished, but given up.
        """
        self.is_stopped = True
        if self._feeder is not None:
            self._feeder.cancel()
        for task, calls in self._tasks.items():
            calls.may_begin = False
            if drop or calls.is_waiting:
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
                result = await self._results.get()
                if result is None:
                    at_end = True
                    continue
                count += 1
                if not result.done():
                    await asyncio.wait([result])
                self._ahead.release()
                if not result.cancelled():
                    yield result.result()
            if not self.is_stopped:
                await self._feeder
        finally:
            await self._clean()

    async def _feed(self, rows: AsyncIterator[R]) -> None:
        async for row in rows:
            await self._ahead.acquire()
            if not self._finish_at_once(row):
                await self._slots.acquire()
                self._start(row)
            elif self.is_stopped:  # by this row: nothing has interrupted this task yet
                return
            elif self._finish_count % _MOST_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _finish_at_once(self, row: R) -> bool:
        """Work on a row that waits for nothing; returns whether it is one, as far as it was tried."""
        if self.at_once is None:
            return False
        if self._passed_by < self._next_passed_by:
            self._passed_by += 1
            return False
        result = asyncio.get_running_loop().create_future()
        try:
            result.set_result(contextvars.copy_context().run(self.at_once, row))
        except NeedsLoop:
            self._passed_by = 0
            self._next_passed_by = min(2 * self._next_passed_by + 1, _MOST_PASSED_BY)
            return False
        except Exception as exc:
            result.set_exception(exc)
            result.exception()  # retrieved, as in `_start`
        self._next_passed_by = 0
        self._start_count += 1
        self._finish_count += 1
        self._results.put_nowait(result)
        return True

    def _start(self, row: R) -> None:
        calls = RowCalls()

        async def at_work() -> T:
            open_calls(calls)
            return await self.work(row)

        task = asyncio.create_task(at_work())
        self._start_count += 1
        self._tasks[task] = calls
        task.add_done_callback(self._end)
        if self.ordered:
            self._results.put_nowait(task)
        else:
            task.add_done_callback(self._results.put_nowait)

    def _end(self, task: asyncio.Task[T]) -> None:
        """Let another row begin where one is over."""
        del self._tasks[task]
        self._slots.release()
        # Retrieved at once, because asyncio prints those of tasks whose results nobody takes any more.
        if not task.cancelled():
            task.exception()

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
