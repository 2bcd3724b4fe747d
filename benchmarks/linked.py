"""The writing ends of bench-sync; ``benchmarks.listener`` has the listening ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import psycopg

from benchmarks import ours
from benchmarks.harness.texts import text
from benchmarks.listener import BARE_CHANNEL
from benchmarks.peers import htm_replay
from robotgroups import migrations
from robotgroups.models import GroupSettings
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

SERIES = "sync"


class Link(Protocol):
    """A writer, and what its listeners need to know: ``exact`` if each write is seen under its own value."""

    dsn: str
    group: str
    robots: Sequence[str]
    exact: bool

    async def write(self, number: int) -> int:
        """Write, durably; returns the value under which listeners see it."""

    def goal(self) -> int:
        """How far a listener is that has seen everything."""


OpenLink = Callable[[str, int], AbstractAsyncContextManager[Link]]


@dataclass
class OurLink:
    """The active robot; a listener has seen a write when its cache is at the write's revision."""

    dsn: str
    group: str
    robots: Sequence[str]
    robot: HostedRobot
    last: int = 0
    exact = False

    async def write(self, number: int) -> int:
        """Remembers; the revision."""
        done = await self.robot.remember(text(number, SERIES).content)
        self.last = max(self.last, done.revision)
        return done.revision

    def goal(self) -> int:
        """The highest revision."""
        return self.last


@asynccontextmanager
async def ours_linked(dsn: str, listeners: int) -> AsyncIterator[OurLink]:
    """A group of one active robot, here, and of listening passive ones."""
    await migrations.migrate(dsn)
    names = [f"listener-{number}" for number in range(listeners)]
    async with await Store.open(dsn) as store:
        group_id = await ours.declare(store, 0, GroupSettings(max_tokens=ours.MAX_TOKENS), names)
        async with HostedRobot(store, group_id, ours.ACTIVE) as robot:
            yield OurLink(dsn, str(group_id), names, robot)


@dataclass
class BareLink:
    """NOTIFY with a number, on one connection."""

    dsn: str
    robots: Sequence[str]
    connection: psycopg.AsyncConnection
    one_at_a_time: asyncio.Lock
    last: int = 0
    group = ""
    exact = False

    async def write(self, number: int) -> int:  # noqa: ARG002
        """Announces the next number."""
        async with self.one_at_a_time:
            self.last += 1
            value = self.last
            await self.connection.execute("SELECT pg_notify(%s, %s)", (BARE_CHANNEL, str(value)), prepare=True)
            return value

    def goal(self) -> int:
        """The last number."""
        return self.last


@asynccontextmanager
async def bare_linked(dsn: str, listeners: int) -> AsyncIterator[BareLink]:
    """A connection that announces."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield BareLink(dsn, [str(number) for number in range(listeners)], connection, asyncio.Lock())


@dataclass
class HtmLink:
    """HTM's ``remember``, with rows for every member; a listener has seen a write when it has read the node."""

    dsn: str
    group: str
    robots: Sequence[str]
    writer: htm_replay.HtmWriter
    written: int = 0
    exact = True

    async def write(self, number: int) -> int:
        """Remembers; the node's id."""
        node = await self.writer.add(self.writer.groups[0], text(number, SERIES))
        self.written += 1
        return node

    def goal(self) -> int:
        """As many as were written."""
        return self.written


@asynccontextmanager
async def htm_linked(dsn: str, listeners: int) -> AsyncIterator[HtmLink]:
    """A group of a writing robot and of listening ones."""
    async with htm_replay.open_groups(dsn, groups=1, members=listeners + 1) as writer:
        yield HtmLink(dsn, writer.groups[0].channel, [str(number) for number in range(listeners)], writer)


def links(peers: Sequence[str]) -> dict[str, OpenLink]:
    """Who announces changes: LangGraph's store and mem0 do not."""
    known: dict[str, OpenLink] = {"ours": ours_linked, "limit": bare_linked, "htm": htm_linked}
    return {name: opener for name, opener in known.items() if name in {"ours", "limit", *peers}}


def noted(answer: str) -> list[tuple[int, int]]:
    """What a listener answered."""
    return [(value, at) for value, at in json.loads(answer)]
