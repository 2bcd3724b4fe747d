"""A group at one moment, as Postgres tells it to a robot whose cache is to start. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robotgroups.errors import UnknownGroupError
from robotgroups.models import Memory, Snapshot, roles_from_json

READ = "SELECT * FROM robotgroups.snapshot_rows(%s)"
_STATE = 4  # columns of the first row: revision, epoch, max_tokens, roles; the others tell of a memory each


def snapshot_of_rows(rows: Sequence[Sequence[Any]], group_id: int) -> Snapshot:
    """The snapshot that rows as ``READ`` gives them are. UnknownGroupError."""
    if not rows:
        raise UnknownGroupError(f"no group has id {group_id}")
    revision, epoch, max_tokens, roles = rows[0][:_STATE]
    memories = tuple(Memory.from_row(row[_STATE:]) for row in rows[1:])
    return Snapshot(revision, epoch, max_tokens, roles_from_json(roles), memories)
