"""What passes between the layers: frozen values of groups, robots and their feed, without any behaviour that needs I/O.

Those of memories are in ``memories``, those of failovers in ``failovers``; all can be imported from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from robotgroups.failovers import Failover, FailoverResult, Outcome, SwitchoverResult, Verdict
from robotgroups.frozen import maker
from robotgroups.memories import Memory, MemoryJson, Remembered, Revised

__all__ = [
    "Beat",
    "Change",
    "ChangeKind",
    "Eviction",
    "Failback",
    "Failover",
    "FailoverMode",
    "FailoverResult",
    "GroupKey",
    "GroupRecord",
    "GroupSettings",
    "GroupStatus",
    "MembershipChange",
    "Memory",
    "Outcome",
    "Registration",
    "Remembered",
    "Retention",
    "Revised",
    "RobotRole",
    "RobotStatus",
    "Role",
    "Snapshot",
    "SwitchoverResult",
    "Verdict",
    "roles_from_json",
]


class Role(StrEnum):
    """What a robot is in its group."""

    ACTIVE = "active"
    PASSIVE = "passive"
    FAILED = "failed"


class FailoverMode(StrEnum):
    """Whether a failure is answered by itself."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Failback(StrEnum):
    """Whether a robot that is declared active gets its place back after a failover or a switchover."""

    NEVER = "Never"
    PREFERRED = "Preferred"


class Retention(StrEnum):
    """What becomes of a group's rows when its resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class ChangeKind(StrEnum):
    """The events of the change feed (M3)."""

    ADDED = "added"
    EVICTED = "evicted"
    CLEARED = "cleared"
    UPDATED = "updated"
    FORGOTTEN = "forgotten"
    RESTORED = "restored"
    ROLE = "role"


class Eviction(StrEnum):
    """Who leaves a full working set first (``robotgroups.eviction``)."""

    BALANCED = "balanced"
    LRU = "lru"
    LFU = "lfu"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What identifies a group; ``cluster`` and ``namespace_uid`` are UIDs: a namespace made anew has other groups."""

    cluster: str
    namespace_uid: str
    name: str


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What a group is declared to be.

    ``max_tokens`` None keeps the stored value (4000 for a new group). ``space`` None is a space of the group's own; it
    cannot be changed. An active robot that died keeps its place for ``failover_delay_ms``, and who has failed within
    ``failover_cooldown_ms`` is promoted last (docs/failover.md). Memories are removed ``expire_after_s`` seconds after
    they were remembered last, and the oldest beyond ``keep_memories``; None: never. ``embedding`` and ``extraction``
    are EmbeddingConfig and ExtractionConfig as JSON; None keeps what is stored.
    """

    max_tokens: int | None = None
    language: str = "english"
    tokenizer: str = "cl100k_base"
    heartbeat_ms: int = 500
    lease_ms: int = 3000
    failover_mode: FailoverMode = FailoverMode.AUTOMATIC
    failover_delay_ms: int = 0
    failover_cooldown_ms: int = 30_000
    failback: Failback = Failback.NEVER
    retention: Retention = Retention.RETAIN
    suspended: bool = False
    resource_uid: str = ""
    space: str | None = None
    eviction: Eviction = Eviction.BALANCED
    expire_after_s: int | None = None
    keep_memories: int | None = None
    embedding: Mapping[str, Any] | None = None
    extraction: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group as an administrator lists it."""

    id: int
    key: GroupKey
    resource_uid: str
    retention: Retention
    login: str | None
    previous_login: str | None = None
    """Until every robot has come over to ``login``, while that is being rotated."""


@dataclass(frozen=True, slots=True)
class RotationEnd:
    """What came of ending a rotation: the login that was dropped, or the robots that still work under it."""

    dropped: str | None
    waiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RobotRole:
    """A robot's place: ``tenure`` is the epoch at which it became active, 0 when it is not."""

    role: Role
    tenure: int
    ordinal: int


def roles_from_json(data: Mapping[str, Any]) -> dict[str, RobotRole]:
    """Read the membership that role events and snapshots carry."""
    return {name: RobotRole(Role(r["role"]), r["tenure"], r["ordinal"]) for name, r in data.items()}


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the feed.

    ``payload`` is the memory as a JSON object for added, restored and updated; ``{"count": n}`` for cleared; for role
    the whole membership after it (``roles``) with ``reason``, ``kind``, ``from`` and ``to``; empty for evicted and
    forgotten; ``{"id": n, "erased": true}`` for a memory that was erased since.
    """

    revision: int
    kind: ChangeKind
    epoch: int
    memory_id: int | None
    robot: str | None
    payload: Mapping[str, Any]
    created_at: datetime

    @property
    def erased(self) -> bool:
        """Whether what it told of a memory was erased since."""
        return not isinstance(self.payload, MemoryJson) and "erased" in self.payload

    def as_json(self) -> dict[str, Any]:
        """Return the event as the HTTP API sends it."""
        return {
            "revision": self.revision,
            "kind": self.kind.value,
            "epoch": self.epoch,
            "memory_id": self.memory_id,
            "robot": self.robot,
            "payload": dict(self.payload),
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Change:
        """Make one of a row of the feed: its values, in the order of the fields."""
        revision, kind, *rest = row
        return cls(revision, ChangeKind(kind), *rest)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Change:
        """Read what ``as_json`` wrote."""
        return cls(
            revision=data["revision"],
            kind=ChangeKind(data["kind"]),
            epoch=data["epoch"],
            memory_id=data["memory_id"],
            robot=data["robot"],
            payload=data["payload"],
            created_at=datetime.fromisoformat(data["created_at"]),
        )


make_change = maker(Change)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A group at one revision: what a cache starts from."""

    revision: int
    epoch: int
    max_tokens: int
    roles: Mapping[str, RobotRole]
    working_memory: tuple[Memory, ...]


