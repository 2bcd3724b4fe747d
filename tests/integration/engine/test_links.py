"""Links: what an active robot writes is in the others' caches without an announcement; nothing depends on it (M5)."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from robot_process import until

from robotgroups import announcing, teller
from robotgroups.cancelling import cancelled
from robotgroups.doorbell import DoorbellPlace, place_of
from robotgroups.link import HELLO_BYTES, NONCE_BYTES, Handshake, hello, nonce
from robotgroups.robot import HostedRobot

LIMIT_S = 15


async def linked(active: HostedRobot, *others: HostedRobot) -> None:
    """Waits until these follow, and the active robot knows that they are all there are."""

    async def stands() -> bool:
        links = active._links
        return {o.incarnation for o in others} == set(links._peers) == set(links._teller.followers)

    await until(stands, "the links stand", LIMIT_S)


@asynccontextmanager
async def announcements(group: Any) -> AsyncIterator[list[int]]:
    """What Postgres announces meanwhile."""
    heard: list[int] = []
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as connection:
        await connection.execute(f"LISTEN rg_{group.id}".encode())

        async def listen() -> None:
            async for note in connection.notifies():
                heard.append(int(note.payload))  # noqa: PERF401  while it goes on

        listening = asyncio.create_task(listen())
        try:
            yield heard
        finally:
            listening.cancel()
            await asyncio.wait([listening])


async def test_what_is_told_is_announced_once_for_many(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 3600.0)
    a, b, c = await group.host("a"), await group.host("b"), await group.host("c")
    await linked(a, b, c)
    first = await a.remember("the first is announced at once")
    async with announcements(group) as heard:
        last = [await a.remember(f"memory {number}") for number in range(300)][-1]
        await asyncio.gather(b.wait_revision(last.revision), c.wait_revision(last.revision))
        assert heard in ([], [first.revision])
        await group.agrees(b)
        await group.agrees(c)
        await a.stop()  # what is left is announced

        async def announced() -> bool:
            return last.revision in heard

        await until(announced, "the last revision is announced", LIMIT_S)
        assert [revision for revision in heard if first.revision < revision < last.revision] == []


async def test_an_announcement_follows_within_its_time(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 0.2)
    a, b, c = await group.host("a"), await group.host("b"), await group.host("c")
    await linked(a, b, c)
    async with announcements(group) as heard:
        done = [await a.remember(f"memory {number}") for number in range(20)]

        async def announced() -> bool:
            return done[-1].revision in heard

        await until(announced, "the last revision is announced", LIMIT_S)
    assert len(heard) < len(done)


async def test_who_has_no_link_hears_every_announcement(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 3600.0)
    a, b = await group.host("a"), await group.host("b")
    await linked(a, b)
    await a.remember("told")
    await b._links._following.close()

    async def noticed() -> bool:
        return not a._links.reach_all

    await until(noticed, "a knows that b does not follow", LIMIT_S)
    async with announcements(group) as heard:
        done = [await a.remember(f"memory {number}") for number in range(5)]
        await b.wait_revision(done[-1].revision)

        async def all_heard() -> bool:
            return {one.revision for one in done} <= set(heard)

        await until(all_heard, "all is announced", LIMIT_S)
    await group.agrees(b)


async def test_m5_links_that_break_again_and_again_lose_nothing(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 3600.0)
    a, b, c = await group.host("a"), await group.host("b"), await group.host("c")
    written = 0
    for _ in range(6):
        await linked(a, b, c)
        for _ in range(20):
            await a.remember(f"memory {written}")
            written += 1
        for writer, _ in list(a._links._teller._followers.values()):
            writer.transport.abort()
        await a.remember(f"memory {written}")
        written += 1
    await group.agrees(b)
    await group.agrees(c)
    assert {m.content for m in b.cache.memories.values()} <= {f"memory {number}" for number in range(written)}


async def test_what_cannot_be_told_is_read(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "EVERY_S", 3600.0)
    a, b = await group.host("a"), await group.host("b")
    await linked(a, b)
    await a.remember("told")
    done = await a.remember("with numbers as Postgres writes them", metadata={"n": 1.50, "m": 1e3})
    await b.wait_revision(done.revision)
    await group.agrees(b)
    again = await a.remember("told")
    await b.wait_revision(again.revision)
    await group.agrees(b)


async def test_the_promoted_robot_is_followed(group: Any) -> None:
    a, b, c = await group.host("a"), await group.host("b"), await group.host("c")
    await linked(a, b, c)
    await group.kill(a)
    new = await until(lambda: _promoted(b, c), "one of them is active", LIMIT_S)
    other = c if new is b else b
    await linked(new, other)
    done = await new.remember("after the failover")
    await other.wait_revision(done.revision)
    await group.agrees(other)


async def _promoted(*robots: HostedRobot) -> HostedRobot | None:
    return next((robot for robot in robots if robot.role == "active"), None)


async def test_two_active_robots_follow_each_other(group: Any) -> None:
    a, b = await group.host("a"), await group.host("b")
    await group.store.promote(group.id, "b")
    await linked(a, b)
    await linked(b, a)
    await asyncio.gather(*(robot.remember(f"{robot.name} {number}") for number in range(50) for robot in (a, b)))
    await group.agrees(a)
    await group.agrees(b)


async def test_s1_who_does_not_know_the_key_is_told_nothing(group: Any) -> None:
    a = await group.host("a")
    reader, writer = await asyncio.open_connection(*place_of(a._links._teller.address))
    handshake = Handshake(uuid4(), await reader.readexactly(NONCE_BYTES), nonce())
    writer.write(hello(b"guessed" * 4, handshake))
    assert await reader.read() == b""
    writer.close()
    assert set(a._links._teller.followers) == set()


async def test_s1_who_does_not_know_the_key_is_not_believed(group: Any) -> None:
    heard = asyncio.Event()

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(nonce())
        await reader.readexactly(HELLO_BYTES)
        writer.write(bytes(4096))
        assert await reader.read() == b""
        heard.set()
        writer.close()

    a, b = await group.host("a"), await group.host("b")
    await linked(a, b)
    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await group.sql("UPDATE robotgroups.presence SET link = %s WHERE robot = 'a'", address)
    for writer, _ in list(a._links._teller._followers.values()):
        writer.transport.abort()
    await asyncio.wait_for(heard.wait(), LIMIT_S)
    done = await a.remember("announced, then")
    await b.wait_revision(done.revision)
    await group.agrees(b)
    server.close()


async def test_who_reads_too_slowly_is_let_go(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller, "MOST_UNREAD_BYTES", 1024)
    a = await group.host("a")
    key, incarnation = a._links._teller.key, uuid4()
    reader, writer = await asyncio.open_connection(*place_of(a._links._teller.address), limit=1024)
    writer.write(hello(key, Handshake(incarnation, await reader.readexactly(NONCE_BYTES), nonce())))

    async def follows() -> bool:
        return incarnation in a._links._teller.followers

    await until(follows, "it follows", LIMIT_S)
    for number in range(2000):
        if incarnation not in a._links._teller.followers:
            break
        await a.remember(f"{number} " + "a long text " * 2000)
    assert incarnation not in a._links._teller.followers
    writer.close()


async def test_a_silent_connection_is_ended(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller, "GREETING_S", 0.1)
    a = await group.host("a")
    reader, writer = await asyncio.open_connection(*place_of(a._links._teller.address))
    assert len(await asyncio.wait_for(reader.read(), LIMIT_S)) == NONCE_BYTES
    writer.close()


async def test_who_has_said_nothing_yet_is_let_go_with_the_others(group: Any) -> None:
    a = await group.host("a")
    reader, writer = await asyncio.open_connection(*place_of(a._links._teller.address))
    await reader.readexactly(NONCE_BYTES)
    async with asyncio.timeout(teller.GREETING_S / 2):
        await a._links.close()
        assert await reader.read() == b""
    assert not a._links._teller._links
    writer.transport.abort()


async def test_who_knocks_while_it_closes_is_not_left_open() -> None:
    """An unclosed socket is a ResourceWarning, which fails a test; without the care taken every other round has one."""

    async def knock(address: str) -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(*place_of(address))
            try:
                await reader.read()
            finally:
                writer.transport.abort()

    for moment in range(90):
        closing = teller.Teller()
        await closing.open(DoorbellPlace("127.0.0.1", 0, "127.0.0.1"))
        knocking = [asyncio.create_task(knock(closing.address)) for _ in range(2)]
        for _ in range(moment % 9):
            await asyncio.sleep(0)
        await closing.close()
        await cancelled(knocking)
    gc.collect()
