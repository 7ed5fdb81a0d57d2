"""Deadlines: each call has its own, whatever the others do, and one that ends in time is left alone."""

import asyncio
import time

import pytest

from automix_cli.backends.deadlines import Deadlines


async def outcome(deadlines: Deadlines, seconds: float, lasts: float) -> str:
    """How a call ends that lasts for some seconds."""
    try:
        return await deadlines.result_within(seconds, asyncio.sleep(lasts, "done"))
    except TimeoutError:
        return "late"


def test_each_call_ends_by_its_own_deadline() -> None:
    calls = [(30.0, 0.0), (0.05, 20.0), (0.02, 20.0), (30.0, 0.04), (0.03, 0.0), (0.01, 20.0)]

    async def main() -> list[str]:
        return await asyncio.gather(*(outcome(deadlines, *call) for call in calls))

    deadlines = Deadlines()
    for _ in range(2):  # in a loop of its own each time
        assert asyncio.run(asyncio.wait_for(main(), 10)) == ["done", "late", "late", "done", "done", "late"]


def test_a_call_that_somebody_else_cancels_is_cancelled() -> None:
    async def main() -> None:
        task = asyncio.create_task(outcome(Deadlines(), 30.0, 20.0))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_a_call_that_is_late_and_cancelled_is_cancelled() -> None:
    async def main() -> bool:
        deadlines = Deadlines()
        task = asyncio.create_task(outcome(deadlines, 0.05, 20.0))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.06, task.cancel)
        time.sleep(0.1)  # the loop comes late to both, and the task learns of them in one turn
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


def test_an_error_of_the_call_is_its_own() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(Deadlines().result_within(1.0, fail()))
