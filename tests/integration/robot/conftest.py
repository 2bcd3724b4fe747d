from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from robot_process import RobotProcess, robots, until

from robotgroups.models import GroupKey, GroupSettings
from robotgroups.store import Store, robot_dsn

KEY = GroupKey("cluster-uid", "namespace-uid", "support")
TOKEN = "a-token-of-the-group"
SETTINGS = GroupSettings(max_tokens=8000, heartbeat_ms=200, lease_ms=3000)
PASSWORD = "a-password-of-the-login"


@dataclass
class Group:
    """A declared group with its robots' processes, and the owner's view of it."""

    store: Store
    id: int
    robots: dict[str, RobotProcess]

    def __getitem__(self, name: str) -> RobotProcess:
        return self.robots[name]

    async def start(self, *names: str) -> None:
        """Starts robots and waits until they are ready."""
        for name in names:
            self[name].start()
        for name in names:
            await self[name].ready()

    async def roles(self) -> dict[str, str]:
        """Role of every robot, as Postgres has it."""
        return {r.name: r.role.value for r in (await self.store.status(self.id)).robots}

    async def until_roles(self, **roles: str) -> None:
        """Waits for these roles."""

        async def met() -> bool:
            now = await self.roles()
            return all(now.get(name) == role for name, role in roles.items())

        await until(met, f"roles {roles}")

    async def contents(self) -> list[str]:
        """Contents of the working memory, as Postgres has it, sorted."""
        return sorted(m.content for m in (await self.store.snapshot(self.id)).working_memory)


@asynccontextmanager
async def declared(dsn: str, directory: Path, active: list[str], passive: list[str]) -> AsyncIterator[Group]:
    """A group as the operator declares it: settings, members and a login of its own."""
    async with await Store.open(dsn) as store:
        group_id = await store.ensure_group(KEY, SETTINGS)
        await store.reconcile_members(group_id, active, passive)
        login = await store.ensure_login(group_id, PASSWORD)
        async with robots([*active, *passive], KEY, robot_dsn(dsn, login, PASSWORD), TOKEN, directory) as made:
            yield Group(store, group_id, made)
        await store.delete_group(group_id)


@pytest.fixture
async def group(dsn: str, tmp_path: Path) -> AsyncIterator[Group]:
    """One active and one passive robot, declared and not started."""
    async with declared(dsn, tmp_path, ["primary"], ["standby"]) as made:
        yield made


async def events(stream: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Events of a stream, as dictionaries of their fields."""
    fields: dict[str, str] = {}
    async for line in stream.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield fields
            fields = {}
