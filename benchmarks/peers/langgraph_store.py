"""LangGraph's AsyncPostgresStore, as its users call it. One connection: it runs one batch at a time anyhow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from langgraph.store.postgres.aio import AsyncPostgresStore

from benchmarks.contenders import Embed, OpenWriter
from benchmarks.harness.texts import Text
from benchmarks.harness.vectors import DIMENSIONS


@dataclass(frozen=True)
class LangGraphWriter:
    """``aput``, which gathers concurrent puts into one statement."""

    store: AsyncPostgresStore

    async def remember(self, group: int, text: Text) -> None:
        """Puts it under the group's namespace."""
        await self.store.aput(("group", str(group)), str(text.number), {"content": text.content, "tags": [text.tag]})


@asynccontextmanager
async def open_writer(dsn: str, *, groups: int, callers: int) -> AsyncIterator[LangGraphWriter]:  # noqa: ARG001
    """A store without an index: it keeps, and finds by key or filter only."""
    async with AsyncPostgresStore.from_conn_string(dsn) as store:
        await store.setup()
        yield LangGraphWriter(store)


def open_index_writer(embed: Embed) -> OpenWriter:
    """As ``open_writer``, with a vector index over the content (HNSW, its defaults)."""

    async def embed_all(texts: Sequence[str]) -> list[list[float]]:
        return [embed(text) for text in texts]

    @asynccontextmanager
    async def opened(dsn: str, *, groups: int, callers: int) -> AsyncIterator[LangGraphWriter]:  # noqa: ARG001
        index = {"dims": DIMENSIONS, "embed": embed_all, "fields": ["content"]}
        async with AsyncPostgresStore.from_conn_string(dsn, index=index) as store:
            await store.setup()
            yield LangGraphWriter(store)

    return opened
