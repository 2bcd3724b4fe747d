"""What several use is closed after the last of them."""

import asyncio

import pytest

from robotgroups.lending import Lent


class Thing:
    def __init__(self) -> None:
        self.closed = 0
        self.lent = Lent(self, self.close)

    async def close(self) -> None:
        self.closed += 1


async def test_it_is_closed_once_when_nobody_uses_it() -> None:
    thing = Thing()
    async with thing.lent.use() as used:
        assert used is thing
    assert thing.closed == 0
    await thing.lent.retire()
    await thing.lent.retire()
    assert thing.closed == 1


async def test_whoever_uses_it_finishes_first() -> None:
    thing, go_on = Thing(), asyncio.Event()

    async def user() -> int:
        async with thing.lent.use():
            await go_on.wait()
            return thing.closed

    users = [asyncio.create_task(user()) for _ in range(3)]
    await asyncio.sleep(0)
    await thing.lent.retire()
    go_on.set()
    assert await asyncio.gather(*users) == [0, 0, 0]
    assert thing.closed == 1


async def test_who_fails_gives_it_back() -> None:
    thing = Thing()

    async def fails() -> None:
        async with thing.lent.use():
            await thing.lent.retire()
            assert thing.closed == 0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert thing.closed == 1
