"""LangGraph's AsyncPostgresStore, as its users call it. One connection: it runs one batch at a time anyhow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from langgraph.store.postgres.aio import AsyncPostgresStore

from benchmarks.contenders import Embed, OpenSearcher, OpenWriter, Strategy
from benchmarks.corpus import fill
from benchmarks.harness.texts import Query, Text
from benchmarks.harness.vectors import DIMENSIONS


@dataclass(frozen=True)
class LangGraphWriter:
    """``aput``, which gathers concurrent puts into one statement."""

    store: AsyncPostgresStore

    async def remember(self, group: int, text: Text) -> None:
        """Puts it under the group's namespace."""
        await self.store.aput(("group", str(group)), str(text.number), {"content": text.content})


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


FILL = """
INSERT INTO store (prefix, key, value)
SELECT 'group.' || group_number, number::text, jsonb_build_object('content', content, 'tag', tag) FROM corpus
"""
FILL_VECTORS = """
INSERT INTO store_vectors (prefix, key, field_name, embedding)
SELECT 'group.' || group_number, number::text, 'content', embedding FROM corpus
"""


@dataclass(frozen=True)
class LangGraphSearcher:
    """``asearch`` by vector; it has no full text."""

    store: AsyncPostgresStore
    strategies = frozenset({Strategy.VECTOR})

    async def search(
        self,
        strategy: Strategy,  # noqa: ARG002
        query: Query,
        vector: Sequence[float],  # noqa: ARG002  it embeds the query itself
        limit: int,
        *,
        tagged: bool = False,
    ) -> list[int]:
        """Searches the group's namespace."""
        found = await self.store.asearch(
            ("group", str(query.group)), query=query.words, filter={"tag": query.tag} if tagged else None, limit=limit
        )
        return [int(item.key) for item in found]


def open_searcher(embed: Embed) -> OpenSearcher:
    """Opens a store with the corpus and this embedding of queries."""

    @asynccontextmanager
    async def opened(dsn: str, schema: str) -> AsyncIterator[LangGraphSearcher]:
        async with open_index_writer(embed)(dsn, groups=1, callers=1) as writer:
            assert isinstance(writer, LangGraphWriter)
            await fill(dsn, schema, FILL, FILL_VECTORS)
            yield LangGraphSearcher(writer.store)

    return opened
