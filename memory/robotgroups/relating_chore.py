"""The chore of relations: memories that share tags are related, as soon as their tags have changed."""

from __future__ import annotations

from robotgroups.jobs import Claimant, JobKind, Work
from robotgroups.relating import relate_step
from robotgroups.relations_store import RelationsStore


class RelatingChore:
    """One bounded statement after the other; Postgres itself sees to it that one robot at a time does it."""

    name = "relate"

    def __init__(self, store: RelationsStore, group_id: int) -> None:
        self._store = store
        self._group_id = group_id

    def kinds(self, work: Work) -> frozenset[JobKind]:  # noqa: ARG002  the same for every group
        """The jobs that it does."""
        return frozenset({JobKind.RELATE})

    async def drain(self, who: Claimant, work: Work) -> None:  # noqa: ARG002  it claims nothing
        """Relate until nothing is due. MemoryUnavailableError."""
        while await relate_step(self._store, self._group_id):
            pass
