"""A robot's cache of its group: a reducer over the change feed, without I/O.

A cache at revision r equals the working set, the roles and the epoch at r (M3), but for memories that were erased
later: of these nothing is left, in the feed or here. It refuses a gap rather than guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from robotgroups.errors import RobotGroupsError
from robotgroups.models import Change, ChangeKind, Memory, RobotRole, Role, Snapshot, roles_from_json


class GapError(RobotGroupsError):
    """A change does not follow the cache's revision: the cache has to start from a snapshot."""


class Cache:
    """The group at one revision. ``memories`` is ordered by id."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.revision = snapshot.revision
        self.epoch = snapshot.epoch
        self.max_tokens = snapshot.max_tokens
        self._roles: dict[str, RobotRole] = dict(snapshot.roles)
        self._memories = {m.id: m for m in sorted(snapshot.working_memory, key=lambda m: m.id)}
        self.tokens = sum(m.tokens for m in self._memories.values())

    @classmethod
    def empty(cls) -> Cache:
        """A cache of a group of which nothing is known yet."""
        return cls(Snapshot(revision=0, epoch=0, max_tokens=1, roles={}, working_memory=()))

    @property
    def memories(self) -> Mapping[int, Memory]:
        """The working set by id, oldest first."""
        return MappingProxyType(self._memories)

    @property
    def roles(self) -> Mapping[str, RobotRole]:
        """The membership by name."""
        return MappingProxyType(self._roles)

    def named(self, role: Role) -> tuple[str, ...]:
        """Names of the robots of one role, in declared order."""
        return tuple(
            sorted((n for n, r in self._roles.items() if r.role is role), key=lambda n: (self._roles[n].ordinal, n))
        )

    def apply(self, change: Change) -> None:
        """Go one revision on.

        Raises:
            GapError: the change is not the next one; nothing was applied.

        """
        if change.revision != self.revision + 1:
            raise GapError(f"revision {change.revision} does not follow {self.revision}")
        match change.kind:
            case ChangeKind.ADDED | ChangeKind.UPDATED | ChangeKind.RESTORED if change.erased:
                assert change.memory_id is not None
                self._remove([change.memory_id])
            case ChangeKind.ADDED | ChangeKind.UPDATED | ChangeKind.RESTORED:
                memory = Memory.from_json(change.payload)
                self._remove([memory.id])
                if memory.in_working_memory:
                    self._add(memory)
            case ChangeKind.EVICTED | ChangeKind.FORGOTTEN:
                assert change.memory_id is not None
                self._remove([change.memory_id])
            case ChangeKind.CLEARED:
                self._remove([m.id for m in self._memories.values() if not m.pinned])
            case ChangeKind.ROLE:
                self._roles = roles_from_json(change.payload["roles"])
        self.revision, self.epoch = change.revision, change.epoch

    def _add(self, memory: Memory) -> None:
        newest = next(reversed(self._memories), 0)
        self._memories[memory.id] = memory
        if memory.id < newest:  # an older memory comes back: keep the order by id
            self._memories = dict(sorted(self._memories.items()))
        self.tokens += memory.tokens

    def _remove(self, ids: Iterable[int]) -> None:
        for memory_id in ids:
            if (memory := self._memories.pop(memory_id, None)) is not None:
                self.tokens -= memory.tokens
