"""Who is followed, without Postgres."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import uuid4

import pytest

from robotgroups.following import Following
from robotgroups.link import Link, Told

LIMIT_S = 5


async def plain(work: Coroutine[Any, Any, None]) -> None:
    await work


async def nothing() -> None:
    pass


async def unheard(told: Told) -> None:
    pytest.fail(f"nobody told {told}")


@pytest.mark.anyio
async def test_a_swallowed_cancellation_brings_nobody_back() -> None:
    asked = 0
    asking = asyncio.Event()

    async def links() -> Sequence[Link]:
        nonlocal asked
        asked += 1
        asking.set()
        try:
            await asyncio.sleep(LIMIT_S)
        except asyncio.CancelledError:
            return []  # as wait_for does before Python 3.12
        return []

    following = Following(uuid4(), links, nothing, unheard, plain)
    following.follow(["a"])
    await asyncio.wait_for(asking.wait(), LIMIT_S)
    following.follow([])
    async with asyncio.timeout(LIMIT_S):
        while following._ending:
            await asyncio.sleep(0.01)
    assert asked == 1
    await following.close()


@pytest.mark.anyio
async def test_the_same_robots_are_not_asked_for_again() -> None:
    asked: list[int] = []

    async def links() -> Sequence[Link]:
        asked.append(1)
        await asyncio.sleep(3600)
        return []

    following = Following(uuid4(), links, nothing, unheard, plain)
    for _ in range(3):
        following.follow(["a"])
        await asyncio.sleep(0)
    assert len(asked) == 1
    await following.close()
