"""SQL's relations and tags of memories (sql/0014_relations.sql), typed. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from robotgroups.pool import Pool
from robotgroups.recall import Filters
from robotgroups.relations import Related, Walk
from robotgroups.tagging import Tagged, TagsInUse

# Memories whose relations by tags are worked out in one statement: some 150 ms.
STEP = 50


class RelationsStore(Pool):
    """Relations between memories, and their tags."""

    async def relate(
        self,
        group_id: int,
        *,
        robot: str | None,
        tenure: int | None,
        source: int,
        target: int,
        kind: str,
        weight: float,
    ) -> bool:
        """Relate two memories; whether that is new. UnknownMemoryError, ArgumentError, NotActiveError."""
        return bool(
            await self._value(
                "SELECT robotgroups.relate(%s, %s, %s, %s::bigint, %s::bigint, %s, %s)",
                (group_id, robot, tenure, source, target, kind, weight),
            )
        )

    async def unrelate(
        self, group_id: int, *, robot: str | None, tenure: int | None, source: int, target: int, kind: str
    ) -> bool:
        """Take a relation back; whether it stood. ArgumentError, NotActiveError."""
        return bool(
            await self._value(
                "SELECT robotgroups.unrelate(%s, %s, %s, %s::bigint, %s::bigint, %s)",
                (group_id, robot, tenure, source, target, kind),
            )
        )

    async def related(self, group_id: int, memory_id: int, walk: Walk) -> list[Related]:
        """What a memory is related to, the strongest first. UnknownMemoryError, also out of the walk's scope."""
        rows = await self._rows(
            "SELECT * FROM robotgroups.related(%s, %s::bigint, %s, %s, %s::text[], %s::text[], %s)",
            (
                group_id,
                memory_id,
                walk.depth,
                walk.min_weight,
                None if walk.kinds is None else list(walk.kinds),
                list(walk.scope),
                walk.limit,
            ),
        )
        return [Related.from_json(row) for row in rows]

    async def neighbours(
        self, group_id: int, memory_ids: Sequence[int], *, depth: int, min_weight: float, filters: Filters, limit: int
    ) -> list[Related]:
        """What any of some memories is related to, but for these, the strongest first; the filters hold for it.

        ``path`` begins at the one that it is nearest to.
        """
        rows = await self._rows(
            "SELECT * FROM robotgroups.neighbours(%s, %s::bigint[], %s, %s, %s, %s)",
            (group_id, list(memory_ids), depth, min_weight, Jsonb(filters.as_json()), limit),
        )
        return [Related.from_json(row) for row in rows]

    async def relate_by_tags(self, group_id: int, limit: int = STEP) -> int:
        """Work out the relations by tags of memories that wait for it; how many these were. Any robot may do it."""
        return int(await self._value("SELECT robotgroups.relate_by_tags(%s, %s)", (group_id, limit)))

    async def tags(self, group_id: int, scope: Sequence[str], limit: int, known: int | None = None) -> TagsInUse | None:
        """The tags of memories that are not forgotten; None when the group's revision is still ``known``."""
        data = await self._value(
            "SELECT robotgroups.tags(%s, %s::text[], %s, %s::bigint)", (group_id, list(scope), limit, known)
        )
        return None if data is None else TagsInUse(data["revision"], dict(map(tuple, data["tags"])))

    async def retag(
        self,
        group_id: int,
        *,
        robot: str | None,
        tenure: int | None,
        memory_id: int,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> Tagged:
        """Give a memory tags and take others from it. UnknownMemoryError, ArgumentError, NotActiveError."""
        row = await self._row(
            "SELECT * FROM robotgroups.retag(%s, %s, %s, %s::bigint, %s::text[], %s::text[])",
            (group_id, robot, tenure, memory_id, list(add), list(remove)),
        )
        return Tagged(memory_id, tuple(row["tags"]), row["version"], row["revision"], row["epoch"])
