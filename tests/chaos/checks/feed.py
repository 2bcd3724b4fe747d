"""M3: revisions are gap-free and in commit order; what was acknowledged stands in the feed where it was said to."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tests.chaos.checks.violation import Kind, Violation
from tests.chaos.history import Acknowledged, Event, History, Write
from tests.chaos.tables import Tables

REMEMBERING = ("added", "updated")


def check(history: History, tables: Tables) -> Iterator[Violation]:
    """GAP: revisions that are missing or differ; ORDER: a write with a revision that was taken before it began."""
    yield from _as_read(history)
    by_revision = {event.revision: event for event in history.events}
    yield from _complete(by_revision, tables)
    yield from _kept(by_revision, tables)
    for write, answer in acknowledgements(history):
        event = by_revision.get(answer.revision)
        if event is None or event.kind not in REMEMBERING or event.memory != answer.id:
            told = "is not in the feed" if event is None else f"is {event.kind} of memory {event.memory}"
            yield Violation(Kind.GAP, f"revision {answer.revision}", f"acknowledged for {write.content!r}, {told}")
    yield from _order(history)


def acknowledgements(history: History) -> Iterator[tuple[Write, Acknowledged]]:
    """The tries that were acknowledged, with the answer."""
    for write in history.writes:
        if isinstance(write.outcome, Acknowledged):
            yield write, write.outcome


def _as_read(history: History) -> Iterator[Violation]:
    for gap in history.gaps:
        yield Violation(Kind.GAP, f"revision {gap.after + 1}", f"pruned to {gap.pruned_to} before it was read")
    for before, after in pairwise(history.events):
        if after.revision <= before.revision:
            yield Violation(Kind.ORDER, f"revision {after.revision}", f"came after {before.revision} in the feed")


def _complete(events: dict[int, Event], tables: Tables) -> Iterator[Violation]:
    """Every revision from the first to the group's, and none beyond; epochs as the role events have them."""
    wanted = set(range(1, tables.revision + 1))
    for revision in sorted(wanted - events.keys()):
        yield Violation(Kind.GAP, f"revision {revision}", "is not in the feed")
    for revision in sorted(events.keys() - wanted):
        yield Violation(Kind.GAP, f"revision {revision}", f"was in the feed, and the group is at {tables.revision}")


def _kept(events: dict[int, Event], tables: Tables) -> Iterator[Violation]:
    """What is left of the feed in Postgres is whole, and what its readers were told."""
    left = {change.revision: change for change in tables.changes}
    for revision in sorted(set(range(tables.pruned_to + 1, tables.revision + 1)) - left.keys()):
        yield Violation(Kind.GAP, f"revision {revision}", "is not in the table, and was not pruned")
    for revision, change in sorted(left.items()):
        event = events.get(revision)
        told = event and (event.kind, event.epoch, event.memory)
        if told is not None and told != (change.kind, change.epoch, change.memory):
            held = f"{change.kind} of memory {change.memory} in epoch {change.epoch}"
            yield Violation(Kind.GAP, f"revision {revision}", f"was told as {told}, and is {held}")


class Marks:
    """The greatest revision that was known to be committed at a time, and the least of those committed after one."""

    def __init__(self, history: History) -> None:
        firsts = list(fresh(history))
        known = [(event.seen, event.revision) for event in history.events]
        known += [(write.end, answer.revision) for write, answer in acknowledgements(history)]
        self._known_at, self._known = _running(sorted(known), max)
        later = sorted(((write.start, answer.revision) for write, answer in firsts), reverse=True)
        at, least = _running(later, min)
        self._later_at, self._later = at[::-1], least[::-1]

    def committed_before(self, time: float) -> int:
        """A revision that was committed before `time`, the greatest that anybody knew."""
        place = bisect_left(self._known_at, time)
        return self._known[place - 1] if place else 0

    def committed_after(self, time: float) -> float:
        """The least revision of a write that began after `time`; infinite when there is none."""
        place = bisect_left(self._later_at, time)
        while place < len(self._later_at) and self._later_at[place] <= time:
            place += 1
        return self._later[place] if place < len(self._later) else float("inf")


def fresh(history: History) -> Iterator[tuple[Write, Acknowledged]]:
    """Acknowledged first tries of their keys: these were committed between their start and their end."""
    first: dict[str, float] = {}
    for write in history.writes:
        first[write.key] = min(write.start, first.get(write.key, write.start))
    for write, answer in acknowledgements(history):
        if write.start == first[write.key]:
            yield write, answer


def _running(points: Sequence[tuple[float, int]], best: Callable[[int, int], int]) -> tuple[list[float], list[int]]:
    times: list[float] = []
    values: list[int] = []
    for time, value in points:
        times.append(time)
        values.append(value if not values else best(values[-1], value))
    return times, values


def _order(history: History) -> Iterator[Violation]:
    marks = Marks(history)
    for write, answer in fresh(history):
        known = marks.committed_before(write.start)
        if answer.revision <= known:
            yield Violation(
                Kind.ORDER, f"revision {answer.revision}", f"{write.content!r} began when {known} was committed already"
            )
