"""Questions of clients on their way: so many at once, the others in line, each given up with its client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.jobs import answer_or_error
from automix_cli.errors import AutomixError
from automix_cli.records import Answer, Question, RowError

MOST_WAITING = 4096
"""Questions that may be in line or at work; further ones are turned away."""

MOST_BYTES_IN_LINE = 256 * 1024 * 1024
"""Bytes of the requests that are in line or at work, together."""


class TurnedAway(Exception):
    """A question that was not begun, or given up, because the server is full or stops."""


@dataclass(slots=True)
class QuestionDesk:
    """Has questions answered, at most `concurrency` at a time.

    A caller that is cancelled takes its question with it: what it would have bought next is not bought, and
    a call under way is given up unless another question waits for the same one (`backends.cache`).
    """

    concurrency: int
    is_stopping: bool = False
    bytes_in_line: int = 0
    _slots: asyncio.Semaphore = field(init=False)
    _tasks: set[asyncio.Task[Answer]] = field(default_factory=set)
    _is_idle: asyncio.Event = field(default_factory=asyncio.Event)
    _at_work: int = 0

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)
        self._is_idle.set()

    @property
    def at_work(self) -> int:
        """Questions that are being answered."""
        return self._at_work

    @property
    def in_line(self) -> int:
        """Questions that wait for their turn."""
        return len(self._tasks) - self._at_work

    async def answer(self, cascade: Cascade, question: Question, size: int = 0) -> Answer:
        """The row of a question whose request has `size` bytes.

        Raises:
            TurnedAway: it was not begun, or was given up because the server stops.
        """
        self._check_room(size)
        task = asyncio.create_task(self._take_turn(cascade, question))
        self._tasks.add(task)
        self._is_idle.clear()
        self.bytes_in_line += size
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self.is_stopping and caller is not None and not caller.cancelling():
                raise TurnedAway("the server stops") from None
            raise
        finally:
            self._tasks.discard(task)
            self.bytes_in_line -= size
            if not self._tasks:
                self._is_idle.set()

    def _check_room(self, size: int) -> None:
        if self.is_stopping:
            raise TurnedAway("the server stops")
        if len(self._tasks) >= MOST_WAITING or self.bytes_in_line + size > MOST_BYTES_IN_LINE:
            raise TurnedAway(f"{len(self._tasks)} questions are in line: ask again in a moment")

    async def _take_turn(self, cascade: Cascade, question: Question) -> Answer:
        async with self._slots:
            self._at_work += 1
            try:
                return await answer_or_error(cascade, question)
            except AutomixError as exc:
                error = RowError(type="internal", message=exc.message, hint=exc.hint)
                return Answer(question=question).with_error(error)
            finally:
                self._at_work -= 1

    def stop(self, *, drop: bool = False) -> None:
        """Begin no further question; `drop` gives up those in line and at work, too."""
        self.is_stopping = True
        if drop:
            for task in self._tasks:
                task.cancel()

    async def wait_until_idle(self) -> None:
        """Wait until no question is in line or at work."""
        await self._is_idle.wait()