@dataclass(frozen=True, slots=True)
class Registration:
    """What a robot gets when it registers."""

    role: Role
    tenure: int
    epoch: int
    revision: int
    heartbeat_ms: int
    lease_ms: int
    max_tokens: int
    tokenizer: str
    language: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Another robot of the group: its heartbeat's counter, and "host:port" of its doorbell or "".

    The counter is negative (-1) for one whose presence has vanished though it has not taken leave.
    """

    name: str
    incarnation: UUID
    heartbeat: int
    doorbell: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat; ``current`` is False when this session is the robot's presence no more.

    ``heartbeat_ms`` and ``lease_ms`` are the group's now: a change of them is heard of here.
    """

    current: bool
    revision: int
    epoch: int
    heartbeat: int | None
    role: Role | None
    tenure: int | None
    max_tokens: int
    heartbeat_ms: int
    lease_ms: int
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """What ``reconcile_members`` did: names."""

    joined: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RobotStatus:
    """A robot as Postgres sees it: ``live`` while its presence session stands and its heartbeat is within a lease."""

    name: str
    role: Role
    tenure: int
    ordinal: int
    live: bool
    warm: bool
    applied_revision: int
    heartbeat: int
    incarnation: UUID | None
    endpoint: str


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group as Postgres sees it, in one snapshot.

    ``unembedded``: how many memories vector recall does not know yet; ``backfill``: how many the model that is to serve
    next has not embedded. ``failing_jobs``: how much background work failed the last time, with the error of the oldest
    in ``job_error``; it is tried again and again. ``embedding_conflict`` and ``language_conflict``: which groups of the
    same space name another embedding or language. ``space``: its name, None when it is the group's own.
    """

    id: int
    name: str
    epoch: int
    revision: int
    max_tokens: int
    working_memory_nodes: int
    working_memory_tokens: int
    heartbeat_ms: int
    lease_ms: int
    suspended: bool
    active_target: int
    failovers: int
    last_failover: Failover | None
    robots: tuple[RobotStatus, ...] = field(default=())
    unembedded: int = 0
    backfill: int = 0
    failing_jobs: int = 0
    job_error: str | None = None
    embedding_conflict: str | None = None
    language_conflict: str | None = None
    eviction: str = Eviction.BALANCED
    pinned_tokens: int = 0
    space: str | None = None
    language: str = "english"

    def named(self, role: Role) -> tuple[str, ...]:
        """Names of the robots of one role, in declared order."""
        return tuple(r.name for r in self.robots if r.role is role)

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the active robots."""
        return self.named(Role.ACTIVE)

    @property
    def passive(self) -> tuple[str, ...]:
        """Names of the passive robots."""
        return self.named(Role.PASSIVE)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the failed robots."""
        return self.named(Role.FAILED)

    @property
    def in_sync(self) -> bool:
        """Whether every live robot has applied the group's revision (M6); False when none lives."""
        live = [r for r in self.robots if r.live]
        return bool(live) and all(r.applied_revision >= self.revision for r in live)

    @property
    def token_utilization(self) -> float:
        """Used share of the token budget, 0.0-1.0 with two digits."""
        return round(self.working_memory_tokens / self.max_tokens, 2)

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping that the SDK's ``status()`` and the HTTP API give (design §5)."""
        return {
            "name": self.name,
            "active": list(self.active),
            "passive": list(self.passive),
            "failed": list(self.failed),
            "total_members": len(self.robots),
            "working_memory_nodes": self.working_memory_nodes,
            "working_memory_tokens": self.working_memory_tokens,
            "max_tokens": self.max_tokens,
            "pinned_tokens": self.pinned_tokens,
            "token_utilization": self.token_utilization,
            "in_sync": self.in_sync,
            "epoch": self.epoch,
            "revision": self.revision,
            "eviction": self.eviction,
            "space": self.space,
            "language": self.language,
            "unembedded": self.unembedded,
            "backfill": self.backfill,
            "failing_jobs": self.failing_jobs,
            "job_error": self.job_error,
        }
