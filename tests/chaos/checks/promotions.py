"""R1 and R3: every promotion is recorded, and has one failure; no failure has two."""

from collections.abc import Iterator, Sequence

from tests.chaos.checks.timeline import Timeline
from tests.chaos.checks.violation import Kind, Violation
from tests.chaos.history import Event, Fault, History
from tests.chaos.tables import FailoverRow, Tables


def check(history: History, tables: Tables) -> Iterator[Violation]:
    """UNRECORDED role events and rows; EXTRA_PROMOTION: rows that no fault explains, and too many active robots."""
    yield from _recorded(history.events, tables.failovers)
    yield from _explained(tables.failovers, history.faults)
    for standing in Timeline(history.events).standings:
        if len(standing.active()) > tables.active_target:
            yield Violation(
                Kind.EXTRA_PROMOTION, f"epoch {standing.epoch}", f"{' and '.join(standing.active())} active"
            )


def _recorded(events: Sequence[Event], rows: Sequence[FailoverRow]) -> Iterator[Violation]:
    told = {(e.epoch, e.revision, e.cause, e.source, e.target) for e in events if e.cause}
    held = {(r.epoch, r.revision, r.kind, r.source, r.target) for r in rows}
    for epoch, _revision, cause, source, target in sorted(told - held):
        yield Violation(Kind.UNRECORDED, f"epoch {epoch}", f"the {cause} from {source} to {target} has no row")
    for epoch, _revision, cause, source, target in sorted(held - told):
        yield Violation(Kind.UNRECORDED, f"epoch {epoch}", f"the {cause} from {source} to {target} was not in the feed")


def _explained(rows: Sequence[FailoverRow], faults: Sequence[Fault]) -> Iterator[Violation]:
    """Each row takes, of the faults that explain it and no other row of its robot, the one that was over first."""
    used: set[tuple[int, str]] = set()
    in_order = sorted(faults, key=_end)
    for row in sorted(rows, key=lambda row: row.promoted_at):
        fault = next((f for f in in_order if _explains(f, row) and (f.number, row.source) not in used), None)
        if fault is None:
            yield Violation(
                Kind.EXTRA_PROMOTION,
                f"epoch {row.epoch}",
                f"{row.kind} from {row.source} to {row.target} ({row.detected_by}: {row.reason})",
            )
        else:
            used.add((fault.number, row.source))


def _explains(fault: Fault, row: FailoverRow) -> bool:
    robots = fault.handing_over if row.kind == "switchover" else fault.failing
    return row.source in robots and fault.injected <= row.promoted_at - fault.wall <= _end(fault)


def _end(fault: Fault) -> float:
    return float("inf") if fault.recovered is None else fault.recovered
