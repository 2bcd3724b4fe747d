"""What the synchronous RobotGroup and Client do with memory in the same words, written once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from robotgroups.client import AsyncClient
from robotgroups.context import Context
from robotgroups.group import AsyncRobotGroup
from robotgroups.loop import Loop
from robotgroups.models import Memory
from robotgroups.updating import HISTORY, UNCHANGED, Expiry, MemoryVersion, Updated


class SyncVerbs(ABC):
    """Thin shells over the asynchronous core: what they take, give and raise is said there."""

    _loop: Loop

    @property
    @abstractmethod
    def _core(self) -> AsyncRobotGroup | AsyncClient:
        """The asynchronous core."""

    def working_memory(self) -> list[Memory]:
        """The shared working set, oldest first."""
        return self._loop.run(self._core.working_memory)

    def context(
        self,
        strategy: str = "balanced",
        max_tokens: int | None = None,
        query: str | None = None,
        *,
        scope: Mapping[str, str] | None = None,
    ) -> Context:
        """The working set as text for an LLM, what matches ``query`` first; of ``scope`` alone, when one is given."""
        return self._loop.run(self._core.context, strategy=strategy, max_tokens=max_tokens, query=query, scope=scope)

    def pin(self, *memory_ids: int) -> int:
        """Keep memories in the working set until they are unpinned; returns how many were not."""
        return self._loop.run(self._core.pin, *memory_ids)

    def unpin(self, *memory_ids: int) -> int:
        """Let pinned memories go as others do; returns how many were pinned."""
        return self._loop.run(self._core.unpin, *memory_ids)

    def clear_working_memory(self) -> int:
        """Empty the working set but for what is pinned; returns how many left it."""
        return self._loop.run(self._core.clear_working_memory)

    def get(self, memory_id: int) -> Memory:
        """One memory, be it forgotten."""
        return self._loop.run(self._core.get, memory_id)

    def update(
        self,
        memory_id: int,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Updated:
        """Change what a memory says; what it said before stays in its history."""
        return self._loop.run(
            self._core.update, memory_id, content, tags=tags, metadata=metadata, expires_at=expires_at
        )

    def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory says and has said, newest first."""
        return self._loop.run(self._core.history, memory_id, limit=limit)

    def propositions(self, memory_id: int) -> list[str]:
        """The statements that a language model made of a memory; [] until they are extracted."""
        return self._loop.run(self._core.propositions, memory_id)

    def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int:
        """Remove memories for good: those with these ids, or those that have all of the scope and all of the tags."""
        return self._loop.run(self._core.erase, ids, scope=scope, tags=tags)
