"""Robots that live in the test's process, in a group of their own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from robot_process import until

from robotgroups.cancelling import cancelled
from robotgroups.models import GroupKey, GroupSettings, RobotStatus, Snapshot
from robotgroups.presence import application_name
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

KEY = GroupKey("local", "default", "engine")
LIMIT_S = 15


@dataclass
class Group:
    """A group of a (active), b and c (passive), not yet hosted; `writer` is another process' store."""

    dsn: str
    admin_dsn: str
    store: Store
    writer: Store
    id: int
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def host(self, name: str, **options: Any) -> HostedRobot:
        """Starts a robot; it is stopped at the end of the test."""
        return await self.stack.enter_async_context(HostedRobot(self.store, self.id, name, **options))

    async def write(self, content: str, *, tokens: int = 1) -> int:
        """Remembers from outside; the revision."""
        done = await self.writer.remember(self.id, robot=None, tenure=None, content=content, tokens=tokens)
        return done.revision

    async def robot(self, name: str) -> RobotStatus:
        """What Postgres knows of a robot."""
        return next(r for r in (await self.store.status(self.id)).robots if r.name == name)

    async def sql(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Runs a statement as superuser."""
        async with await psycopg.AsyncConnection.connect(self.admin_dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), arguments)
            return await cursor.fetchall() if cursor.description else []

    async def cut(self, robot: HostedRobot) -> int:
        """Ends every session that the robot's process has with Postgres; how many."""
        return len(
            await self.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name IN ('robotgroups', %s)",
                application_name(robot.incarnation),
            )
        )

    async def kill(self, robot: HostedRobot) -> None:
        """Ends a robot as SIGKILL does: its session goes, nothing is said; returns when Postgres has noticed."""
        tasks, robot._tasks = robot._tasks, []
        await cancelled(tasks)
        await robot._heart.stop(withdraw=False)
        await robot._links.close()
        await robot._session.close()

        async def dead() -> bool:
            return not (await self.robot(robot.name)).live

        await until(dead, f"{robot.name} is dead", LIMIT_S)

    async def agrees(self, robot: HostedRobot) -> None:
        """Waits until the robot's cache has the group's revision; then it must equal the group (M3)."""

        async def at_one_revision() -> Snapshot | None:
            truth = await self.writer.snapshot(self.id)
            return truth if robot.revision == truth.revision else None

        truth = await until(at_one_revision, f"{robot.name} reaches the group's revision", LIMIT_S)
        assert robot.epoch == truth.epoch
        assert dict(robot.cache.roles) == dict(truth.roles)
        assert list(robot.cache.memories.values()) == list(truth.working_memory)
        assert robot.cache.tokens == sum(m.tokens for m in truth.working_memory)


@pytest.fixture
async def group(dsn: str, admin_dsn: str) -> AsyncIterator[Group]:
    async with await Store.open(dsn) as store, await Store.open(dsn, application_name="writer") as writer:
        group_id = await store.ensure_group(KEY, GroupSettings(max_tokens=1000, heartbeat_ms=200, lease_ms=1500))
        await store.reconcile_members(group_id, ["a"], ["b", "c"])
        group = Group(dsn, admin_dsn, store, writer, group_id)
        async with group.stack:
            yield group
