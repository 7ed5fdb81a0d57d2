"""What stands behind the face of one profile: its event loop, and the cascade that is open on it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from typing import Any, TypeVar

from automix_cli.api import CallOptions, Runtime, TakeNote, router_notes, run_budget
from automix_cli.cascade.cascade import Cascade
from automix_cli.errors import UsageError
from automix_cli.library.loop_thread import LoopThread
from automix_cli.profile.model import Profile

T = TypeVar("T")


class OpenProfile:
    """A profile with its cascade, opened by the first job on an event loop of its own.

    `note` gets each line once. In a process that was forked since, all is opened anew: threads are not
    forked, and the connections belong to the parent.
    """

    def __init__(self, profile: Profile, options: CallOptions, note: TakeNote) -> None:
        self.profile, self.options, self._note = profile, options, note
        self.is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self.budget = run_budget(self.profile, final=self.options.on_budget != "degrade")
        self._lock = threading.RLock()
        self._loop: LoopThread | None = None
        self._runtime: Runtime | None = None
        self._notes: set[str] = set()

    def note(self, line: str) -> None:
        """Pass a line on, the first time only."""
        if line not in self._notes:
            self._notes.add(line)
            self._note(line)

    # ------------------------------------------------------------ jobs

    def check(self) -> None:
        """Refuse what begins after the end.

        Raises:
            UsageError: it is closed.
        """
        if self.is_closed:
            raise _closed_error()

    def start(self, job: Callable[[Cascade], Awaitable[T]]) -> Future[T]:
        """Start a job of the cascade.

        Raises:
            UsageError: it is closed; or the caller is the thread that the job would run on.
        """

        async def run() -> T:
            return await job(self._cascade())

        return self.submit(run())

    def run(self, runtime: Runtime, job: Callable[[Cascade], Awaitable[T]]) -> T:
        """The result of a job with another runtime, which is closed at its end; see `start`."""

        async def main() -> T:
            async with runtime as cascade:
                return await job(cascade)

        return self.result(self.submit(main()))

    def submit(self, job: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop; see `start`."""
        if self._process != os.getpid():
            self._parents_own = (
                self._loop,
                self._runtime,
            )  # kept: to collect them would close what is the parent's
            self._begin()
        with self._lock:
            if self.is_closed:
                job.close()
                self.check()
            if self._loop is None:
                self._loop = LoopThread(self._close_runtime)
            if self._loop.is_current:
                job.close()
                raise UsageError(
                    "a note or a row's callback cannot ask: it is called in the midst of a call",
                    hint="put what it gets into a queue, and ask from there",
                )
            return self._loop.submit(job)

    def result(self, future: Future[T]) -> T:
        """The result of a job; the job is cancelled when the caller is interrupted."""
        with self._named_cancel():
            try:
                wait_for((future,))
            except BaseException:  # Ctrl-C, or an exception that a handler of a signal raises
                future.cancel()
                raise
            return future.result()

    async def aresult(self, future: Future[T]) -> T:
        """The result of a job, in another event loop; the job is cancelled with the caller's task."""
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.is_closed and (task is None or not task.cancelling()):
                raise _closed_error() from None
            raise

    @contextmanager
    def _named_cancel(self) -> Iterator[None]:
        """Say that it was closed where a call under way was cancelled by that."""
        try:
            yield
        except CancelledError:
            if self.is_closed:
                raise _closed_error() from None
            raise

    def _cascade(self) -> Cascade:
        """The cascade, opened on the loop's thread: nobody else comes in between."""
        if self._runtime is None:
            runtime = Runtime(self.profile, self.options, note=self.note, budget=self.budget)
            for line in router_notes(self.profile):
                self.note(line)
            self._runtime = runtime
        return self._runtime.cascade

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Cancel the calls under way, and close what is open."""
        loop = self._end()
        if loop is not None:
            loop.close()

    def abandon(self) -> None:
        """Close soon, without waiting: nobody has the face of it any more."""
        loop = self._end()
        if loop is not None:
            loop.begin_close()

    def _end(self) -> LoopThread | None:
        """The loop to be closed; None where there is none in this process."""
        self.is_closed = True
        loop, self._loop = self._loop, None
        return loop if self._process == os.getpid() else None

    async def _close_runtime(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.__aexit__(None, None, None)


def _closed_error() -> UsageError:
    return UsageError("this Automix is closed", hint="make another: Automix.from_profile(…)")
