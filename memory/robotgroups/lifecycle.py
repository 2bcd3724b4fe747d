"""The life of memories after they were remembered, as a robot and a group in this process see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from robotgroups.erasing import Erased, Erasure
from robotgroups.errors import ArgumentError
from robotgroups.models import Memory
from robotgroups.updating import HISTORY, UNCHANGED, Expiry, MemoryVersion, Patch, Updated
from robotgroups.verbs import Verbs

MAX_HISTORY = 1000


class LifecycleVerbs(Verbs):
    """Get, update, history, propositions and erase."""

    async def get(self, memory_id: int) -> Memory:
        """One memory, be it forgotten. UnknownMemoryError, also when it has expired."""
        return await self._store.memory(self._group_id, memory_id)

    async def update(
        self,
        memory_id: int,
        content: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Expiry = UNCHANGED,
    ) -> Updated:
        """Change what a memory says; what it said before stays in its history, the newest 1,000 versions of it.

        What is None stays; tags and metadata are replaced as a whole. ``expires_at`` None: it does not expire any more.

        Raises:
            UnknownMemoryError: there is none, or it has expired.
            ArgumentError: a value that cannot be; another memory says this already (the message names it); it is pinned
                and does not fit any more.
            NotActiveError, NoActiveRobotError, MemoryUnavailableError.

        """
        patch = Patch.checked(content, tags=tags, metadata=metadata, expires_at=expires_at)
        done = await self._written(
            lambda robot, tenure: self._store.update(
                self._group_id, robot=robot, tenure=tenure, memory_id=memory_id, patch=patch, tokenizer=self._tokenizer
            )
        )
        self._acknowledge(done.revision)
        return done

    async def history(self, memory_id: int, *, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory says and has said, newest first. UnknownMemoryError; ArgumentError: a limit out of 1..1000."""
        if not 1 <= limit <= MAX_HISTORY:
            raise ArgumentError(f"limit must be between 1 and {MAX_HISTORY}, not {limit}")
        return await self._store.history(self._group_id, memory_id, limit)

    async def propositions(self, memory_id: int) -> list[str]:
        """The statements that a language model made of a memory, each of which stands by itself.

        [] until they are extracted, and when the group extracts none. UnknownMemoryError, also when it has expired.
        """
        return await self._store.propositions(self._group_id, memory_id)

    async def erase(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        scope: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
    ) -> int:
        """Remove memories for good, with everything that was made of them; returns how many there were.

        Those with these ids, or else those that have all of the scope and all of the tags. Nothing brings them back:
        they leave every table, the feed and every cache (a backup made before still has them). Many are erased in
        transactions of 200; interrupted, do it again.

        Raises:
            ArgumentError: neither ids nor a scope nor tags.
            NotActiveError, NoActiveRobotError, MemoryUnavailableError.

        """
        erasure = Erasure.checked(ids, scope=scope, tags=tags)
        done = await self._erase(erasure, 0)
        count = done.count
        while done.last is not None:
            done = await self._erase(erasure, done.last)
            count += done.count
        return count

    async def _erase(self, erasure: Erasure, after: int) -> Erased:
        done = await self._written(
            lambda robot, tenure: self._store.erase(
                self._group_id, robot=robot, tenure=tenure, erasure=erasure, after=after
            )
        )
        self._acknowledge(done.revision)
        return done
