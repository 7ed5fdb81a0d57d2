"""Places for calls: who waits for one, who goes first, and when a place is free again.

More rows are at work than there are places, so that a call stands ready whenever one becomes free. A row
whose first call still waits has not begun: the calls of rows that have go before it, and a batch that stops
gives it up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio  # imported where a call has to wait: a stored answer needs no event loop


class RowCalls(Struct):
    """How far the calls of a row have come: when the first was sent, and whether that one waits to be.

    Where none was and `may_begin` is false, none will be.
    """

    start: float | None = None
    is_waiting: bool = False
    may_begin: bool = True


_calls: ContextVar[RowCalls | None] = ContextVar("calls", default=None)


def open_calls(calls: RowCalls) -> None:
    """Let the calls of this task, and of those that it makes, be noted."""
    _calls.set(calls)


def note_call() -> None:
    """Note that a call of this row is sent."""
    calls = _calls.get()
    if calls is not None and calls.start is None:
        calls.start = time.perf_counter()


def first_call() -> float:
    """When the first call of this row was sent, by `time.perf_counter`; minus infinity where none was."""
    calls = _calls.get()
    return float("-inf") if calls is None or calls.start is None else calls.start


@contextmanager
def waiting() -> Iterator[None]:
    """Mark a row that waits for its first call to be sent."""
    calls = _calls.get()
    if calls is None or calls.start is not None:
        yield
        return
    calls.is_waiting = True
    try:
        yield
    finally:
        calls.is_waiting = False


class CallPlaces:
    """A number of places; those who wait are served in turn, but for rows that have begun, which go first.

    Example:
        >>> import asyncio
        >>> async def main():
        ...     places = CallPlaces(1)
        ...     await places.take()
        ...     places.give()
        ...     await places.take()
        >>> asyncio.run(main())
    """

    __slots__ = ("_begun_rows", "_free", "_other_rows")

    def __init__(self, count: int) -> None:
        self._free = count
        self._begun_rows: deque[asyncio.Future[None]] = deque()
        self._other_rows: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Take a place, once there is one.

        Raises:
            CancelledError: the row has not begun, and is not to begin any more.
        """
        import asyncio

        calls = _calls.get()
        if calls is not None and calls.start is not None:
            calls = None  # a row that has begun
        if calls is not None and not calls.may_begin:
            raise asyncio.CancelledError
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        if calls is None:
            self._begun_rows.append(place)
            await self._wait(place)
            return
        self._other_rows.append(place)
        calls.is_waiting = True
        try:
            await self._wait(place)
        finally:
            calls.is_waiting = False

    async def _wait(self, place: asyncio.Future[None]) -> None:
        """Wait until a place is handed over; one that comes too late goes to the next."""
        import asyncio

        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Hand a place to whoever is next."""
        for queue in (self._begun_rows, self._other_rows):
            while queue:
                place = queue.popleft()
                if not place.done():
                    place.set_result(None)
                    return
        self._free += 1


class HeldPlace:
    """A place in each of several `CallPlaces`, which is given back once."""

    __slots__ = ("_givers",)

    def __init__(self, *givers: Callable[[], None]) -> None:
        self._givers = givers

    def give_back(self) -> None:
        """Let the next call have it."""
        givers, self._givers = self._givers, ()
        for give in givers:
            give()


_place: ContextVar[HeldPlace | None] = ContextVar("place", default=None)


def hold_place(place: HeldPlace) -> None:
    """Note the place of the call that this task makes."""
    _place.set(place)


def leave_place() -> None:
    """Give back the place of the call that this task makes: all of a good reply is here, but not read yet."""
    place = _place.get()
    if place is not None:
        place.give_back()
