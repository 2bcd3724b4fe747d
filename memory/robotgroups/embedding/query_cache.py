"""Embeddings of queries, kept: one that was asked before costs no request, and all that ask it at once wait for one."""

from __future__ import annotations

from array import array
from hashlib import sha256

from async_lru import alru_cache

from robotgroups.embedding.config import EmbeddingConfig
from robotgroups.embedding.embedder import Embedder, Vector
from robotgroups.errors import ClosedError

# With 1536 dimensions 6 MB when full.
MAX_QUERIES = 512


class QueryCache:
    """The latest queries' vectors, ``max_queries`` of them; the one that was not used for longest goes first.

    What failed is not kept. A query is waited for together by all that ask it; when all of them give up, it is dropped.
    """

    def __init__(self, embedder: Embedder, max_queries: int = MAX_QUERIES) -> None:
        self._embedder = embedder
        self._closed = False
        # by their hash: a query may be long
        self._cached = alru_cache(max_queries, key=lambda text: sha256(text.encode(errors="surrogatepass")).digest())(
            self._embedded
        )

    @property
    def config(self) -> EmbeddingConfig:
        """The embedder's."""
        return self._embedder.config

    async def embed_query(self, text: str) -> Vector:
        """The vector of a query, of unit length. White space around it makes no difference.

        Raises:
            EmbeddingError, MissingFeatureError, ClosedError: as ``Embedder.embed``.

        """
        if self._closed:
            raise ClosedError("the cache of queries has been closed")
        return (await self._cached(text.strip())).tolist()

    async def aclose(self) -> None:
        """End what is under way. The embedder stays open: it is not the cache's."""
        self._closed = True
        await self._cached.cache_close()

    async def _embedded(self, text: str) -> array[float]:
        (vector,) = await self._embedder.embed([text])
        return array("d", vector)
