"""Wake-up calls coalesce, and the earliest counts."""

import asyncio

import pytest

from robotgroups_operator.wakeup import Wakeup


async def test_many_calls_are_one_awakening() -> None:
    wakeup = Wakeup()
    for _ in range(5):
        wakeup.call()
    await wakeup.sleep()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wakeup.sleep(), 0.05)


async def test_the_earliest_call_counts() -> None:
    wakeup = Wakeup()
    wakeup.call(60)
    sleeper = asyncio.create_task(wakeup.sleep())
    await asyncio.sleep(0)
    wakeup.call(0)
    wakeup.call(30)
    await asyncio.wait_for(sleeper, 5)


async def test_a_call_during_the_work_is_not_lost() -> None:
    wakeup = Wakeup()
    wakeup.call()
    await wakeup.sleep()
    wakeup.call()  # while the sleeper works
    await asyncio.wait_for(wakeup.sleep(), 5)
