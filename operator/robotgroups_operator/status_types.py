"""A RobotGroup's status as typed values: field by field the schema of crds/robotgroups.yaml (a test compares)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from robotgroups_operator.spec import camel


class Phase(StrEnum):
    """One word for the state of a group."""

    PENDING = "Pending"
    READY = "Ready"
    DEGRADED = "Degraded"
    FAILING_OVER = "FailingOver"
    UNAVAILABLE = "Unavailable"
    SUSPENDED = "Suspended"
    TERMINATING = "Terminating"


class ConditionType(StrEnum):
    """What is told about a group."""

    READY = "Ready"
    FAILOVER_READY = "FailoverReady"
    IN_SYNC = "InSync"
    MEMORY_AVAILABLE = "MemoryAvailable"
    PROGRESSING = "Progressing"


class Truth(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Condition:
    """One condition."""

    type: str
    status: str
    observed_generation: int
    last_transition_time: str
    reason: str
    message: str


@dataclass(frozen=True)
class RobotState:
    """One robot."""

    name: str
    role: str | None = None
    pod: str | None = None
    node: str | None = None
    ready: bool = False
    live: bool | None = None
    applied_revision: int | None = None
    message: str | None = None


@dataclass(frozen=True)
class LastFailover:
    """The last promotion."""

    kind: str
    from_: str
    to: str | None
    reason: str
    detected_by: str
    detected_at: str
    promoted_at: str
    duration_ms: int
    epoch: int


@dataclass(frozen=True)
class SyncStats:
    """What was synchronised since the RobotGroup was created."""

    nodes_synced: int = 0
    evictions_synced: int = 0
    notifications_received: int = 0


@dataclass(frozen=True)
class Status:
    """Everything; what Postgres alone knows is None while it was never reached."""

    phase: str
    active: tuple[str, ...] | None = None
    passive: tuple[str, ...] | None = None
    failed: tuple[str, ...] | None = None
    active_names: str | None = None
    passive_names: str | None = None
    epoch: int | None = None
    revision: int | None = None
    working_memory_nodes: int | None = None
    working_memory_tokens: int | None = None
    max_tokens: int | None = None
    token_utilization: float | None = None
    unembedded: int | None = None
    in_sync: bool | None = None
    sync_stats: SyncStats | None = None
    robots: tuple[RobotState, ...] = ()
    last_failover: LastFailover | None = None
    failovers: int | None = None
    replicas: int = 0
    selector: str = ""
    observed_generation: int = 0
    observed_switchover: str | None = None
    conditions: tuple[Condition, ...] = ()


def to_json(value: Any) -> Any:
    """The resource's JSON of a status; fields that are None are left out."""
    if is_dataclass(value):
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {camel(name.rstrip("_")): to_json(item) for name, item in pairs if item is not None}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def timestamp(moment: datetime, *, micro: bool = False) -> str:
    """RFC 3339 in UTC; whole seconds, as metav1.Time has it, or microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds" if micro else "seconds").replace("+00:00", "Z")


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch that turns `old` into `new`; empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, Mapping) and isinstance(old[key], Mapping):
            if inner := merge_patch(old[key], value):
                patch[key] = inner
        elif old[key] != value:
            patch[key] = value
    return patch
