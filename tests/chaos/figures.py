"""What each kind of fault did, in figures. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.chaos.checks.outages import Outage
from tests.chaos.history import Fault


@dataclass(frozen=True)
class KindFigures:
    """Seconds from the end of a fault until the group was well; milliseconds of the longest outage of each fault."""

    kind: str
    times: int
    well_median_s: float | None
    well_longest_s: float | None
    outage_median_ms: float
    outage_longest_ms: float
    stuck: int

    def cells(self) -> list[str]:
        """As a row of a table, without the kind."""
        well = ["-" if s is None else f"{s:.1f}" for s in (self.well_median_s, self.well_longest_s)]
        return [
            str(self.times),
            *well,
            f"{self.outage_median_ms:.0f}",
            f"{self.outage_longest_ms:.0f}",
            str(self.stuck),
        ]


HEADINGS = ("times", "well again, median s", "longest s", "outage, median ms", "longest ms", "stuck")


def by_kind(faults: Sequence[Fault], outages: Sequence[Outage]) -> list[KindFigures]:
    """The plan's faults, one row a kind."""
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        if not fault.upkeep:
            kinds[fault.kind].append(fault)
    return [_of(kind, found, outages) for kind, found in sorted(kinds.items())]


def longest_ms(fault: Fault, outages: Sequence[Outage]) -> float:
    """The longest outage while a fault was under way; 0 when there was none that is worth telling."""
    return max((outage.ms for outage in outages if fault.number in outage.faults), default=0.0)


def _of(kind: str, faults: Sequence[Fault], outages: Sequence[Outage]) -> KindFigures:
    well = [fault.recovered - fault.healed for fault in faults if fault.recovered is not None]
    out = [longest_ms(fault, outages) for fault in faults]
    stuck = sum(fault.recovered is None for fault in faults)
    return KindFigures(
        kind,
        len(faults),
        median(well) if well else None,
        max(well) if well else None,
        median(out),
        max(out),
        stuck,
    )
