"""How long the Service did not acknowledge anything. Figures, not promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.checks.feed import acknowledgements
from tests.chaos.history import SERVICE, Fault, History

WORTH_TELLING_S = 0.3


@dataclass(frozen=True)
class Outage:
    """Seconds of the run's clock between two acknowledgements, and the faults that were under way."""

    start: float
    end: float
    faults: tuple[int, ...]

    @property
    def ms(self) -> float:
        """How long it was."""
        return (self.end - self.start) * 1000


def find(history: History, least: float = WORTH_TELLING_S) -> list[Outage]:
    """Intervals of at least so many seconds, in their order."""
    times = sorted(write.end for write, _ in acknowledgements(history) if write.where == SERVICE)
    return [
        Outage(before, after, _under_way(history.faults, before, after))
        for before, after in pairwise(times)
        if after - before >= least
    ]


def longest_ms(history: History) -> float:
    """The longest interval, in milliseconds; 0 when there were not two acknowledgements."""
    return max((outage.ms for outage in find(history, 0)), default=0.0)


def _under_way(faults: Sequence[Fault], start: float, end: float) -> tuple[int, ...]:
    return tuple(f.number for f in faults if f.injected <= end and (f.recovered is None or f.recovered >= start))
