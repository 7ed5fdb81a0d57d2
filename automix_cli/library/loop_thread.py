"""An event loop on a thread of its own, which threads and other event loops hand their jobs to.

What waits inside a cascade (semaphores, connections, flights of the cache) belongs to one event loop. A
program has none, or several one after the other, or calls from many threads: all their jobs run here.

The thread is a daemon, so that it never keeps a process alive. What it holds is closed by `close`, at the
latest when the interpreter exits.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

EXIT_PATIENCE = 10.0
"""Seconds that closing may take when the interpreter exits: then the process ends all the same."""

_open_loops: weakref.WeakSet[LoopThread] = weakref.WeakSet()


class LoopThread:
    """A running event loop; `at_end` is the last job that it runs, once all others are cancelled.

    Example:
        >>> async def nothing(): ...
        >>> async def double(n): return 2 * n
        >>> loop = LoopThread(nothing)
        >>> loop.submit(double(21)).result()
        42
        >>> loop.close()
    """

    def __init__(self, at_end: Callable[[], Awaitable[None]]) -> None:
        self._at_end = at_end
        self._loop = asyncio.new_event_loop()
        self._is_ending = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="automix", daemon=True)
        self._thread.start()
        if not _open_loops:
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        _open_loops.add(self)

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this thread: waiting here for a job of this loop would wait for ever."""
        return threading.current_thread() is self._thread

    def submit(self, job: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a job; cancelling the future cancels the job.

        Raises:
            RuntimeError: the loop is closed.
        """
        try:
            return asyncio.run_coroutine_threadsafe(job, self._loop)
        except RuntimeError:
            job.close()
            raise

    def begin_close(self) -> None:
        """Have the loop end soon; it takes no lock and waits for nothing, so that a collector may call it."""
        with suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._end)

    def close(self, patience: float | None = None) -> None:
        """Cancel all jobs, run the last one, and wait for the thread, at most `patience` seconds.

        Raises:
            BaseException: what the last job raised.
        """
        self.begin_close()
        if not self.is_current:
            self._thread.join(patience)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # ------------------------------------------------------------ on the thread

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            _open_loops.discard(self)
            asyncio.set_event_loop(None)
            self._loop.close()

    def _end(self) -> None:
        """Begin the end, once."""
        if not self._is_ending:
            self._is_ending = True
            self._last_task = self._loop.create_task(self._run_last())

    async def _run_last(self) -> None:
        try:
            await self._cancel_others()
            await self._at_end()
            await self._cancel_others()
            await asyncio.sleep(0)  # transports are closed in the turn after they were told to
        except BaseException as exc:
            self._failure = exc
        finally:
            self._loop.stop()

    async def _cancel_others(self) -> None:
        """Cancel whatever else is at work, and wait until it is over."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _close_all() -> None:
    """Close what is still open when the interpreter exits."""
    for loop in list(_open_loops):
        with suppress(Exception):
            loop.close(EXIT_PATIENCE)
