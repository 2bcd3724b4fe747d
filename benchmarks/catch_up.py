"""Part of bench-sync: a robot that was cut off and has 10,000 changes to catch up with, and a new one that warms up."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import anyio
import psycopg
from psycopg import conninfo
from psycopg.types.json import Jsonb

from benchmarks import ours
from benchmarks.harness import load, options, postgres
from benchmarks.harness.figures import Figures
from benchmarks.harness.proxy import Proxy, proxy
from benchmarks.harness.texts import text
from benchmarks.peers import htm_replay
from robotgroups import migrations
from robotgroups.doorbell import DoorbellPlace
from robotgroups.models import GroupSettings
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

SERIES = "catch-up"
MISSED, QUICK_MISSED = 10_000, 200
TOKENS, QUICK_TOKENS = 32_000, 2000
TOKENS_OF_A_TEXT = 30  # fewer than they have on average: the working set is surely full
WARM_UPS, QUICK_WARM_UPS = 20, 2
PASSIVE = "latecomer"
FAR = "127.0.0.2"  # where the one that is cut off finds the active robot
WRITERS = 32
LIMIT_S = 120
PAYLOAD = {
    "id": 1, "originator": "active", "tokens": 37, "tags": [], "metadata": {},
    "created_at": "2026-01-01T00:00:00+00:00", "remembered_at": "2026-01-01T00:00:00+00:00", "remember_count": 1,
    "forgotten_at": None, "in_working_memory": True, "keeper": "active", "access_count": 0,
    "last_accessed_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
BARE = """
CREATE TABLE changes (revision bigint PRIMARY KEY, kind text NOT NULL, payload jsonb NOT NULL);
CREATE TABLE working_memory (id bigint PRIMARY KEY, memory jsonb NOT NULL)
"""


@dataclass(frozen=True)
class Group:
    """A group with a full working set, its active robot here, and the way to Postgres of the one that is cut off."""

    dsn: str
    id: int
    robot: HostedRobot
    proxy: Proxy  # to Postgres
    link: Proxy  # to the active robot, which tells what it writes

    async def write(self, revisions: int) -> int:
        """Remembers until the group has so many more revisions; returns the revision that it has."""
        done = 0
        goal = (await self.robot.status()).revision + revisions

        async def call(number: int) -> None:
            nonlocal done
            if done < goal:
                done = max(done, (await self.robot.remember(text(number, SERIES).content)).revision)

        await load.closed(call, self.numbers, callers=WRITERS, seconds=LIMIT_S, count=revisions)
        if done < goal:
            raise RuntimeError(f"only revision {done} instead of {goal} within {LIMIT_S} s")
        return done

    numbers = count()  # of the texts; all rounds go on with them


@asynccontextmanager
async def full_group(server: postgres.Server, tokens: int) -> AsyncIterator[Group]:
    """A group whose working set has ``tokens``, all of its budget."""
    dsn = server.database("catch_up")
    await migrations.migrate(dsn)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with await Store.open(dsn) as store, proxy(server.running.port) as way, proxy(port, FAR, port) as link:
        group_id = await ours.declare(store, 0, GroupSettings(max_tokens=tokens), [PASSIVE])
        async with HostedRobot(store, group_id, ours.ACTIVE, link=DoorbellPlace("127.0.0.1", port, FAR)) as robot:
            group = Group(dsn, group_id, robot, way, link)
            await group.write(tokens // TOKENS_OF_A_TEXT)
            yield group


async def catching_up(group: Group, missed: int) -> float:
    """Milliseconds from the robot's first connection after the cut until its cache has everything."""
    through = conninfo.make_conninfo(group.dsn, port=str(group.proxy.port))
    async with await Store.open(through) as store, HostedRobot(store, group.id, PASSIVE) as robot:
        group.proxy.cut()
        group.link.cut()
        goal = await group.write(missed)
        group.proxy.restore()
        group.link.restore()
        with anyio.fail_after(LIMIT_S):
            await robot.wait_revision(goal)
        assert group.proxy.first_at is not None
        return (time.perf_counter() - group.proxy.first_at) * 1000


async def warming_up(group: Group) -> float:
    """Milliseconds that a new robot takes, from no connection at all to a cache that has everything."""
    await group.robot.caught_up()
    started = time.perf_counter()
    async with await Store.open(group.dsn) as store, HostedRobot(store, group.id, PASSIVE) as robot:
        took = (time.perf_counter() - started) * 1000
        if robot.cache.memories.keys() != group.robot.cache.memories.keys():
            raise RuntimeError("the new robot's cache is another one than the group's")
        return took


async def bare_tables(dsn: str, memories: int, missed: int) -> None:
    """Plain tables with as many rows as ours."""
    contents = [text(number, SERIES).content for number in range(1000)]
    rows = [Jsonb(PAYLOAD | {"content": contents[number % 1000]}) for number in range(max(memories, missed))]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(BARE.encode())
        async with connection.cursor() as cursor, cursor.copy("COPY changes FROM STDIN") as copy:
            for number in range(missed):
                # every second change of a full working set is an eviction, which has no payload
                await copy.write_row((number, "evicted", Jsonb({})) if number % 2 else (number, "added", rows[number]))
        async with connection.cursor() as cursor, cursor.copy("COPY working_memory FROM STDIN") as copy:
            for number in range(memories):
                await copy.write_row((number, rows[number]))


async def bare_read(dsn: str, query: bytes) -> float:
    """Milliseconds to connect, LISTEN and read rows into Python."""
    started = time.perf_counter()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN bench")
        await (await connection.execute(query)).fetchall()
        return (time.perf_counter() - started) * 1000


async def htm_joins(server: postgres.Server, memories: int) -> list[float]:
    """Milliseconds of HTM's ``sync_robot`` for a robot that joins; its working memory stays empty all the same."""
    took = []
    dsn = server.database("htm_joins")
    async with htm_replay.open_groups(dsn, groups=1, members=2) as writer:
        (group,) = writer.groups
        for number in range(memories):
            await writer.add(group, text(number, SERIES))
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute("UPDATE robot_nodes SET working_memory = true")
            for _ in range(2):
                (newcomer,) = (await htm_replay.make_groups(connection, 1, 1))[0].members
                started = time.perf_counter()
                await htm_replay.sync_robot(connection, group, newcomer)
                took.append((time.perf_counter() - started) * 1000)
    return took


async def compare(server: postgres.Server, chosen: options.Options) -> dict[str, list[Figures]]:
    """The rounds of ours and the limit, in turns, then HTM's."""
    missed, tokens = (QUICK_MISSED, QUICK_TOKENS) if chosen.quick else (MISSED, TOKENS)
    rounds: dict[str, list[Figures]] = {"ours": [], "limit": []}
    bare = server.database("bare_rows")
    async with full_group(server, tokens) as group:
        memories = (await group.robot.status()).working_memory_nodes
        await bare_tables(bare, memories, missed)
        for _ in range(chosen.rounds):
            rounds["ours"].append({"catch_up_10000_ms": await catching_up(group, missed)})
            read = await bare_read(bare, b"SELECT * FROM changes ORDER BY revision")
            rounds["limit"].append({"catch_up_10000_ms": read})
        for _ in range(QUICK_WARM_UPS if chosen.quick else WARM_UPS):
            rounds["ours"].append({"warm_up_ms": await warming_up(group)})
            read = await bare_read(bare, b"SELECT * FROM working_memory ORDER BY id")
            rounds["limit"].append({"warm_up_ms": read})
    if "htm" in chosen.peers:
        rounds["htm"] = [{"warm_up_ms": took} for took in await htm_joins(server, memories)]
    return rounds
