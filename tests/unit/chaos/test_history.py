"""A history in its file, and back."""

from pathlib import Path

from tests.chaos.history import (
    Acknowledged,
    CacheRead,
    Event,
    Fault,
    Gap,
    History,
    Place,
    Read,
    Record,
    Recorder,
    Refused,
    Unknown,
    Write,
    digest_of,
    load,
)
from tests.chaos.recording import outcome_of
from tests.chaos.tables import CacheDump, ChangeRow, FailoverRow, MemoryRow, Tables

RECORDS: list[Record] = [
    Write("w", "service", 1.0, 1.5, "k", "né", Acknowledged(1, 2, 3, True, "a")),
    Write("w", "a", 1.0, 1.5, "k", "né", Refused(503, "no-active-robot")),
    Write("w", "a", 1.0, 1.5, "k", "né", Unknown("ReadError")),
    Read("r", "service", 1.0, 2.0, 1, True),
    CacheRead("a", 1.0, 2.0, 3, 4, 5, 6),
    Event(1.0, 1, "role", 1, roles={"a": Place("active", 1)}, cause="failover", source="b", target="a"),
    Event(1.0, 2, "added", 1, 1, "a", held=True),
    Gap(2.0, 1, 5),
    Fault(1, "killed", "a", ("a",), (), 1.0, 1.0, None, 5.0),
]


def test_a_file_holds_the_history(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "history.jsonl")
    for record in RECORDS:
        recorder.add(record)
    recorder.close()
    assert load(tmp_path / "history.jsonl") == recorder.history == History.of(RECORDS)


def test_a_file_holds_the_tables(tmp_path: Path) -> None:
    tables = Tables(
        epoch=1,
        revision=2,
        pruned_to=0,
        active_target=1,
        memories=(MemoryRow(1, "one", 1),),
        failovers=(FailoverRow("failover", "a", "b", 1, 1, 2.5),),
        changes=(ChangeRow(1, "added", 1, 1),),
        working_set=frozenset({2, 1}),
        caches={"a": CacheDump(2, frozenset({1}))},
    )
    tables.write(tmp_path / "tables.json")
    assert Tables.load(tmp_path / "tables.json") == tables


def test_digests_of_disjoint_sets_add_up() -> None:
    assert (digest_of([1, 2]) + digest_of([3])) % 2**61 == digest_of([3, 2, 1])
    assert digest_of([1, 2]) != digest_of([3])


def test_what_an_answer_means() -> None:
    body = b'{"id": 1, "revision": 2, "epoch": 3, "created": false, "in_working_memory": true, "tokens": 4}'
    assert outcome_of(201, body, "a") == Acknowledged(1, 2, 3, False, "a")
    assert outcome_of(409, b'{"type": "urn:robotgroups:problem:not-active"}', "a") == Refused(409, "not-active")
    assert outcome_of(502, b"<html>", "") == Refused(502, "no JSON")
