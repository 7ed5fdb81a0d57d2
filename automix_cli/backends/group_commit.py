"""One transaction for the writes of many questions: a commit costs more than what is written in it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from automix_cli.backends.store import Busy, Store
from automix_cli.errors import StorageError

T = TypeVar("T")

_PAUSE = 0.1  # seconds between attempts while another process has the database locked
_QUIET_TURNS = 3  # of the event loop without a newcomer, after which a group is committed
_MOST_SECONDS = 0.002  # that a group is held open


class _Waiting(Struct, frozen=True):
    """A write, whether it is made although nobody waits any more, and where its result goes."""

    write: Callable[[], Any]
    is_owed: bool
    result: asyncio.Future[Any]


class GroupCommit:
    """Commits together what is written in a few turns of the event loop: more the busier it is.

    A write that fails, fails with all others of its group; while the database is locked they are tried
    again for the store's patience.

    Example:
        >>> async def main(store):
        ...     commits = GroupCommit(store)
        ...     return await asyncio.gather(*(commits.do(lambda n=n: n + 1) for n in range(3)))
        >>> asyncio.run(main(Store.temporary()))
        [1, 2, 3]
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def do(self, write: Callable[[], T], *, is_owed: bool = False) -> T:
        """The result of a write, once it is committed.

        One that `is_owed` is made even if the caller is cancelled meanwhile: it keeps what was paid for.

        Raises:
            StorageError: it could not be committed.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Waiting(write, is_owed, result))
        if self._task is None:
            self._task = loop.create_task(self._commit())
        return await result

    async def _commit(self) -> None:
        """Commit until nothing waits; what is owed is committed even when the loop is being closed."""
        try:
            while self._waiting:
                await self._gather()
                await self._commit_group()
        finally:
            self._task = None
            with contextlib.suppress(StorageError):
                self.flush()

    async def _gather(self) -> None:
        """Let others join: those of this turn, and while turns bring more, those of the next ones."""
        until, quiet, count = time.monotonic() + _MOST_SECONDS, 0, 0
        while quiet < _QUIET_TURNS and time.monotonic() < until:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == count else 0
            count = len(self._waiting)

    async def _commit_group(self) -> None:
        until = time.monotonic() + self._store.patience
        while True:
            try:
                return self.flush()
            except Busy as exc:
                if time.monotonic() > until:
                    group, self._waiting = self._waiting, []
                    return _fail(group, exc)
            await asyncio.sleep(_PAUSE)

    def flush(self) -> None:
        """Commit what waits.

        Raises:
            Busy: another process has the database locked; all go on waiting.
        """
        group = [w for w in self._waiting if w.is_owed or not w.result.cancelled()]
        self._waiting = group
        if not group:
            return
        try:
            results = self._store.together([w.write for w in group])
        except Busy:
            raise
        except Exception as exc:
            self._waiting = []
            return _fail(group, exc)
        self._waiting = []
        for waiting, result in zip(group, results, strict=True):
            if not waiting.result.done():
                waiting.result.set_result(result)


def _fail(group: list[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.result.done():
            waiting.result.set_exception(error)
