"""Laws of the batch: order, bounds, and what a stop leaves behind."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from automix_cli.backends.base import NeedsLoop
from automix_cli.cascade.batch import AHEAD, Batch


async def numbers(count: int) -> AsyncIterator[int]:
    for n in range(count):
        yield n


async def run(batch: Batch, rows: AsyncIterator[int]) -> list:
    return [result async for result in batch.run(rows)]


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_results_keep_input_order_however_long_each_takes(concurrency: int) -> None:
    rng = random.Random(1)

    async def work(n: int) -> int:
        await asyncio.sleep(rng.random() / 500)
        return n

    assert asyncio.run(run(Batch(work, concurrency=concurrency), numbers(200))) == list(range(200))


def test_unordered_results_are_the_same_rows() -> None:
    async def main() -> list[int]:
        done = [asyncio.Event() for _ in range(201)]
        done[200].set()

        async def work(n: int) -> int:
            await done[n + 1].wait()
            done[n].set()
            return n

        return await run(Batch(work, concurrency=200, ordered=False), numbers(200))

    assert asyncio.run(main()) == list(reversed(range(200)))


def test_no_more_than_concurrency_are_at_work() -> None:
    now = most = 0

    async def work(n: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return n

    asyncio.run(run(Batch(work, concurrency=5), numbers(60)))
    assert most == 5


def test_rows_are_read_only_a_bounded_way_ahead_of_a_slow_first_row() -> None:
    read = 0
    gate = asyncio.Event()

    async def rows() -> AsyncIterator[int]:
        nonlocal read
        for n in range(1000):
            read += 1
            yield n

    async def work(n: int) -> int:
        if n == 0:
            await gate.wait()
        return n

    async def main() -> None:
        batch = Batch(work, concurrency=2)
        results = batch.run(rows())
        first = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0.05)
        assert read <= 2 * AHEAD + 1
        gate.set()
        assert await first == 0
        assert [r async for r in results] == list(range(1, 1000))

    asyncio.run(main())


def test_a_stop_finishes_the_rows_in_flight_and_starts_no_other() -> None:
    started: list[int] = []

    async def main() -> list[int]:
        async def work(n: int) -> int:
            started.append(n)
            if n == 3:
                batch.stop()
            await asyncio.sleep(0.01)
            return n

        batch = Batch(work, concurrency=2)
        return await run(batch, numbers(100))

    found = asyncio.run(main())
    assert found == started
    assert 4 <= len(started) <= 6


def test_a_stop_does_not_wait_for_an_input_that_is_silent() -> None:
    async def rows() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def main() -> list[int]:
        async def work(n: int) -> int:
            asyncio.get_running_loop().call_later(0.01, batch.stop)
            return n

        batch = Batch(work, concurrency=2)
        return await run(batch, rows())

    assert asyncio.run(main()) == [1]


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("is_early", [True, False], ids=["before the run", "before its first row is read"])
def test_a_stop_before_the_first_row_ends_the_run(is_early: bool, drop: bool) -> None:
    async def work(n: int) -> int:
        raise AssertionError

    async def main() -> list[int]:
        batch = Batch(work, concurrency=2)
        if is_early:
            batch.stop(drop=drop)
        else:  # before the step of the task that reads rows, which the run creates later
            asyncio.get_running_loop().call_soon(lambda: batch.stop(drop=drop))
        async with asyncio.timeout(5):
            return await run(batch, numbers(10))

    assert asyncio.run(main()) == []


def test_dropping_gives_up_the_rows_in_flight() -> None:
    async def main() -> list[int]:
        async def work(n: int) -> int:
            if n < 2:
                return n
            asyncio.get_running_loop().call_later(0.01, lambda: batch.stop(drop=True))
            await asyncio.Event().wait()
            raise AssertionError

        batch = Batch(work, concurrency=2)
        return await run(batch, numbers(10))

    assert asyncio.run(main()) == [0, 1]


def test_an_error_of_the_input_is_raised_after_the_rows_before_it() -> None:
    async def rows() -> AsyncIterator[int]:
        yield 1
        raise OSError("gone")

    async def work(n: int) -> int:
        return n

    async def main() -> None:
        results = Batch(work, concurrency=1).run(rows())
        assert await anext(results) == 1
        with pytest.raises(OSError, match="gone"):
            await anext(results)

    asyncio.run(main())


@pytest.mark.parametrize("ordered", [True, False])
def test_rows_that_wait_for_nothing_get_no_task_and_keep_their_place(ordered: bool) -> None:
    tasks: list[int] = []

    async def work(n: int) -> int:
        tasks.append(n)
        await asyncio.sleep(0.001)
        return n

    def at_once(n: int) -> int:
        if 100 <= n < 110:
            raise NeedsLoop
        return n

    found = asyncio.run(run(Batch(work, concurrency=3, ordered=ordered, at_once=at_once), numbers(400)))
    assert sorted(found) == list(range(400))
    assert not ordered or found == sorted(found)
    assert set(range(100, 110)) <= set(tasks)
    assert len(tasks) < 100


def test_rows_that_all_wait_are_rarely_tried_and_rows_that_do_not_leave_turns_to_others() -> None:
    tried = turns = 0

    def wait(n: int) -> int:
        nonlocal tried
        tried += 1
        raise NeedsLoop

    async def work(n: int) -> int:
        return n

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> list[int]:
        ticking = asyncio.create_task(tick())
        found = await run(Batch(work, concurrency=64, at_once=lambda n: n), numbers(400))
        ticking.cancel()
        return found

    assert asyncio.run(run(Batch(work, concurrency=4, at_once=wait), numbers(400))) == list(range(400))
    assert tried < 16
    assert asyncio.run(main()) == list(range(400))
    assert turns >= 400 / 16


@pytest.mark.parametrize("drop", [False, True])
def test_a_stop_within_a_row_that_waits_for_nothing_starts_no_other(drop: bool) -> None:
    started: list[int] = []

    async def work(n: int) -> int:
        raise AssertionError

    def at_once(n: int) -> int:
        started.append(n)
        if n == 3:
            batch.stop(drop=drop)
        return n

    async def main() -> list[int]:
        nonlocal batch
        batch = Batch(work, concurrency=2, at_once=at_once)
        async with asyncio.timeout(5):
            return await run(batch, numbers(100))

    batch: Batch
    assert asyncio.run(main()) == started == [0, 1, 2, 3]


def test_an_error_of_a_row_that_waits_for_nothing_is_raised_at_its_place() -> None:
    async def work(n: int) -> int:
        return n

    def at_once(n: int) -> int:
        if n == 2:
            raise OSError("full")
        return n

    async def main() -> None:
        results = Batch(work, concurrency=1, at_once=at_once).run(numbers(4))
        assert [await anext(results), await anext(results)] == [0, 1]
        with pytest.raises(OSError, match="full"):
            await anext(results)

    asyncio.run(main())
