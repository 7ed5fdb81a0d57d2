"""Laws of the places for calls: none lies idle, rows that have begun go first, each is given back once."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from automix_cli.backends.places import CallPlaces, HeldPlace, RowCalls, first_call, note_call, open_calls
from automix_cli.cascade.batch import Batch


async def in_row(calls: RowCalls, job: Coroutine[Any, Any, None]) -> None:
    open_calls(calls)
    await job


def test_rows_that_have_begun_go_before_those_that_wait_for_their_first_call() -> None:
    async def main() -> list[str]:
        places, order = CallPlaces(1), list[str]()
        await places.take()

        async def call(name: str) -> None:
            await places.take()
            order.append(name)
            places.give()

        begun, other = RowCalls(start=0.0), RowCalls()
        tasks = [asyncio.create_task(in_row(other, call("other")))]
        await asyncio.sleep(0)
        assert other.is_waiting
        tasks.append(asyncio.create_task(in_row(begun, call("begun"))))
        await asyncio.sleep(0)
        assert not begun.is_waiting
        places.give()
        await asyncio.gather(*tasks)
        assert not other.is_waiting
        return order

    assert asyncio.run(main()) == ["begun", "other"]


def test_a_place_handed_to_a_call_that_is_cancelled_goes_to_the_next() -> None:
    async def main() -> None:
        places = CallPlaces(1)
        await places.take()
        first, second = (asyncio.create_task(places.take()) for _ in range(2))
        await asyncio.sleep(0)
        places.give()
        first.cancel()  # between the gift and its turn
        async with asyncio.timeout(5):
            await second
        places.give()
        await places.take()

    asyncio.run(main())


def test_a_place_is_given_back_once() -> None:
    gifts: list[int] = []
    place = HeldPlace(lambda: gifts.append(1))
    place.give_back()
    place.give_back()
    assert gifts == [1]


def test_the_first_call_of_a_row_is_noted_once() -> None:
    async def main() -> None:
        open_calls(RowCalls())
        assert first_call() == float("-inf")
        note_call()
        start = first_call()
        assert start > 0
        note_call()
        assert first_call() == start

    asyncio.run(main())


def test_a_row_that_may_not_begin_any_more_takes_no_place() -> None:
    async def main() -> None:
        places = CallPlaces(1)
        task = asyncio.create_task(in_row(RowCalls(may_begin=False), places.take()))
        await asyncio.wait({task})
        assert task.cancelled()
        async with asyncio.timeout(5):
            await places.take()

    asyncio.run(main())


def test_a_stop_gives_up_the_rows_that_wait_for_their_first_call_and_no_other() -> None:
    async def main() -> list[int]:
        places, is_stopped = CallPlaces(2), asyncio.Event()

        async def work(n: int) -> int:
            for _ in range(2):
                await places.take()
                note_call()
                await is_stopped.wait()
                places.give()
            return n

        async def rows() -> Any:
            for n in range(100):
                yield n

        def stop() -> None:
            batch.stop()
            is_stopped.set()

        batch = Batch(work, concurrency=2, ready=2)
        asyncio.get_running_loop().call_later(0.01, stop)
        return [result async for result in batch.run(rows())]

    assert asyncio.run(main()) == [0, 1]
