"""mem0's vector store for Postgres, used directly: what its memory does with Postgres, without the LLM before it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import gettempdir
from typing import Any

# It would report its use, and make a directory in the home, on import.
os.environ["MEM0_TELEMETRY"] = "False"
os.environ.setdefault("MEM0_DIR", os.path.join(gettempdir(), f"mem0-{os.getpid()}"))

from mem0.vector_stores.pgvector import PGVector

from benchmarks.contenders import Embed, OpenWriter
from benchmarks.harness.texts import Text
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
        "tag": text.tag, "number": text.number, "created_at": now, "updated_at": now,
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
