"""Groups that are exported and imported, by the library."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from robotgroups.cache import Cache
from robotgroups.memories import Memory
from robotgroups.models import GroupKey, GroupSettings, Snapshot
from robotgroups.remembering import NewMemory, items_of
from robotgroups.store import Store
from robotgroups.transfer import exporting
from robotgroups.transfer.format import LineKind, Position, Tally, kind_of, line_of
from robotgroups.transfer.importing import Done, Reader, import_lines

COUNTED = {LineKind.MEMORY, LineKind.EMBEDDING, LineKind.VERSION, LineKind.RELATION}
HEADER = line_of(LineKind.HEADER, {"format": "robotgroups", "version": 1})
END = line_of(LineKind.END, {})


@dataclass
class World:
    """A database with groups in it, of which robot `a` is the active one."""

    dsn: str
    store: Store

    async def group(self, name: str, **settings: Any) -> int:
        """Make a group."""
        group_id = await self.store.ensure_group(GroupKey("local", "default", name), GroupSettings(**settings))
        await self.store.reconcile_members(group_id, ["a"], [])
        return group_id

    async def remember(self, group_id: int, *memories: NewMemory | str) -> list[int]:
        """Remember; the ids."""
        writer = self.store.session(group_id)
        try:
            items = items_of([m if isinstance(m, NewMemory) else NewMemory(m) for m in memories], "cl100k_base")
            return [done.id for done in (await writer.remember(None, None, items)).outcomes]  # type: ignore[union-attr]
        finally:
            await writer.close()

    async def export(self, group_id: int, *, embeddings: bool = False) -> list[bytes]:
        """The lines of an export."""
        export = await exporting.plan(self.store, group_id, embeddings=embeddings)
        lines = [export.header.line()]
        async for page in exporting.pages(self.store, export, Position()):
            lines += page
        tally = Tally()
        for line in lines:
            tally.add(line, kind_of(line))
        return [*lines, tally.end().line()]

    async def bring_in(self, group_id: int, lines: Sequence[bytes], **options: Any) -> Done:
        """Import lines."""
        return await import_lines(self.store, group_id, Reader(iter(lines)), **options)

    async def replayed(self, group_id: int) -> Cache:
        """A cache that took every change, one by one, and never held more than it may (M4)."""
        truth = await self.store.snapshot(group_id)
        cache = Cache(Snapshot(revision=0, epoch=0, max_tokens=truth.max_tokens, roles={}, working_memory=()))
        while changes := await self.store.changes(group_id, cache.revision):
            for change in changes:
                cache.apply(change)
                assert cache.tokens <= truth.max_tokens
        assert cache.revision == truth.revision
        return cache

    async def sql(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run a statement as the owner."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), arguments)
            return await cursor.fetchall() if cursor.description else []


def memory_line(text: str, **more: Any) -> bytes:
    return line_of(LineKind.MEMORY, {"content": text, "originator": "a", **more})


def by_hand(*lines: bytes, header: bytes = HEADER) -> list[bytes]:
    """An export that somebody wrote."""
    return [header, *lines, END]


async def all_memories(world: World, group_id: int) -> list[Memory]:
    """Every memory of the group's space, forgotten ones too."""
    rows = await world.sql(
        "SELECT m.id FROM robotgroups.memories m JOIN robotgroups.groups g USING (space_id) WHERE g.id = %s ORDER BY 1",
        group_id,
    )
    return [await world.store.memory(group_id, memory_id) for (memory_id,) in rows]


def content(lines: Sequence[bytes]) -> list[str]:
    """What an export says of memories: its lines without header, marks and end."""
    return [line.decode() for line in lines if kind_of(line) in COUNTED]


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    async with await Store.open(dsn) as store:
        yield World(dsn, store)
