"""mem0's vector store for Postgres, used directly: what its memory does with Postgres, without the LLM before it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import gettempdir
from typing import Any

# It would report its use, and make a directory in the home, on import.
os.environ["MEM0_TELEMETRY"] = "False"
os.environ.setdefault("MEM0_DIR", os.path.join(gettempdir(), f"mem0-{os.getpid()}"))

from mem0.utils.scoring import get_bm25_params, normalize_bm25, score_and_rank
from mem0.vector_stores.pgvector import OutputData, PGVector

from benchmarks.contenders import Embed, OpenWriter, Strategy
from benchmarks.corpus import fill
from benchmarks.harness.texts import Query, Text
from benchmarks.harness.vectors import DIMENSIONS

CONNECTIONS = 5  # its default


def store(dsn: str) -> PGVector:
    """The store with its defaults: HNSW over the vectors, GIN over the lemmatized text."""
    return PGVector(
        dbname="", collection_name="mem0", embedding_model_dims=DIMENSIONS, user=None, password=None, host=None,
        port=None, diskann=False, hnsw=True, maxconn=CONNECTIONS, connection_string=dsn,
    )  # fmt: skip


def payload(group: int, text: Text) -> dict[str, Any]:
    """What mem0 keeps of a memory. Lemmatizing (spaCy) is left out: the text stands for its own lemmas."""
    now = datetime.now(UTC).isoformat()
    return {
        "data": text.content, "text_lemmatized": text.content, "hash": uuid.uuid4().hex, "user_id": str(group),
        "created_at": now, "updated_at": now,
    }  # fmt: skip


@dataclass(frozen=True)
class Mem0Writer:
    """``insert``, which blocks: each caller has a thread."""

    store: PGVector
    embed: Embed
    threads: ThreadPoolExecutor

    async def remember(self, group: int, text: Text) -> None:
        """Inserts one vector with its payload."""
        await asyncio.get_running_loop().run_in_executor(self.threads, self._insert, group, text)

    def _insert(self, group: int, text: Text) -> None:
        self.store.insert([self.embed(text.content)], [payload(group, text)], [str(uuid.uuid4())])


def open_writer(embed: Embed) -> OpenWriter:
    """Opens the store with this embedding."""

    @asynccontextmanager
    async def opened(dsn: str, *, groups: int, callers: int) -> AsyncIterator[Mem0Writer]:  # noqa: ARG001
        opened = store(dsn)
        opened.create_col()
        with ThreadPoolExecutor(callers) as threads:
            yield Mem0Writer(opened, embed, threads)
        opened.connection_pool.close()

    return opened


FILL = """
INSERT INTO mem0 (id, vector, payload)
SELECT gen_random_uuid(), embedding, jsonb_build_object('data', content, 'text_lemmatized', content,
    'hash', md5(content), 'user_id', group_number::text, 'tag', tag, 'number', number,
    'created_at', '2026-01-01T00:00:00+00:00', 'updated_at', '2026-01-01T00:00:00+00:00') FROM corpus
"""
THRESHOLD = 0.1  # its default
POOL = 60  # candidates of each search, for a limit of 15 or less


@dataclass(frozen=True)
class Mem0Searcher:
    """``search``, ``keyword_search``, and both with its own scoring, as its memory's search does (but for entities)."""

    store: PGVector
    strategies = frozenset(Strategy)

    async def search(
        self, strategy: Strategy, query: Query, vector: Sequence[float], limit: int, *, tagged: bool = False
    ) -> list[int]:
        """Searches the group's user. It blocks; nothing else runs meanwhile."""
        filters = {"user_id": str(query.group)} | ({"tag": query.tag} if tagged else {})
        if strategy is Strategy.VECTOR:
            return _numbers(self.store.search(query.words, list(vector), limit, filters))
        if strategy is Strategy.FULLTEXT:
            return _numbers(self.store.keyword_search(query.words, limit, filters) or [])
        return self._hybrid(query.words, list(vector), limit, filters)

    def _hybrid(self, words: str, vector: list[float], limit: int, filters: dict[str, str]) -> list[int]:
        semantic = self.store.search(words, vector, POOL, filters)
        keyword = self.store.keyword_search(words, POOL, filters) or []
        middle, steepness = get_bm25_params(words, lemmatized=words)
        ranked = score_and_rank(
            semantic_results=[{"id": r.id, "score": r.score, "payload": r.payload} for r in semantic],
            bm25_scores={str(r.id): normalize_bm25(r.score, middle, steepness) for r in keyword if r.score},
            entity_boosts={}, threshold=THRESHOLD, top_k=limit,
        )  # fmt: skip
        return [int(found["payload"]["number"]) for found in ranked]


def _numbers(found: Sequence[OutputData]) -> list[int]:
    return [int((result.payload or {})["number"]) for result in found]


@asynccontextmanager
async def open_searcher(dsn: str, schema: str) -> AsyncIterator[Mem0Searcher]:
    """The store with the corpus."""
    opened = store(dsn)
    opened.create_col()
    await fill(dsn, schema, FILL)
    yield Mem0Searcher(opened)
    opened.connection_pool.close()
