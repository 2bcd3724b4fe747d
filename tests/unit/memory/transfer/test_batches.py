"""Batches of an import: everything comes once, in order, whole; where it goes on, nothing is lost."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups import tokens
from robotgroups.errors import InvalidExportError
from robotgroups.transfer import batches as module
from robotgroups.transfer.batches import Batch, BatchKind, batches
from robotgroups.transfer.format import LineKind, Model, line_of
from robotgroups.transfer.lines import Line, read_line

HASH, OTHER = "0" * 64, "1" * 64
TIME = "2026-03-01T09:30:00Z"
MODEL = Model("openai", "m", 2)


def numbered(raw: list[bytes]) -> Iterator[tuple[int, Line]]:
    """Lines behind a header."""
    return ((number, read_line(line, number)) for number, line in enumerate(raw, 2))


def gathered(raw: list[bytes], model: Model | None = MODEL) -> list[Batch]:
    return list(batches(numbered(raw), tokens.DEFAULT, model))


def memory(text: str, **more: Any) -> bytes:
    return line_of(LineKind.MEMORY, {"content": text, "originator": "a", **more})


def version(number: int, text: str = "before") -> bytes:
    return line_of(LineKind.VERSION, {"version": number, "content": text, "since": TIME, "until": TIME})


VECTOR = line_of(LineKind.EMBEDDING, {"vector": [0.5, -0.0]})
RELATION = line_of(LineKind.RELATION, {"source": HASH, "target": OTHER, "kind": "k", "weight": 1})
FILE = line_of(LineKind.FILE, {"path": "/a", "digest": HASH, "chunks": 1, "scope": {"user": "u"}})
CHUNK = line_of(LineKind.CHUNK, {"position": 0, "content_hash": HASH, "memory": HASH})
MARK = line_of(LineKind.MARK, {"memories": 1})
END = line_of(LineKind.END, {})


def test_an_item_is_a_memory_with_all_that_belongs_to_it() -> None:
    one = memory("one two", version=3, tags=["b", "a"], scope={"user": "u"}, metadata={"n": 0.10})
    (batch,) = gathered([one, VECTOR, version(1, "one"), version(2), MARK, END])
    assert (batch.kind, batch.count, batch.line) == (BatchKind.MEMORIES, 1, 7)
    assert [json.loads(item) for item in batch.items] == [
        {
            "record": json.loads(one),
            "tokens": 2,
            "tags": ["b", "a"],
            "scope": ["user=u"],
            "versions": [
                {"record": json.loads(version(1, "one")), "tokens": 1},
                {"record": json.loads(version(2)), "tokens": 1},
            ],
            "embedding": "[0.5, -0.0]",
        }
    ]


def test_each_kind_has_batches_of_its_own() -> None:
    found = gathered([memory("one"), RELATION, RELATION, MARK, FILE, CHUNK, FILE, END])
    assert [(b.kind, b.count, b.line) for b in found] == [
        (BatchKind.MEMORIES, 1, 2),
        (BatchKind.RELATIONS, 2, 5),
        (BatchKind.FILES, 2, 9),
    ]
    assert json.loads(found[2].items[0]) == {
        "record": json.loads(FILE),
        "scope": ["user=u"],
        "chunks": [{"record": json.loads(CHUNK)}],
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([VECTOR], "line 2: it belongs to a memory, and there is none before it"),
        ([MARK, version(1)], "line 3: it belongs to a memory, and there is none before it"),
        ([memory("a"), RELATION, VECTOR], "line 4: it belongs to a memory"),
        ([CHUNK], "line 2: it belongs to a file, and there is none before it"),
        ([RELATION, memory("a")], "line 3: memories come before relations"),
        ([FILE, RELATION], "line 3: relations come before files"),
        ([memory("a"), version(1)], "line 3: version 1 is none before the memory's own, 1"),
        ([memory("a", version=4), version(1), version(3)], "line 4: version 3 does not follow 1"),
        ([line_of(LineKind.HEADER, {"format": "robotgroups", "version": 1})], "line 2: a second header"),
        ([memory("a"), line_of(LineKind.EMBEDDING, {"vector": [1]})], "line 3: vector has 1 dimensions, the .* 2"),
    ],
)
def test_what_cannot_stand_there_is_refused(raw: list[bytes], message: str) -> None:
    with pytest.raises(InvalidExportError, match=message):
        gathered(raw)


def test_an_embedding_needs_a_model() -> None:
    with pytest.raises(InvalidExportError, match="line 3: an embedding, but the header names no model"):
        gathered([memory("a"), VECTOR], None)


MEMORIES = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 300), st.booleans(), st.booleans()), min_size=1, max_size=15
)


@given(memories=MEMORIES, relations=st.integers(0, 8))
@settings(deadline=None)
def test_everything_comes_once_and_can_be_gone_on_with(
    memories: list[tuple[int, int, bool, bool]], relations: int
) -> None:
    """With small batches: histories longer than one, marks anywhere."""
    raw: list[bytes] = []
    for n, (versions, size, embedded, mark) in enumerate(memories):
        raw.append(memory(f"{n} " + "x" * size, version=versions + 1))
        raw += [VECTOR] * embedded
        raw += [version(v + 1, f"{n} {v} " + "y" * size) for v in range(versions)]
        raw += [MARK] * mark
    raw += [RELATION.replace(b'"k"', f'"k{n}"'.encode()) for n in range(relations)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_ITEMS", 3)
        patch.setattr(module, "MAX_CHARACTERS", 1500)
        found = gathered([*raw, END])
        assert brought(found) == [json.loads(line) for line in raw if line not in {MARK, VECTOR}]
        assert sum(batch.count for batch in found) == len(memories) + relations
        for done, batch in enumerate(found, 1):
            assert 1 <= len(batch.items) <= 3
            # what comes when it goes on behind this batch is the rest, from its first line that was not done on
            after = ((number, line) for number, line in numbered([*raw, END]) if number > batch.line)
            rest = brought(list(batches(after, tokens.DEFAULT, MODEL)))
            records, before = brought(found), brought(found[:done])
            assert records[len(records) - len(rest) :] == rest
            assert len(before) + len(rest) >= len(records)


def brought(found: list[Batch]) -> list[Any]:
    """The records in batches, as they stand in the export; a memory that goes on in the next stands there once."""
    records: list[Any] = []
    last = None
    for item in (json.loads(text) for batch in found for text in batch.items):
        record = item.get("record", item)
        if record != last:
            records.append(record)
        last = record
        records += [v["record"] for v in item.get("versions", [])]
    return records
