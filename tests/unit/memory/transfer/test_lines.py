"""Lines of an export: what is read of each, and that everything else is refused with its place and the field."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.errors import ArgumentError, InvalidExportError
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.transfer.format import MAX_LINE_BYTES, Counts, End, Header, LineKind, Model, Position, Tally, line_of
from robotgroups.transfer.group_settings import settings_of
from robotgroups.transfer.lines import (
    ChunkLine,
    EmbeddingLine,
    FileLine,
    MarkLine,
    MemoryLine,
    RelationLine,
    VersionLine,
    read_line,
)

HASH = "0" * 64
TIME = "2026-03-01T09:30:00Z"
GOOD: dict[LineKind, dict[str, Any]] = {
    LineKind.HEADER: {"format": "robotgroups", "version": 1},
    LineKind.MEMORY: {"content": "one", "originator": "a"},
    LineKind.EMBEDDING: {"vector": [0.5, 1]},
    LineKind.VERSION: {"version": 1, "content": "one", "since": TIME, "until": TIME},
    LineKind.RELATION: {"source": HASH, "target": "1" * 64, "kind": "supports", "weight": 0.5},
    LineKind.FILE: {"path": "/a.md", "digest": HASH, "chunks": 1},
    LineKind.CHUNK: {"position": 0, "content_hash": HASH, "memory": HASH},
    LineKind.MARK: {"memories": 7},
    LineKind.END: {},
}


def line(kind: LineKind, /, **changes: Any) -> bytes:
    return line_of(kind, GOOD[kind] | changes)


def test_what_is_read_of_each() -> None:
    memory = line(LineKind.MEMORY, tags=[" a : b ", "a:b", ":old:"], scope={"z": "1", "a": "2"}, version=3)
    assert read_line(memory, 1) == MemoryLine(memory.decode().strip(), "one", 3, ("a:b", ":old:"), ("a=2", "z=1"))
    assert read_line(line(LineKind.EMBEDDING), 1) == EmbeddingLine((0.5, 1.0))
    version = line(LineKind.VERSION)
    assert read_line(version, 1) == VersionLine(version.decode().strip(), "one", 1)
    relation = line(LineKind.RELATION)
    assert read_line(relation, 1) == RelationLine(relation.decode().strip())
    file = line(LineKind.FILE, scope={"user": "u"})
    assert read_line(file, 1) == FileLine(file.decode().strip(), ("user=u",))
    chunk = line(LineKind.CHUNK, heading=["", "b"])
    assert read_line(chunk, 1) == ChunkLine(chunk.decode().strip())
    assert read_line(line(LineKind.MARK, relations=[1, 2, "k"]), 1) == MarkLine(Position(7, (1, 2, "k")))
    assert read_line(line(LineKind.END), 1) == End(Counts())


def test_what_we_write_we_read() -> None:
    header = Header(
        GroupKey("c", "n", "g"),
        TIME,
        {"max_tokens": 5},
        up_to=9,
        memories=3,
        model=Model("openai", "m", 3),
        exported_at=TIME,
    )
    assert read_line(header.line(), 1) == header
    for position in (Position(3), Position(3, (1, 2, "k")), Position(3, (0, 0, ""), (4, -1))):
        assert read_line(position.line(), 1) == MarkLine(position)
    tally = Tally()
    for kind in LineKind:
        tally.add(line(kind), kind)
    end = tally.end()
    assert end.counts == Counts(1, 1, 1, 1, 1, 1)
    assert read_line(end.line(), 1) == end


def test_the_checksum_of_the_content_is_of_nothing_else() -> None:
    one, two = Tally(), Tally()
    one.add(line(LineKind.HEADER), LineKind.HEADER)
    for tally in (one, two):
        tally.add(line(LineKind.MEMORY), LineKind.MEMORY)
    two.add(line(LineKind.MARK), LineKind.MARK)
    assert one.end().content_sha256 == two.end().content_sha256
    assert one.end().sha256 != two.end().sha256
    two.copy().add(line(LineKind.MEMORY), LineKind.MEMORY)
    assert one.end().content_sha256 == two.end().content_sha256


@pytest.mark.parametrize(("number", "zero"), [("-0", -0.0), ("-0.0", -0.0), ("0", 0.0)])
def test_a_vector_keeps_its_zeros(number: str, zero: float) -> None:
    read = read_line(f'{{"type":"embedding","vector":[{number}]}}'.encode(), 1)
    assert isinstance(read, EmbeddingLine)
    assert str(read.vector[0]) == str(zero)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"nonsense", "it is no JSON: "),
        (b"[1]", r"it must be a JSON object, not \[1\]"),
        (b'{"type":"memory","content":"\xff"}', r"it is not UTF-8 \(byte 28\)"),
        (b'{"type":"nothing"}', "unknown type 'nothing': choose one of header, memory"),
        (b'{"type":["memory"]}', "unknown type"),
        (b"{}", "unknown type None"),
        (b'{"type":"mark","memories":NaN}', "it holds NaN, which is no number of JSON"),
        (b'{"type":' + b"[" * 100_000, "it is nested too deeply"),
        (b'{"type":"mark","memories":' + b"1" * 5000 + b"}", "it is no JSON"),
        (b" " * (MAX_LINE_BYTES + 1), "it has more than 16777216 bytes"),
    ],
)
def test_what_is_no_line_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidExportError, match=f"^line 7: {message}") as refused:
        read_line(raw, 7)
    assert refused.value.line == 7


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (LineKind.HEADER, {"format": "other"}, "format must be 'robotgroups', not 'other': this is no export of ours"),
        (LineKind.HEADER, {"version": 2}, "this robotgroups reads format version 1, not 2: upgrade robotgroups"),
        (LineKind.HEADER, {"settings": []}, r"settings must be a JSON object, not \[\]"),
        (LineKind.HEADER, {"model": {"provider": "x"}}, "model is missing"),
        (LineKind.HEADER, {"model": {"provider": "x", "model": "m", "dimensions": 0}}, "model.dimensions must be"),
        (LineKind.HEADER, {"more": 1}, "unknown field header.more"),
        (LineKind.MEMORY, {"content": None}, "content is missing"),
        (LineKind.MEMORY, {"content": " \n"}, "content must not be blank"),
        (LineKind.MEMORY, {"content": "\x00"}, "content holds a NUL character at character 0"),
        (LineKind.MEMORY, {"content": "x" * 262145}, "content has 262145 bytes of UTF-8"),
        (LineKind.MEMORY, {"content": 5}, "content must be text, not int"),
        (LineKind.MEMORY, {"originator": ""}, "originator must not be blank"),
        (LineKind.MEMORY, {"contents": "x"}, "unknown field memory.contents: the fields are hash, content"),
        (LineKind.MEMORY, {"tags": "a"}, "tags must be a list of texts, not 'a'"),
        (LineKind.MEMORY, {"tags": [" "]}, "tags must not be blank"),
        (LineKind.MEMORY, {"metadata": []}, r"metadata must be a JSON object, not \[\]"),
        (LineKind.MEMORY, {"metadata": {"a": "\x00"}}, r"metadata.a holds a NUL character"),
        (LineKind.MEMORY, {"scope": {"User": "u"}}, "scope's key 'User' must begin with"),
        (LineKind.MEMORY, {"created_at": "yesterday"}, "created_at must be a time with its zone, such as 2026-"),
        (LineKind.MEMORY, {"created_at": "2026-02-30T00:00:00Z"}, "created_at must be a time with its zone"),
        (LineKind.MEMORY, {"created_at": "2026-03-01T09:30:00"}, "created_at must be a time with its zone"),
        (LineKind.MEMORY, {"created_at": "2026-03-01T09:30:00+16:00"}, "created_at must be a time with its zone"),
        (LineKind.MEMORY, {"expires_at": 5}, "expires_at must be a time with its zone, .* not 5"),
        (LineKind.MEMORY, {"remember_count": 0}, "remember_count must be a whole number, 1..2147483647, not 0"),
        (LineKind.MEMORY, {"access_count": 2**31}, "access_count must be a whole number, 0..2147483647"),
        (LineKind.MEMORY, {"version": True}, "version must be a whole number"),
        (LineKind.MEMORY, {"hash": "0"}, "hash must be 64 hexadecimal digits"),
        (LineKind.MEMORY, {"working_memory": True}, "working_memory must be a JSON object"),
        (LineKind.MEMORY, {"working_memory": {"pinned": 1}}, "working_memory.pinned must be true or false, not 1"),
        (LineKind.MEMORY, {"working_memory": {"pin": 1}}, "unknown field working_memory.pin"),
        (LineKind.EMBEDDING, {"vector": []}, "vector must be a list of 1 to 16000 numbers"),
        (LineKind.EMBEDDING, {"vector": [True]}, "vector must hold numbers up to 3.4e[+]38, not True"),
        (LineKind.EMBEDDING, {"vector": [1e39]}, "vector must hold numbers up to 3.4e[+]38, not 1e[+]39"),
        (LineKind.EMBEDDING, {"vector": [65505] * 2001}, "vector must hold numbers up to 65504, not 65505"),
        (LineKind.VERSION, {"version": 0}, "version must be a whole number, 1"),
        (LineKind.VERSION, {"until": None}, "until is missing"),
        (LineKind.RELATION, {"target": HASH}, "source and target are the same"),
        (LineKind.RELATION, {"kind": "tags"}, "kind 'tags' is for relations that are made of tags"),
        (LineKind.RELATION, {"weight": 0}, "weight must be between 0.000001 and 1, not 0"),
        (LineKind.RELATION, {"weight": 1.1}, "weight must be between"),
        (LineKind.FILE, {"digest": "x"}, "digest must be 64 hexadecimal digits"),
        (LineKind.CHUNK, {"heading": [5]}, "heading must be text, not int"),
        (LineKind.CHUNK, {"position": -1}, "position must be a whole number"),
        (LineKind.MARK, {"memories": "7"}, "memories must be a whole number"),
        (LineKind.MARK, {"relations": [1]}, "relations must be two ids and a kind"),
        (LineKind.MARK, {"files": [1, 2]}, "files must be an id and a place, behind relations"),
        (LineKind.END, {"sha256": "x"}, "sha256 must be 64 hexadecimal digits"),
    ],
)
def test_a_wrong_field_is_named(kind: LineKind, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidExportError, match=f"^line 3: {message}"):
        read_line(line(kind, **changes), 3)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidExportError, match="line 1: content holds a lone surrogate at character 0"):
        read_line(b'{"type":"memory","content":"\\ud800","originator":"a"}', 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(sorted({name for kind in GOOD.values() for name in kind} | {"tags", "metadata", "scope"}))


@given(kind=st.sampled_from(LineKind), changes=st.dictionaries(FIELDS, JSON, max_size=3))
def test_whatever_a_line_holds_it_is_read_or_refused(kind: LineKind, changes: dict[str, Any]) -> None:
    raw = json.dumps({"type": kind.value, **GOOD[kind], **changes}).encode()
    with contextlib.suppress(InvalidExportError):
        read_line(raw, 1)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_of_a_group_that_is_to_be_made() -> None:
    settings = settings_of(Header(GroupKey("", "", ""), settings={"max_tokens": 9, "eviction": "lru", "space": None}))
    assert settings == GroupSettings(max_tokens=9, eviction=settings.eviction)
    assert settings.eviction.value == "lru"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "settings.max_tokens must be a whole number, 1 or more, not 0"),
        ({"eviction": "random"}, "unknown settings.eviction 'random': choose one of balanced, lru, lfu, fifo"),
        ({"tokenizer": "words"}, "unknown tokenizer 'words'"),
        ({"embedding": 5}, "settings.embedding must be a JSON object, not 5"),
        ({"embedding": {"provider": "x"}}, "unknown embedding.provider 'x'"),
        ({"resource_uid": "x"}, "unknown field settings.resource_uid"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        settings_of(Header(GroupKey("", "", ""), settings=settings))
