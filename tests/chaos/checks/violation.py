"""What a check finds."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Which promise was broken."""

    LOST = "lost"  # M1
    DOUBLED = "doubled"  # M2
    FOREIGN = "foreign"  # a memory that nobody asked for
    STALE = "stale"  # R2
    EXTRA_PROMOTION = "extra promotion"  # R3
    UNRECORDED = "unrecorded"  # R1
    EPOCH = "epoch"  # R1
    GAP = "gap"  # M3
    ORDER = "order"  # M3
    BUDGET = "budget"  # M4
    DIVERGED = "diverged"  # M5
    STUCK = "stuck"


@dataclass(frozen=True, order=True)
class Violation:
    """One broken promise. `subject`: what it is about, as short as can be (a content, a revision, a robot)."""

    kind: Kind
    subject: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}" + (f": {self.detail}" if self.detail else "")
