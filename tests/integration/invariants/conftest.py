"""A group whose robots live as presence sessions alone: what the SQL functions decide, without the engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict
from uuid import UUID, uuid4

import anyio
import psycopg
import pytest

from robotgroups.errors import MemoryUnavailableError
from robotgroups.models import GroupKey, GroupSettings, Registration, Remembered, RobotStatus
from robotgroups.presence import PresenceSession
from robotgroups.store import Store

from .library import EMBEDDING, Library
from .populating import Sql


class Claim(TypedDict):
    """Who writes, under which tenure."""

    robot: str
    tenure: int


class Words(TypedDict):
    """What a detector says."""

    reason: str
    detected_by: str


KEY = GroupKey("local", "default", "invariants")


@dataclass
class Robot:
    """A robot that lives: its session and what it was told at registration."""

    name: str
    incarnation: UUID
    session: PresenceSession
    registration: Registration


@dataclass
class Group:
    """The group under test."""

    dsn: str
    store: Store
    id: int
    robots: dict[str, Robot] = field(default_factory=dict)

    async def arrive(
        self, name: str, *, warm: bool = True, incarnation: UUID | None = None, replace: bool = False
    ) -> Robot:
        """Start a robot; a warm one has applied everything."""
        incarnation = incarnation or uuid4()
        session = await PresenceSession.open(self.dsn, self.id, incarnation)
        try:
            registration = await session.register(name, f"http://{name}:8080", replace=replace)
        except BaseException:
            await session.close()
            raise
        robot = self.robots[name] = Robot(name, incarnation, session, registration)
        await session.beat(name, applied=registration.revision, warm=warm)
        return robot

    async def die(self, name: str) -> Robot:
        """End a robot as SIGKILL does: its session goes, nothing is said; returns when Postgres has noticed."""
        robot = self.robots.pop(name)
        await robot.session.close()
        with anyio.fail_after(5):
            while (await self.robot(name)).live:
                await anyio.sleep(0.01)
        return robot

    async def session_ends(self, robot: Robot) -> bool:
        """Wait until a robot's session is ended by Postgres; until then no beat of it may count."""
        with anyio.move_on_after(5):
            while True:
                try:
                    beat = await robot.session.beat(robot.name, applied=1, warm=True)
                except MemoryUnavailableError:
                    await robot.session.close()
                    return True
                assert not beat.current
        return False

    async def robot(self, name: str) -> RobotStatus:
        """What Postgres knows of a robot."""
        return next(r for r in (await self.store.status(self.id)).robots if r.name == name)

    async def roles(self) -> dict[str, str]:
        """Role of every robot."""
        return {r.name: r.role.value for r in (await self.store.status(self.id)).robots}

    async def remember(self, content: str, tokens: int = 1, *, robot: str = "a", key: str | None = None) -> Remembered:
        """Remember under the robot's present tenure."""
        tenure = (await self.robot(robot)).tenure
        return await self.store.remember(self.id, robot=robot, tenure=tenure, content=content, tokens=tokens, key=key)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Sql]:
        """What runs statements as the owner, in one session."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:

            async def run(statement: str, *arguments: object) -> list[tuple[Any, ...]]:
                cursor = await connection.execute(statement.encode(), arguments)
                return await cursor.fetchall() if cursor.description else []

            yield run

    async def sql(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run a statement as the owner, in a session of its own."""
        async with self.session() as run:
            return await run(statement, *arguments)

    async def script(self, statements: str) -> None:
        """Run statements as the owner."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute(statements.encode())


@pytest.fixture
async def group(dsn: str) -> AsyncIterator[Group]:
    """A group of a (active), b and c (passive), with a budget of 100 tokens; nobody lives yet."""
    async with await Store.open(dsn) as store:
        group_id = await store.ensure_group(KEY, GroupSettings(max_tokens=100))
        await store.reconcile_members(group_id, ["a"], ["b", "c"])
        group = Group(dsn, store, group_id)
        yield group
        for robot in group.robots.values():
            await robot.session.close()


@pytest.fixture
async def library(group: Group) -> AsyncIterator[Library]:
    """The group with a model of three dimensions; a lives."""
    await group.store.ensure_group(KEY, GroupSettings(max_tokens=100, embedding=EMBEDDING))
    await group.arrive("a")
    ((model,),) = await group.sql("SELECT serving_model FROM robotgroups.spaces WHERE serving_model IS NOT NULL")
    async with group.session() as sql:
        made = Library(group, model, sql)
        yield made
        await made.writer.close()
