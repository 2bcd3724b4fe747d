"""The checker: from a history and the tables at its end to what was broken, and the figures. Pure."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.chaos.checks import caches, feed, memories, outages, promotions, tenures
from tests.chaos.checks.violation import Kind, Violation
from tests.chaos.history import History
from tests.chaos.tables import Tables


@dataclass(frozen=True)
class Result:
    """What a run came to. `faults`: how many were injected."""

    seed: int
    faults: int
    acknowledged: int
    violations: tuple[Violation, ...]
    outages: tuple[outages.Outage, ...]
    longest_outage_ms: float

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations

    def count(self, kind: Kind) -> int:
        """How many violations there are of a kind."""
        return sum(1 for violation in self.violations if violation.kind is kind)

    def as_json(self) -> dict[str, Any]:
        """The document that CHAOS_JSON names; under "others" what has no key of its own, by kind."""
        own = {Kind.LOST, Kind.DOUBLED, Kind.STALE, Kind.EXTRA_PROMOTION, Kind.STUCK}
        return {
            "seed": self.seed,
            "faults": self.faults,
            "acknowledged": self.acknowledged,
            "lost": self.count(Kind.LOST),
            "doubled": self.count(Kind.DOUBLED),
            "stale_acknowledged": self.count(Kind.STALE),
            "extra_promotions": self.count(Kind.EXTRA_PROMOTION),
            "stuck": self.count(Kind.STUCK),
            "longest_outage_ms": round(self.longest_outage_ms, 1),
            "others": dict(Counter(str(v.kind) for v in self.violations if v.kind not in own)),
            "violations": [str(violation) for violation in self.violations],
        }


def check(history: History, tables: Tables, seed: int) -> Result:
    """Prove it, or say what does not hold."""
    found = [
        *memories.check(history, tables),
        *tenures.check(history),
        *promotions.check(history, tables),
        *feed.check(history, tables),
        *caches.check(history, tables),
        *(Violation(Kind.STUCK, f"fault {f.number}", f.kind) for f in history.faults if f.recovered is None),
    ]
    return Result(
        seed=seed,
        faults=sum(1 for fault in history.faults if not fault.upkeep),
        acknowledged=memories.acknowledged(history),
        violations=tuple(found),
        outages=tuple(outages.find(history)),
        longest_outage_ms=outages.longest_ms(history),
    )
