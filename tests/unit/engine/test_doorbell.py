"""Doorbells over real sockets of the loopback."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from robotgroups.doorbell import MAX_HELD, Doorbell, DoorbellPlace, Watcher
from robotgroups.models import Peer

pytestmark = pytest.mark.anyio
LIMIT_S = 10
PLACE = DoorbellPlace("127.0.0.1", 0, "127.0.0.1")


class Rings:
    """What a watcher has said."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        self.watcher = Watcher(lambda peer, held: self.heard.put_nowait((peer.name, held)))

    async def next(self) -> tuple[str, bool]:
        async with asyncio.timeout(LIMIT_S):
            return await self.heard.get()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def doorbell() -> AsyncIterator[Doorbell]:
    bell = Doorbell()
    await bell.open(PLACE)
    yield bell
    await bell.close()


@pytest.fixture
async def rings() -> AsyncIterator[Rings]:
    rings = Rings()
    yield rings
    await rings.watcher.watch(None)


async def held(doorbell: Doorbell, count: int = 1) -> None:
    async with asyncio.timeout(LIMIT_S):
        while len(doorbell._held) != count:
            await asyncio.sleep(0.005)


async def test_it_rings_when_the_other_side_ends(doorbell: Doorbell, rings: Rings) -> None:
    await rings.watcher.watch(Peer("a", uuid4(), 1, doorbell.address))
    await held(doorbell)
    assert rings.heard.empty()
    await doorbell.close()
    assert await rings.next() == ("a", True)


async def test_it_rings_when_nobody_is_there(rings: Rings) -> None:
    gone = Doorbell()
    await gone.open(PLACE)
    address = gone.address
    await gone.close()
    await rings.watcher.watch(Peer("a", uuid4(), 1, address))
    assert await rings.next() == ("a", False)


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:http", "127.0.0.1:99999"])
async def test_an_address_that_is_none_rings_and_ends_nothing(rings: Rings, address: str) -> None:
    """Anybody who may use the group's login may write one (S1)."""
    await rings.watcher.watch(Peer("a", uuid4(), 1, address))
    assert await rings.next() == ("a", False)
    assert await rings.next() == ("a", False), "it goes on trying"


async def test_another_neighbour_takes_its_place_without_a_ring(doorbell: Doorbell, rings: Rings) -> None:
    other = Doorbell()
    await other.open(PLACE)
    try:
        await rings.watcher.watch(Peer("a", uuid4(), 1, doorbell.address))
        await held(doorbell)
        await rings.watcher.watch(Peer("b", uuid4(), 1, other.address))
        await held(other)
        await held(doorbell, 0)
        assert rings.heard.empty()
    finally:
        await other.close()


async def test_a_beat_of_the_same_neighbour_changes_nothing(doorbell: Doorbell, rings: Rings) -> None:
    incarnation = uuid4()
    await rings.watcher.watch(Peer("a", incarnation, 1, doorbell.address))
    await held(doorbell)
    (before,) = doorbell._held
    await rings.watcher.watch(Peer("a", incarnation, 2, doorbell.address))
    assert doorbell._held == {before}


async def test_strangers_cannot_fill_it_without_end(doorbell: Doorbell) -> None:
    host, port = doorbell.address.split(":")
    strangers = [await asyncio.open_connection(host, int(port)) for _ in range(MAX_HELD)]
    await held(doorbell, MAX_HELD)
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(LIMIT_S):
        assert await reader.read() == b""
    for _, each in [*strangers, (reader, writer)]:
        each.close()


async def test_what_is_said_to_it_is_thrown_away(doorbell: Doorbell) -> None:
    host, port = doorbell.address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n\r\n" * 1000)
    await writer.drain()
    await held(doorbell)
    writer.close()
    await held(doorbell, 0)
