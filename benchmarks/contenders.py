"""What a benchmark asks of everybody alike: ours, the limit and the peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

from benchmarks.harness.texts import Query, Text


class Writer(Protocol):
    """Stores memories; each call returns once the memory is durable."""

    async def remember(self, group: int, text: Text) -> None:
        """Store one memory for a group (0, 1, …)."""


class OpenWriter(Protocol):
    """Opens a writer over an empty database for so many groups and at most so many concurrent callers."""

    def __call__(self, dsn: str, *, groups: int, callers: int) -> AbstractAsyncContextManager[Writer]:
        """Open it."""


class Strategy(StrEnum):
    """How a search finds."""

    FULLTEXT = "fulltext"
    VECTOR = "vector"
    HYBRID = "hybrid"


Embed = Callable[[str], list[float]]


class Searcher(Protocol):
    """Finds memories of a corpus that it has loaded."""

    @property
    def strategies(self) -> frozenset[Strategy]:
        """How it can search."""

    async def search(
        self, strategy: Strategy, query: Query, vector: Sequence[float], limit: int, *, tagged: bool = False
    ) -> list[int]:
        """The numbers of the best texts of the query's group, best first; with its tag only, if ``tagged``."""


class OpenSearcher(Protocol):
    """Opens a searcher over the staged corpus; the connection string leads to a schema of its own, of this name."""

    def __call__(self, dsn: str, schema: str) -> AbstractAsyncContextManager[Searcher]:
        """Open it."""
