"""Writes of one turn of the event loop share a transaction; what was paid for is written whatever happens."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from automix_cli.backends.group_commit import GroupCommit
from automix_cli.backends.store import Busy, Store
from automix_cli.errors import StorageError
from automix_cli.records import Completion

HELLO = Completion(text="hello")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "cache")) as opened:
        yield opened


def prompt_of(number: int) -> str:
    return f"{number:064}"


def put(store: Store, number: int) -> Callable[[], None]:
    return partial(store.put, prompt_of(number), {0: HELLO})


def test_writes_of_one_turn_share_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, together = list[int](), store.together

    def count(writes: Sequence[Callable[[], Any]]) -> list[Any]:
        sizes.append(len(writes))
        return together(writes)

    monkeypatch.setattr(store, "together", count)

    async def main() -> None:
        commits = GroupCommit(store)
        await asyncio.gather(*(commits.do(put(store, number)) for number in range(50)))
        await commits.do(put(store, 50))

    asyncio.run(main())
    assert sizes == [50, 1]
    assert all(store.get(prompt_of(number), 0) for number in range(51))


def test_writes_of_turns_that_follow_one_another_share_a_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, together = list[int](), store.together

    def count(writes: Sequence[Callable[[], Any]]) -> list[Any]:
        sizes.append(len(writes))
        return together(writes)

    monkeypatch.setattr(store, "together", count)

    async def write_after(turns: int, commits: GroupCommit) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await commits.do(put(store, turns))

    async def main() -> None:
        commits = GroupCommit(store)
        await asyncio.gather(*(write_after(turns, commits) for turns in range(5)))

    asyncio.run(main())
    assert sizes == [5]


def test_what_is_owed_is_written_though_nobody_waits_and_nothing_else_is(store: Store) -> None:
    async def main() -> None:
        commits = GroupCommit(store)
        paid = asyncio.create_task(commits.do(put(store, 0), is_owed=True))
        lease = asyncio.create_task(commits.do(partial(store.take, prompt_of(1), 60.0)))
        await asyncio.sleep(0)
        for task in (paid, lease):
            task.cancel()
        await asyncio.gather(paid, lease, return_exceptions=True)
        await commits.do(put(store, 2))

    asyncio.run(main())
    assert store.get(prompt_of(0), 0)
    with contextlib.closing(Store(store.folder)) as other:
        assert other.take(prompt_of(1), 60)


def test_what_is_owed_is_written_when_the_loop_ends(store: Store) -> None:
    async def main() -> None:
        task = asyncio.create_task(GroupCommit(store).do(put(store, 0), is_owed=True))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    assert store.get(prompt_of(0), 0)


def test_writes_wait_for_a_lock_without_holding_up_the_loop(store: Store) -> None:
    async def main() -> int:
        commits, turns = GroupCommit(store), 0
        with contextlib.closing(sqlite3.connect(store.folder / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            tasks = [asyncio.create_task(commits.do(put(store, number))) for number in range(3)]
            for _ in range(20):
                await asyncio.sleep(0.01)
                turns += 1
            assert not any(task.done() for task in tasks)
        await asyncio.gather(*tasks)
        return turns

    assert asyncio.run(main()) == 20
    assert all(store.get(prompt_of(number), 0) for number in range(3))


def test_a_lock_that_stays_is_an_error_of_each_write(store: Store) -> None:
    store.patience = 0.1

    async def main() -> list[Any]:
        commits = GroupCommit(store)
        with contextlib.closing(sqlite3.connect(store.folder / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writes = [commits.do(put(store, number)) for number in range(3)]
            return await asyncio.gather(*writes, return_exceptions=True)

    assert [type(error) for error in asyncio.run(main())] == [Busy] * 3


def test_a_database_that_cannot_be_written_is_an_error_of_each_write(store: Store) -> None:
    store.database.cache._con.execute("PRAGMA query_only = 1")

    async def main() -> list[Any]:
        commits = GroupCommit(store)
        writes = [commits.do(put(store, number)) for number in range(3)]
        return await asyncio.gather(*writes, return_exceptions=True)

    errors = asyncio.run(main())
    assert all(isinstance(error, StorageError) and "readonly" in error.message for error in errors)
