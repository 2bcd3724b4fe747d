"""The feed as Postgres keeps it, a row for all that one transaction did, told a change at a time. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from robotgroups.memories import MemoryJson, make_memory, scope_of
from robotgroups.models import Change, ChangeKind, make_change

READ = """
SELECT revision, kind, epoch, memory_id, robot, payload, created_at, memory_ids
FROM robotgroups.feed_after(%s, %s::bigint, %s)
"""


class Row(NamedTuple):
    """A row as ``READ`` gives it. ``memory_ids``: it is of as many revisions, of which ``revision`` is the last."""

    revision: int
    kind: str
    epoch: int
    memory_id: int | None
    robot: str | None
    payload: Mapping[str, Any]
    created_at: datetime
    memory_ids: Sequence[int] | None

    def changes(self) -> Iterator[Change]:
        """What it tells of each revision, in order."""
        kind = ChangeKind(self.kind)
        if self.memory_ids is None:
            yield self._change(self.revision, kind, self.memory_id, self.robot, self.payload)
            return
        first = self.revision - len(self.memory_ids) + 1
        if kind is not ChangeKind.ADDED:
            for place, memory_id in enumerate(self.memory_ids):
                yield self._change(first + place, kind, memory_id, self.robot, {})
            return
        at = self.created_at.astimezone(UTC)
        for place, (memory_id, item) in enumerate(zip(self.memory_ids, self.payload["items"], strict=True)):
            yield self._change(first + place, kind, memory_id, *self._added(memory_id, item, at))

    def _change(
        self, revision: int, kind: ChangeKind, memory_id: int | None, robot: str | None, payload: Mapping[str, Any]
    ) -> Change:
        return make_change(revision, kind, self.epoch, memory_id, robot, payload, self.created_at)

    def _added(self, memory_id: int, item: Mapping[str, Any], at: datetime) -> tuple[str | None, Mapping[str, Any]]:
        if "erased" in item:
            return self.robot, {"id": memory_id, "erased": True}
        originator = item.get("originator") or self.robot
        placed = item["tokens"] <= self.payload["room"]
        return originator, new_memory(memory_id, item, originator, at, placed=placed)


def changes_of_rows(rows: Iterable[Sequence[Any]], after: int, limit: int) -> list[Change]:
    """The changes of rows as ``READ`` gives them, in order: those of the ``limit`` revisions after ``after``."""
    return [c for row in rows for c in Row(*row).changes() if after < c.revision <= after + limit]


def new_memory(
    memory_id: int, item: Mapping[str, Any], originator: str | None, at: datetime, *, placed: bool
) -> MemoryJson:
    """What is told of a memory that was new at ``at`` (UTC), by its item of ``remember_batch``: as ``added_json``."""
    expires = item.get("expires_at")
    return MemoryJson(
        make_memory(
            id=memory_id,
            content=item["content"],
            originator=originator or "",
            tokens=item["tokens"],
            tags=tuple(item.get("tags") or ()),
            metadata=item.get("metadata") or {},
            created_at=at,
            remembered_at=at,
            remember_count=1,
            forgotten_at=None,
            in_working_memory=placed,
            keeper=originator if placed else None,
            access_count=0,
            last_accessed_at=at if placed else None,
            scope=scope_of(item.get("scope")),
            expires_at=expires and datetime.fromisoformat(expires).astimezone(UTC),
        )
    )
