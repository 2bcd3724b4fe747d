"""SQL's lifecycle of memories and of the feed (sql/0013_lifecycle.sql), typed. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from psycopg.types.json import Jsonb

from robotgroups.erasing import BATCH, Erased, Erasure
from robotgroups.pool import Pool
from robotgroups.updating import HISTORY, MemoryVersion, Patch, Updated

# Of the feed stay the newest 1,000 changes and those of ten minutes, 100,000 at most: who is further behind gets there
# sooner by a snapshot.
KEEP, MOST, AGE = 1_000, 100_000, timedelta(minutes=10)
SWEEP = 5_000


@dataclass(frozen=True, slots=True)
class Retained:
    """One step of retention: how many memories were removed, and after which id to go on (0: it has seen all)."""

    removed: int
    next_after: int


class LifecycleStore(Pool):
    """What becomes of memories after they were remembered."""

    async def update(
        self, group_id: int, *, robot: str | None, tenure: int | None, memory_id: int, patch: Patch, tokenizer: str
    ) -> Updated:
        """Change what a memory says; what it said goes to its history. Done twice, it is done once.

        Raises:
            UnknownMemoryError: there is none, or it has expired.
            ArgumentError: another memory says this already (the message names it), it is pinned and would not fit, or
                ``expires_at`` is past. NotActiveError.

        """
        row = await self._row(
            "SELECT * FROM robotgroups.update_memory(%s, %s, %s, %s::bigint, %s)",
            (group_id, robot, tenure, memory_id, Jsonb(patch.as_json(tokenizer))),
        )
        return Updated(id=memory_id, **row)

    async def history(self, group_id: int, memory_id: int, limit: int = HISTORY) -> list[MemoryVersion]:
        """What a memory says and has said, newest first. UnknownMemoryError."""
        versions = await self._value(
            "SELECT robotgroups.memory_history(%s, %s::bigint, %s)", (group_id, memory_id, limit)
        )
        return [MemoryVersion.from_json(version) for version in versions]

    async def propositions(self, group_id: int, memory_id: int) -> list[str]:
        """What was extracted from a memory as statements, in their order; none yet is []. UnknownMemoryError."""
        return list(await self._value("SELECT robotgroups.memory_propositions(%s, %s::bigint)", (group_id, memory_id)))

    async def erase(
        self,
        group_id: int,
        *,
        robot: str | None,
        tenure: int | None,
        erasure: Erasure,
        after: int = 0,
        limit: int = BATCH,
    ) -> Erased:
        """Erase up to ``limit`` memories with ids above ``after``, for good. NotActiveError, ArgumentError."""
        row = await self._row(
            "SELECT * FROM robotgroups.erase(%s, %s, %s, %s::bigint[], %s::text[], %s::text[], %s::bigint, %s)",
            (
                group_id,
                robot,
                tenure,
                None if erasure.ids is None else list(erasure.ids),
                list(erasure.scope),
                list(erasure.tags),
                after,
                limit,
            ),
        )
        return Erased(row["erased"], row["revision"], row["last"])

    async def enforce_retention(self, group_id: int, *, after: int = 0, limit: int = BATCH) -> Retained:
        """Remove what has expired and what the group keeps no longer: one bounded step. Any robot may do it."""
        row = await self._row(
            "SELECT * FROM robotgroups.enforce_retention(%s, %s, %s::bigint)", (group_id, limit, after)
        )
        return Retained(row["removed"], row["next_after"])

    async def prune(self, group_id: int, *, keep: int = KEEP, most: int = MOST, age: timedelta = AGE) -> int:
        """Give up changes that nobody needs; returns the revision up to which they are gone. Any robot may do it.

        ``keep`` of the newest stay, and those younger than ``age`` or not applied by a live robot, ``most`` at most.
        """
        return int(
            await self._value("SELECT robotgroups.prune(%s, %s, %s, %s)", (group_id, keep, most, age)),
        )

    async def sweep(self, group_id: int, limit: int = SWEEP) -> int:
        """Delete up to ``limit`` pruned changes, and as many old idempotency keys; returns how many."""
        return int(await self._value("SELECT robotgroups.sweep(%s, %s)", (group_id, limit)))
