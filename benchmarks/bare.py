"""The limit: the least that Postgres must be asked for the same, over plain tables, with the same driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.contenders import Writer
from benchmarks.harness.texts import Text

TABLE = """
CREATE TABLE memories (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id bigint NOT NULL,
    content text NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now())
"""
ONE = b"INSERT INTO memories (group_id, content, metadata) VALUES (%s, %s, %s) RETURNING id"
MANY = b"""
INSERT INTO memories (group_id, content, metadata)
SELECT g, c, '{}' FROM unnest(%s::bigint[], %s::text[]) AS x (g, c) RETURNING id
"""


@dataclass(frozen=True)
class Lone:
    """One INSERT a call, each committed by itself."""

    connection: psycopg.AsyncConnection

    async def remember(self, group: int, text: Text) -> None:
        """One INSERT and its commit."""
        cursor = await self.connection.execute(ONE, (group, text.content, Jsonb({})), prepare=True)
        await cursor.fetchone()


@dataclass
class Batched:
    """What concurrent callers ask for meanwhile goes into the next INSERT: group commit on one connection."""

    connection: psycopg.AsyncConnection
    waiting: list[tuple[int, Text, asyncio.Future[None]]] = field(default_factory=list)
    writing: asyncio.Task[None] | None = None

    async def remember(self, group: int, text: Text) -> None:
        """Its share of a batch."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((group, text, done))
        if self.writing is None or self.writing.done():
            self.writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            columns = [g for g, _, _ in batch], [t.content for _, t, _ in batch]
            try:
                cursor = await self.connection.execute(MANY, columns, prepare=True)
                await cursor.fetchall()
            except psycopg.Error as error:
                for _, _, done in batch:
                    done.set_exception(error)
                return
            for _, _, done in batch:
                done.set_result(None)


@asynccontextmanager
async def open_writer(dsn: str, *, groups: int, callers: int) -> AsyncIterator[Writer]:  # noqa: ARG001
    """A lone caller INSERTs one by one; several do so in batches, whatever the group."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(TABLE.encode())
        yield Lone(connection) if callers == 1 else Batched(connection)
