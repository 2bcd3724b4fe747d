"""A robot's memory for somebody who is limited to one scope: no other memory exists for them.

What is not here they may not do: it concerns memories of others, or the group. A memory's scope never changes, so what
has been looked up stays true until the write that follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from robotgroups.context import Context
from robotgroups.erasing import Erasure
from robotgroups.errors import UnknownMemoryError
from robotgroups.filing import CHUNK_TOKENS, FileSync, LoadedFile, Unloaded
from robotgroups.group_commit import Outcome
from robotgroups.limits import check_scope
from robotgroups.member import Member
from robotgroups.memories import Memory, Remembered, Revised
from robotgroups.recall import Recalled
from robotgroups.remembering import NewMemory
from robotgroups.scope import belongs, within
from robotgroups.timeframe import Timeframe
from robotgroups.updating import HISTORY, UNCHANGED, Expiry, MemoryVersion, Updated


class ScopedMember:
    """``Member``'s verbs as far as they concern one scope; each takes and raises what the member's does.

    What is asked for in a scope that is not within it raises NotPermittedError; a memory of another scope is an
    UnknownMemoryError, as one that does not exist. Working memory and its budget are the whole group's all the same:
    what is remembered or pinned here can evict memories of others.
    """

    def __init__(self, member: Member, scope: Mapping[str, str]) -> None:
        self._member = member
        self.scope = check_scope(scope)

    async def remember(
        self,
        content: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        originator: str | None = None,
        key: str | None = None,
        scope: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
    ) -> Remembered:
        """Remember within the scope."""
        memory = self._mine(NewMemory(content, tags, metadata, originator, key, scope, expires_at))
        return await self._member.remember(
            content,
            tags=tags,
            metadata=metadata,
            originator=originator,
            key=memory.key,
            scope=memory.scope,
            expires_at=expires_at,
        )

    async def remember_each(self, memories: Sequence[NewMemory]) -> list[Outcome]:
        """Remember many within the scope."""
        return await self._member.remember_each([self._mine(memory) for memory in memories])

    async def recall(
        self,
        query: str,
        *,
        limit: int | None = None,
        strategy: str = "fulltext",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        timeframe: Timeframe | None = None,
        timezone: str = "UTC",
        scope: Mapping[str, str] | None = None,
        originators: Sequence[str] = (),
        include_forgotten: bool = False,
        into_working_memory: bool = False,
        weights: Mapping[str, float] | None = None,
        relevance: bool | Mapping[str, float] = False,
        explain: bool = False,
        widen: int = 0,
    ) -> Recalled:
        """Search the memories of the scope."""
        return await self._member.recall(
            query,
            limit=limit,
            strategy=strategy,
            tags=tags,
            metadata=metadata,
            timeframe=timeframe,
            timezone=timezone,
            scope=within(self.scope, scope),
            originators=originators,
            include_forgotten=include_forgotten,
            into_working_memory=into_working_memory,
            weights=weights,
            relevance=relevance,
            explain=explain,
            widen=widen,
        )

    async def working_memory(self) -> list[Memory]:
        """What the working set has of the scope, oldest first."""
        return [m for m in await self._member.working_memory() if belongs(m.scope, self.scope)]

    def context(
        self,
        *,
        strategy: str = "balanced",
        max_tokens: int | None = None,
        query: str | None = None,
        scope: Mapping[str, str] | None = None,
    ) -> Context:
        """What the working set has of the scope, as text for an LLM."""
        return self._member.context(
            strategy=strategy, max_tokens=max_tokens, query=query, scope=within(self.scope, scope)
        )

    async def get(self, memory_id: int) -> Memory:
        """One memory of the scope."""
        memory = await self._member.get(memory_id)
        if not belongs(memory.scope, self.scope):
            raise UnknownMemoryError(f"no memory has id {memory_id}")  # what SQL says of an id that there is not
        return memory

    async def update(
        self,
        memory_id: int,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Updated:
        """Change what a memory of the scope says."""
        await self.get(memory_id)
        return await self._member.update(memory_id, content, tags=tags, metadata=metadata, expires_at=expires_at)

    async def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory of the scope says and has said."""
        await self.get(memory_id)
        return await self._member.history(memory_id, limit=limit)

    async def propositions(self, memory_id: int) -> list[str]:
        """What a language model made of a memory of the scope."""
        await self.get(memory_id)
        return await self._member.propositions(memory_id)

    async def forget(self, memory_id: int) -> Revised:
        """Hide a memory of the scope."""
        await self.get(memory_id)
        return await self._member.forget(memory_id)

    async def restore(self, memory_id: int) -> Revised:
        """Bring a forgotten memory of the scope back."""
        await self.get(memory_id)
        return await self._member.restore(memory_id)

    async def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int:
        """Remove memories of the scope for good; of the ids those that are of it."""
        erasure = Erasure.checked(ids, scope=scope, tags=tags)  # the token's own scope is not what was said
        if erasure.ids is None:
            return await self._member.erase(scope=within(self.scope, scope), tags=erasure.tags)
        return await self._member.erase([memory_id for memory_id in erasure.ids if await self._has(memory_id)])

    async def pin(self, *memory_ids: int) -> int:
        """Keep memories of the scope in the working set."""
        for memory_id in memory_ids:
            await self.get(memory_id)
        return await self._member.pin(*memory_ids)

    async def unpin(self, *memory_ids: int) -> int:
        """Let pinned memories of the scope go as others do."""
        for memory_id in memory_ids:
            await self.get(memory_id)
        return await self._member.unpin(*memory_ids)

    # -- files: one is known by its path and its scope, and its memories have that scope -----------------------------

    async def load_text(
        self,
        path: str,
        text: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> FileSync:
        """Load a file of the scope."""
        return await self._member.load_text(
            path, text, tags=tags, metadata=metadata, scope=within(self.scope, scope), chunk_tokens=chunk_tokens
        )

    async def files(self, *, scope: Mapping[str, str] | None = None) -> list[LoadedFile]:
        """The files of the scope that are loaded."""
        return await self._member.files(scope=within(self.scope, scope))

    async def unload_text(self, path: str, *, scope: Mapping[str, str] | None = None) -> Unloaded:
        """Unload a file of the scope."""
        return await self._member.unload_text(path, scope=within(self.scope, scope))

    async def _has(self, memory_id: int) -> bool:
        try:
            await self.get(memory_id)
        except UnknownMemoryError:
            return False
        return True

    def _mine(self, memory: NewMemory) -> NewMemory:
        return replace(memory, scope=within(self.scope, memory.scope), key=self._key(memory.key))

    def _key(self, key: str | None) -> str | None:
        """Idempotency keys are the group's: those of each scope are kept apart, none can take or test another's."""
        if key is None:
            return None
        return "scoped:" + hashlib.sha256(json.dumps([self.scope, key]).encode()).hexdigest()
