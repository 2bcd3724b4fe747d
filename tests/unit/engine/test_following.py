"""Who is followed, without Postgres."""

import asyncio
from uuid import uuid4

import pytest

from robotgroups import following as following_module
from robotgroups.following import Following
from robotgroups.link import Link, Told

LIMIT_S = 5


async def nothing() -> None:
    pass


async def unheard(told: Told) -> None:
    pytest.fail(f"nobody told {told}")


@pytest.mark.anyio
async def test_a_swallowed_cancellation_brings_nobody_back() -> None:
    asked = 0
    asking = asyncio.Event()

    async def link(_: str) -> Link | None:
        nonlocal asked
        asked += 1
        asking.set()
        try:
            await asyncio.sleep(LIMIT_S)
        except asyncio.CancelledError:
            return None  # as wait_for does before Python 3.12
        return None

    following = Following(uuid4(), link, nothing, unheard)
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

    async def link(_: str) -> Link | None:
        asked.append(1)
        await asyncio.sleep(3600)
        return None

    following = Following(uuid4(), link, nothing, unheard)
    for _ in range(3):
        following.follow(["a"])
        await asyncio.sleep(0)
    assert len(asked) == 1
    await following.close()


@pytest.mark.anyio
async def test_what_nobody_thought_of_ends_no_more_than_a_link(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following_module, "FIRST_PAUSE_S", 0.001)
    asked = 0
    again = asyncio.Event()

    async def link(_: str) -> Link | None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ZeroDivisionError("nobody thought of it")
        again.set()
        return None

    following = Following(uuid4(), link, nothing, unheard)
    following.follow(["a"])
    await asyncio.wait_for(again.wait(), LIMIT_S)
    await following.close()
    assert "nobody thought of it" in caplog.text
