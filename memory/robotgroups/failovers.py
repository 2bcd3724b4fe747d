"""Failovers and switchovers, as they pass between the layers: frozen values without any behaviour that needs I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What ``declare_failed`` decided (R3)."""

    PROMOTED = "promoted"
    VACANT = "vacant"
    FAILED = "failed"
    ALIVE = "alive"
    STALE = "stale"
    GRACE = "grace"
    DELAYED = "delayed"
    SUSPENDED = "suspended"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``declare_failed`` decided, and why.

    ``retry_ms``, of grace and delayed: in how many milliseconds it can be declared failed if it does not come back.
    """

    outcome: Outcome
    promoted: str | None
    epoch: int
    revision: int
    reason: str
    retry_ms: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Verdict:
        """Read a row of the SQL function ``declare_failed``."""
        return cls(**{**row, "outcome": Outcome(row["outcome"])})


@dataclass(frozen=True, slots=True)
class FailoverResult:
    """A failover on request: who was replaced by whom."""

    promoted: str
    failed: str
    epoch: int
    revision: int


@dataclass(frozen=True, slots=True)
class SwitchoverResult:
    """A planned switchover on request: who was replaced by whom. The replaced one is passive, and serves as such."""

    promoted: str
    replaced: str
    epoch: int
    revision: int


@dataclass(frozen=True, slots=True)
class Failover:
    """A recorded failover or switchover (R1). ``kind`` is "failover" or "switchover"."""

    id: int
    kind: str
    source: str
    target: str
    reason: str
    detected_by: str
    epoch: int
    revision: int
    detected_at: datetime
    promoted_at: datetime

    @property
    def duration_ms(self) -> float:
        """Milliseconds from detection to promotion, by Postgres' clock."""
        return (self.promoted_at - self.detected_at).total_seconds() * 1000

    def as_json(self) -> dict[str, Any]:
        """Return the failover as status shows it."""
        return {
            "kind": self.kind,
            "from": self.source,
            "to": self.target,
            "reason": self.reason,
            "detectedBy": self.detected_by,
            "epoch": self.epoch,
            "revision": self.revision,
            "detectedAt": self.detected_at.isoformat(),
            "promotedAt": self.promoted_at.isoformat(),
            "durationMs": round(self.duration_ms, 3),
        }
