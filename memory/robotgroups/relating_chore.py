"""The chore of relating: memories whose tags have changed are related to those that share some."""

from __future__ import annotations

from robotgroups.jobs import Claimant, JobKind, Work
from robotgroups.relating import relate_step
from robotgroups.store import Store


class RelatingChore:
    """Postgres does it; one robot of a space at a time."""

    name = "relate"

    def __init__(self, store: Store, group_id: int) -> None:
        self._store = store
        self._group_id = group_id

    def kinds(self, work: Work) -> frozenset[JobKind]:  # noqa: ARG002  it needs no model
        """The jobs that it does."""
        return frozenset({JobKind.RELATE})

    async def drain(self, who: Claimant, work: Work) -> int:  # noqa: ARG002  it claims nothing
        """Relate until nothing is due; returns how many memories that were. MemoryUnavailableError."""
        total = 0
        while done := await relate_step(self._store, self._group_id):
            total += done
        return total
