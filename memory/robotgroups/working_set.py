"""What a robot and a group in this process can do with the working set beside reading it."""

from __future__ import annotations

from collections.abc import Sequence

from robotgroups.verbs import Verbs


class WorkingSetVerbs(Verbs):
    """Pinned memories are never evicted nor cleared."""

    async def pin(self, *memory_ids: int) -> int:
        """Keep memories in the working set until they are unpinned; returns how many were not.

        Raises:
            ArgumentError: they do not fit beside what is pinned.
            UnknownMemoryError, NotActiveError, NoActiveRobotError, MemoryUnavailableError.

        """
        return await self._pin(memory_ids, pinned=True)

    async def unpin(self, *memory_ids: int) -> int:
        """Let pinned memories go as others do; returns how many were pinned. Errors as ``pin``."""
        return await self._pin(memory_ids, pinned=False)

    async def _pin(self, memory_ids: Sequence[int], *, pinned: bool) -> int:
        changed, revision = await self._written(
            lambda robot, tenure: self._store.pin(
                self._group_id, robot=robot, tenure=tenure, memory_ids=memory_ids, pinned=pinned
            )
        )
        self._acknowledge(revision)
        return changed
