"""Groups whose robots are declared and live nowhere: everything is written as the owner, by the SDK's own methods."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest

from robotgroups.cache import Cache
from robotgroups.group import AsyncRobotGroup
from robotgroups.models import GroupKey, GroupSettings, Memory, Snapshot
from robotgroups.relating import relate_step
from robotgroups.store import Store


@dataclass
class Bench:
    """A database with groups."""

    dsn: str
    store: Store
    groups: list[AsyncRobotGroup] = field(default_factory=list)

    async def group(self, name: str, *, space: str | None = None, max_tokens: int = 1000) -> AsyncRobotGroup:
        """A group with an active robot ``robot``."""
        key = GroupKey("local", "default", name)
        group_id = await self.store.ensure_group(key, GroupSettings(space=space, max_tokens=max_tokens))
        await self.store.reconcile_members(group_id, ["robot"], [])
        made = AsyncRobotGroup(name, self.store, group_id)
        self.groups.append(made)
        return made

    async def close(self) -> None:
        """Close the groups' own connections."""
        for made in self.groups:
            await made._lexer.close()
            await made._remembers.close()

    async def sql(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run a statement as the owner."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), arguments)
            return await cursor.fetchall() if cursor.description else []

    async def settle(self, group: AsyncRobotGroup) -> int:
        """Do the background work of relations by tags until nothing waits; how many memories had waited."""
        total = 0
        while done := await relate_step(self.store, group._group_id):
            total += done
        waiting = await self.sql("SELECT count(*) FROM robotgroups.jobs WHERE kind = 'relate'")
        assert waiting == [(0,)]
        return total

    async def agree(self, group: AsyncRobotGroup) -> Cache:
        """A cache that takes every change of the feed, one by one, agrees with the snapshot (M3); so do the sums."""
        truth = await self.store.snapshot(group._group_id)
        cache = Cache(Snapshot(revision=0, epoch=0, max_tokens=truth.max_tokens, roles={}, working_memory=()))
        for change in await self.store.changes(group._group_id, 0, limit=100_000):
            cache.apply(change)
        assert (cache.revision, list(cache.memories.values())) == (truth.revision, list(truth.working_memory))
        sums = await self.sql(
            "SELECT working_memory_nodes, working_memory_tokens, pinned_tokens FROM robotgroups.groups WHERE id = %s",
            group._group_id,
        )
        held = truth.working_memory
        assert sums == [(len(held), sum(m.tokens for m in held), sum(m.tokens for m in held if m.pinned))]
        return cache

    async def memories(self, group: AsyncRobotGroup) -> dict[str, Memory]:
        """Every memory of the group's space by its content, forgotten ones too."""
        rows = await self.sql(
            "SELECT m.id FROM robotgroups.memories m JOIN robotgroups.groups g USING (space_id) WHERE g.id = %s",
            group._group_id,
        )
        found = [await group.get(memory_id) for (memory_id,) in rows]
        return {memory.content: memory for memory in found}


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[Bench]:
    async with await Store.open(dsn) as store:
        made = Bench(dsn, store)
        yield made
        await made.close()


@pytest.fixture
async def group(bench: Bench) -> AsyncRobotGroup:
    return await bench.group("alone")


@pytest.fixture
async def hive(bench: Bench) -> tuple[AsyncRobotGroup, AsyncRobotGroup]:
    """Two groups of one space."""
    return await bench.group("first", space="hive"), await bench.group("second", space="hive")


def without_time(memory: Memory) -> Memory:
    """For comparison of what was read at two times."""
    return replace(memory, score=None, parts=None)
