"""Deadlines of calls under way, with one timer for all of them: nearly every call ends long before its."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class _Deadline:
    """The deadline of a call under way, and its task."""

    __slots__ = ("end", "is_late", "task")

    def __init__(self, task: asyncio.Task[object], end: float) -> None:
        self.task, self.end, self.is_late = task, end, False


class Deadlines:
    """Cancels calls that take too long.

    Example:
        >>> async def main():
        ...     deadlines = Deadlines()
        ...     return await deadlines.result_within(0.01, asyncio.sleep(10))
        >>> asyncio.run(main())
        Traceback (most recent call last):
        TimeoutError
    """

    __slots__ = ("_calls", "_loop", "_timer")

    def __init__(self) -> None:
        self._calls: set[_Deadline] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def result_within(self, seconds: float, job: Awaitable[T]) -> T:
        """What `asyncio.timeout` does, at a quarter of its price: every call needs it.

        Raises:
            TimeoutError: the job was not done in time, and was cancelled.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        others, call = task.cancelling(), _Deadline(task, loop.time() + seconds)
        if loop is not self._loop:  # the one before has ended, with all its calls
            self._loop, self._timer, self._calls = loop, None, set()
        self._calls.add(call)
        if self._timer is None or call.end < self._timer.when():
            self._wake_at(call.end, loop)
        try:
            return await job
        except asyncio.CancelledError as exc:
            if call.is_late and task.uncancel() <= others:
                raise TimeoutError from exc
            raise
        finally:
            self._calls.discard(call)

    def _wake_at(self, end: float, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the calls then, and no earlier."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(end, self._cancel_late_calls, loop)

    def _cancel_late_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        for call in self._calls:
            if call.end <= now and not call.is_late:
                call.is_late = True
                call.task.cancel()
        ends = [call.end for call in self._calls if not call.is_late]
        if ends:
            self._wake_at(min(ends), loop)
