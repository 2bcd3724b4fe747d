"""The checker on a whole history and on ones that were broken by hand: it finds what is broken, and nothing else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checker import check
from tests.chaos.checks.violation import Kind
from tests.chaos.history import (
    SERVICE,
    Acknowledged,
    CacheRead,
    Event,
    Fault,
    Gap,
    History,
    Place,
    Read,
    Record,
    Refused,
    Unknown,
    Write,
    digest_of,
)
from tests.chaos.tables import CacheDump, ChangeRow, FailoverRow, MemoryRow, Tables

WALL = 1_000_000.0

# Epoch 1: a is active, b passive. Memories 1 to 3. At 10 s a is killed, b takes over (epoch 2), memory 4; a comes back
# (epoch 3), memory 5; 1 is said again by another key; 2 is evicted.
A, B = {"a": Place("active", 1), "b": Place("passive", 0)}, {"a": Place("failed", 0), "b": Place("active", 2)}
BACK = {"a": Place("passive", 0), "b": Place("active", 2)}
EVENTS = [
    Event(1.0, 1, "role", 1, roles=A, reason="declared membership changed"),
    Event(2.1, 2, "added", 1, 1, "a", held=True),
    Event(3.1, 3, "added", 1, 2, "a", held=True),
    Event(4.1, 4, "added", 1, 3, "a", held=False),
    Event(10.2, 5, "role", 2, roles=B, cause="failover", source="a", target="b", reason="its container ended"),
    Event(11.1, 6, "added", 2, 4, "b", held=True),
    Event(12.1, 7, "role", 3, roles=BACK, reason="came back"),
    Event(13.1, 8, "evicted", 3, 2),
    Event(13.1, 9, "added", 3, 5, "b", held=True),
    Event(14.1, 10, "updated", 3, 1, "b", held=True),
]


def _write(
    number: int,
    start: float,
    revision: int,
    epoch: int,
    robot: str,
    *,
    content: str = "",
    created: bool = True,
    key: str = "",
) -> Write:
    memory = {"one": 1}.get(content, number)
    answer = Acknowledged(memory, revision, epoch, created, robot)
    return Write("w", SERVICE, start, start + 0.1, key or f"k{number}", content or f"memory {number}", answer)


WRITES = [
    _write(1, 2.0, 2, 1, "a", content="one"),
    _write(2, 3.0, 3, 1, "a"),
    _write(3, 4.0, 4, 1, "a"),
    Write("w", SERVICE, 9.95, 10.05, "k4", "memory 4", Unknown("ReadError")),
    Write("w", "b", 10.06, 10.1, "k4", "memory 4", Refused(409, "not-active")),
    _write(4, 11.0, 6, 2, "b"),
    _write(5, 13.0, 9, 3, "b"),
    _write(6, 14.0, 10, 3, "b", content="one", created=False),
    _write(4, 15.0, 6, 2, "b"),  # the same key again is answered as the first time
]
READS = [Read("r", SERVICE, 5.0, 5.1, 1, True), Read("r", "b", 10.0, 10.5, 2, None)]
CACHES = [
    CacheRead("b", 4.5, 4.6, 4, digest_of([1, 2]), 20, 100),
    CacheRead("b", 16.0, 16.1, 10, digest_of([1, 4, 5]), 30, 100),
]
FAULT = Fault(1, "robot killed", "a", ("a",), (), 10.0, 10.0, 12.5, WALL)
HISTORY: list[Record] = [*EVENTS, *WRITES, *READS, *CACHES, FAULT]
ROW = FailoverRow("failover", "a", "b", 2, 5, WALL + 10.15)
TABLES = Tables(
    epoch=3,
    revision=10,
    pruned_to=3,
    active_target=1,
    memories=(MemoryRow(1, "one", 2), *(MemoryRow(n, f"memory {n}", 1) for n in (2, 3, 4, 5))),
    failovers=(ROW,),
    changes=tuple(ChangeRow(e.revision, e.kind, e.epoch, e.memory) for e in EVENTS[3:]),
    working_set=frozenset({1, 4, 5}),
    caches={"a": CacheDump(10, frozenset({1, 4, 5})), "b": CacheDump(10, frozenset({1, 4, 5}))},
)
Broken = tuple[History, Tables]


def _found(broken: Broken) -> list[tuple[Kind, str]]:
    history, tables = broken
    return sorted((v.kind, v.subject) for v in check(history, tables, 7).violations)


def _history(drop: Record | None = None, put: Record | None = None) -> History:
    """The whole history with one record replaced; None takes it out, or adds one."""
    records = [record for record in HISTORY if record != drop]
    assert drop is None or len(records) == len(HISTORY) - 1
    if put is None:
        return History.of(records)
    place = HISTORY.index(drop) if drop is not None else len(records)
    return History.of([*records[:place], put, *records[place:]])


def _tables(**changed: object) -> Tables:
    return replace(TABLES, **changed)  # type: ignore[arg-type]


def test_a_whole_history() -> None:
    result = check(History.of(HISTORY), TABLES, 7)
    assert result.violations == ()
    assert [(outage.start, outage.end, outage.faults) for outage in result.outages] == [
        (2.1, 3.1, ()),
        (3.1, 4.1, ()),
        (4.1, 11.1, (1,)),
        (11.1, 13.1, (1,)),
        (13.1, 14.1, ()),
        (14.1, 15.1, ()),
    ]
    assert result.as_json() == {
        "seed": 7,
        "faults": 1,
        "acknowledged": 5,
        "lost": 0,
        "doubled": 0,
        "stale_acknowledged": 0,
        "extra_promotions": 0,
        "stuck": 0,
        "longest_outage_ms": 7000.0,
        "others": {},
        "violations": [],
    }


def lost_row() -> Broken:
    return History.of(HISTORY), _tables(memories=TABLES.memories[:-1])


def lost_count() -> Broken:
    return History.of(HISTORY), _tables(memories=(MemoryRow(1, "one", 1), *TABLES.memories[1:]))


def lost_read() -> Broken:
    return _history(READS[0], replace(READS[0], found=False)), TABLES


def doubled_row() -> Broken:
    return History.of(HISTORY), _tables(memories=(*TABLES.memories, MemoryRow(6, "memory 5", 1)))


def doubled_count() -> Broken:
    return History.of(HISTORY), _tables(memories=(MemoryRow(1, "one", 3), *TABLES.memories[1:]))


def doubled_id() -> Broken:
    return History.of(HISTORY), _tables(memories=(*TABLES.memories[:-1], MemoryRow(8, "memory 5", 1)))


def doubled_creation() -> Broken:
    return _history(WRITES[7], _write(6, 14.0, 10, 3, "b", content="one", created=True)), TABLES


def key_answered_twice() -> Broken:
    return _history(WRITES[8], _write(4, 15.0, 6, 2, "b", created=False)), TABLES


def foreign_row() -> Broken:
    return History.of(HISTORY), _tables(memories=(*TABLES.memories, MemoryRow(9, "who said that", 1)))


def stale_writer() -> Broken:
    """The dead robot wrote after the promotion."""
    return _history(EVENTS[5], replace(EVENTS[5], robot="a")), TABLES


def stale_acknowledger() -> Broken:
    """A robot that had lost its role before the try began says that the memory is safe."""
    return _history(WRITES[6], _write(5, 13.0, 9, 3, "a")), TABLES


def stale_epoch() -> Broken:
    return _history(WRITES[6], _write(5, 13.0, 9, 2, "b")), TABLES


def no_failure() -> Broken:
    return _history(FAULT), TABLES


def failure_of_another() -> Broken:
    return _history(FAULT, replace(FAULT, failing=("b",), handing_over=("a",))), TABLES


def promotion_after_recovery() -> Broken:
    return _history(FAULT, replace(FAULT, recovered=10.1)), TABLES


def two_for_one_failure() -> Broken:
    """a came back as active by itself, and was failed over again, with one failure."""
    again = {"a": Place("active", 3), "b": Place("passive", 0)}
    history = _history(EVENTS[6], Event(12.1, 7, "role", 3, roles=again, cause="failover", source="b", target="a"))
    history.writes[:] = [w for w in history.writes if w not in WRITES[6:8]]
    history.events[:] = [
        *history.events[:7],
        Event(12.2, 8, "role", 4, roles={**B, "b": Place("active", 4)}, cause="failover", source="a", target="b"),
    ]
    history.caches.pop()
    rows = (
        ROW,
        FailoverRow("failover", "b", "a", 3, 7, WALL + 12),
        FailoverRow("failover", "a", "b", 4, 8, WALL + 12.1),
    )
    history.faults[0] = replace(FAULT, failing=("a", "b"))
    held = frozenset({1, 2, 4})
    return history, _tables(
        revision=8, epoch=4, failovers=rows, working_set=held, changes=(), pruned_to=8,
        memories=(MemoryRow(1, "one", 1), *TABLES.memories[1:4]), caches={"b": CacheDump(8, held)},
    )  # fmt: skip


def two_active() -> Broken:
    both = {"a": Place("active", 3), "b": Place("active", 2)}
    return _history(EVENTS[6], replace(EVENTS[6], roles=both)), TABLES


def row_missing() -> Broken:
    return History.of(HISTORY), _tables(failovers=())


def row_without_event() -> Broken:
    return _history(EVENTS[4], replace(EVENTS[4], cause="", source="", target="")), TABLES


def epoch_skipped() -> Broken:
    history = _history(WRITES[6], _write(5, 13.0, 9, 4, "b"))
    history.writes[history.writes.index(WRITES[7])] = _write(6, 14.0, 10, 4, "b", content="one", created=False)
    history.events[6:] = [replace(event, epoch=4) for event in history.events[6:]]
    return history, _tables(epoch=4, changes=tuple(replace(c, epoch=4) if c.epoch == 3 else c for c in TABLES.changes))


def tenure_of_no_epoch() -> Broken:
    roles = {"a": Place("passive", 0), "b": Place("active", 1)}
    return _history(EVENTS[6], replace(EVENTS[6], roles=roles)), TABLES


def event_of_another_epoch() -> Broken:
    changes = tuple(replace(c, epoch=2) if c.revision == 8 else c for c in TABLES.changes)
    return _history(EVENTS[7], replace(EVENTS[7], epoch=2)), _tables(changes=changes)


def revision_missing() -> Broken:
    return _history(EVENTS[7]), _tables(changes=tuple(c for c in TABLES.changes if c.revision != 8))


def revision_missing_in_the_feed() -> Broken:
    return _history(EVENTS[3]), TABLES


def revision_beyond() -> Broken:
    return _history(put=Event(20.0, 11, "evicted", 3, 77)), TABLES


def revision_missing_in_the_table() -> Broken:
    return History.of(HISTORY), _tables(changes=tuple(c for c in TABLES.changes if c.revision != 8))


def told_otherwise() -> Broken:
    changes = tuple(replace(c, memory=3) if c.revision == 8 else c for c in TABLES.changes)
    return History.of(HISTORY), _tables(changes=changes)


def pruned_unread() -> Broken:
    return _history(put=Gap(5.0, 1, 3)), TABLES


def acknowledged_under_another_revision() -> Broken:
    return _history(WRITES[6], _write(5, 13.0, 8, 3, "b")), TABLES


def feed_out_of_order() -> Broken:
    history = History.of(HISTORY)
    history.events[1], history.events[2] = history.events[2], history.events[1]
    return history, TABLES


def write_before_its_time() -> Broken:
    """Memory 2 got a revision that somebody had seen before it was asked for."""
    return _history(WRITES[1], replace(WRITES[1], start=3.5, end=3.6)), TABLES


def over_budget() -> Broken:
    return _history(CACHES[0], replace(CACHES[0], tokens=101)), TABLES


def cache_read_diverged() -> Broken:
    return _history(CACHES[0], replace(CACHES[0], digest=digest_of([1]))), TABLES


def cache_behind() -> Broken:
    return History.of(HISTORY), _tables(caches={**TABLES.caches, "a": CacheDump(9, frozenset({1, 4, 5}))})


def cache_diverged() -> Broken:
    return History.of(HISTORY), _tables(caches={**TABLES.caches, "a": CacheDump(10, frozenset({1, 4}))})


def working_set_diverged() -> Broken:
    held = frozenset({1, 2, 4, 5})
    return History.of(HISTORY), _tables(working_set=held, caches=dict.fromkeys("ab", CacheDump(10, held)))


def stuck() -> Broken:
    return _history(FAULT, replace(FAULT, recovered=None)), TABLES


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (lost_row, [(Kind.LOST, "memory 5")]),
        (lost_count, [(Kind.LOST, "one")]),
        (lost_read, [(Kind.LOST, "memory 1")]),
        (doubled_row, [(Kind.DOUBLED, "memory 5")]),
        (doubled_count, [(Kind.DOUBLED, "one")]),
        (doubled_id, [(Kind.DOUBLED, "memory 5")]),
        (doubled_creation, [(Kind.DOUBLED, "one")]),
        (key_answered_twice, [(Kind.DOUBLED, "k4")]),
        (foreign_row, [(Kind.FOREIGN, "who said that")]),
        (stale_writer, [(Kind.STALE, "revision 6")]),
        (stale_acknowledger, [(Kind.STALE, "memory 5")]),
        (stale_epoch, [(Kind.STALE, "memory 5")]),
        (no_failure, [(Kind.EXTRA_PROMOTION, "epoch 2")]),
        (failure_of_another, [(Kind.EXTRA_PROMOTION, "epoch 2")]),
        (promotion_after_recovery, [(Kind.EXTRA_PROMOTION, "epoch 2")]),
        (two_for_one_failure, [(Kind.EXTRA_PROMOTION, "epoch 4")]),
        (two_active, [(Kind.EXTRA_PROMOTION, "epoch 3")]),
        (row_missing, [(Kind.UNRECORDED, "epoch 2")]),
        (row_without_event, [(Kind.UNRECORDED, "epoch 2")]),
        (epoch_skipped, [(Kind.EPOCH, "epoch 4")]),
        (tenure_of_no_epoch, [(Kind.EPOCH, "epoch 3")]),
        (event_of_another_epoch, [(Kind.EPOCH, "revision 8")]),
        (revision_missing, [(Kind.DIVERGED, "the working set"), (Kind.GAP, "revision 8"), (Kind.GAP, "revision 8")]),
        (
            revision_missing_in_the_feed,
            [(Kind.DIVERGED, "the working set"), (Kind.GAP, "revision 4"), (Kind.GAP, "revision 4")],
        ),
        (revision_beyond, [(Kind.GAP, "revision 11")]),
        (revision_missing_in_the_table, [(Kind.GAP, "revision 8")]),
        (told_otherwise, [(Kind.GAP, "revision 8")]),
        (pruned_unread, [(Kind.GAP, "revision 2")]),
        (acknowledged_under_another_revision, [(Kind.GAP, "revision 8")]),
        (feed_out_of_order, [(Kind.ORDER, "revision 2")]),
        (write_before_its_time, [(Kind.ORDER, "revision 3")]),
        (over_budget, [(Kind.BUDGET, "b")]),
        (cache_read_diverged, [(Kind.DIVERGED, "b")]),
        (cache_behind, [(Kind.DIVERGED, "a")]),
        (cache_diverged, [(Kind.DIVERGED, "a")]),
        (working_set_diverged, [(Kind.DIVERGED, "the working set")]),
        (stuck, [(Kind.STUCK, "fault 1")]),
    ],
)
def test_a_broken_history(broken: Callable[[], Broken], found: list[tuple[Kind, str]]) -> None:
    assert _found(broken()) == found
