"""Lines of an export as they are read: each checked in full before anything of it reaches the database. No I/O.

A line may be written by hand: what has a default can be left out, a field that there is not is refused. Postgres gets
the line itself, so that every number of its metadata stays as it is.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from robotgroups import fields
from robotgroups.embedding.config import MAX_DIMENSIONS
from robotgroups.errors import ArgumentError, InvalidExportError, InvalidTagError
from robotgroups.limits import check_content, check_json, check_scope, check_text, check_words, shown
from robotgroups.models import GroupKey
from robotgroups.tags import check_tag
from robotgroups.transfer.format import FORMAT, MAX_LINE_BYTES, VERSION, Counts, End, Header, LineKind, Model, Position

_LARGEST_INTEGER = 2**31 - 1
_LEAST_WEIGHT = 0.000001
# Postgres takes zones up to 15:59.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-](0\d|1[0-5]):[0-5]\d)")
_HASH = re.compile(r"[0-9a-f]{64}")
# The largest number of a vector (float4), and of one that is stored as halfvec.
_FLOAT, _HALF, _LONGEST_VECTOR = 3.4e38, 65504.0, 2000


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """A memory: its line, and what of it is counted or kept in another form."""

    text: str
    content: str
    version: int
    tags: tuple[str, ...]
    scope: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmbeddingLine:
    """The vector of the memory before it."""

    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class VersionLine:
    """What the memory before it said once."""

    text: str
    content: str
    version: int


@dataclass(frozen=True, slots=True)
class RelationLine:
    """What somebody has said of two memories."""

    text: str


@dataclass(frozen=True, slots=True)
class MarkLine:
    """How far an export was; it says nothing to an import."""

    position: Position


Line = Header | MemoryLine | EmbeddingLine | VersionLine | RelationLine | MarkLine | End


def read_line(raw: bytes, number: int) -> Line:
    """Read and check a line; ``number`` is its place from 1.

    Raises:
        InvalidExportError: it names the line, the field and what is wrong with it.

    """
    try:
        text = _text(raw)
        data = _object(text)
        kind = fields.choice("type", data.pop("type", None), LineKind)
        return _READERS[kind](text, data)
    except InvalidExportError as error:
        raise InvalidExportError(str(error), number) from None
    except ArgumentError as error:
        raise InvalidExportError(str(error), number) from error


def _text(raw: bytes) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise ArgumentError(f"it has more than {MAX_LINE_BYTES} bytes")
    try:
        return raw.decode().strip()
    except UnicodeDecodeError as error:
        raise ArgumentError(f"it is not UTF-8 (byte {error.start})") from error


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ArgumentError("it is nested too deeply") from None
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError(f"it is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ArgumentError(f"it must be a JSON object, not {shown(data)}")
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ArgumentError(f"it holds {name}, which is no number of JSON")


# -- kinds of lines ----------------------------------------------------------------------------------------------------


def _header(_: str, data: dict[str, Any]) -> Header:
    names = ("format", "version", "exported_at", "group", "settings", "model", "memories", "up_to")
    fields.known(LineKind.HEADER, data, names)
    if data.get("format") != FORMAT:
        raise ArgumentError(f"format must be {FORMAT!r}, not {shown(data.get('format'))}: this is no export of ours")
    if data.get("version") != VERSION:
        raise ArgumentError(
            f"this robotgroups reads format version {VERSION}, not {shown(data.get('version'))}: upgrade robotgroups"
        )
    group, settings, model = data.get("group", {}), data.get("settings", {}), data.get("model")
    for name, value in (("group", group), ("settings", settings), ("model", model or {})):
        if not isinstance(value, dict):
            raise ArgumentError(f"{name} must be a JSON object, not {shown(value)}")
    fields.whole("memories", data.get("memories", 0), 0)
    return Header(
        group=GroupKey(*(str(group.get(name, "")) for name in ("cluster", "namespace_uid", "name"))),
        group_created_at=str(group.get("created_at", "")),
        settings=settings,
        up_to=data.get("up_to", 0),
        memories=data.get("memories", 0),
        model=None if model is None else _model(model),
        exported_at=str(data.get("exported_at", "")),
    )


def _model(data: Mapping[str, Any]) -> Model:
    _require(data, "provider", "model", "dimensions")
    fields.known("model", data, ("provider", "model", "dimensions"))
    check_words(data["provider"], "model.provider")
    check_words(data["model"], "model.model")
    fields.whole("model.dimensions", data["dimensions"], 1, MAX_DIMENSIONS)
    return Model(data["provider"], data["model"], data["dimensions"])


def _memory(text: str, data: dict[str, Any]) -> MemoryLine:
    _require(data, "content", "originator")
    _check(LineKind.MEMORY, data, _MEMORY)
    return MemoryLine(
        text=text,
        content=data["content"],
        version=data.get("version") or 1,
        tags=tuple(dict.fromkeys(map(_clean_tag, data.get("tags") or ()))),
        scope=tuple(f"{key}={value}" for key, value in check_scope(data.get("scope")).items()),
    )


def _embedding(_: str, data: dict[str, Any]) -> EmbeddingLine:
    _require(data, "vector")
    fields.known(LineKind.EMBEDDING, data, ("vector",))
    vector = data["vector"]
    if not isinstance(vector, list) or not 1 <= len(vector) <= MAX_DIMENSIONS:
        raise ArgumentError(f"vector must be a list of 1 to {MAX_DIMENSIONS} numbers, not {shown(vector)}")
    most = _FLOAT if len(vector) <= _LONGEST_VECTOR else _HALF
    for number in vector:
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= most:
            raise ArgumentError(f"vector must hold numbers up to {most:g}, not {shown(number)}")
    return EmbeddingLine(tuple(map(float, vector)))


def _version(text: str, data: dict[str, Any]) -> VersionLine:
    _require(data, "version", "content", "since", "until")
    _check(LineKind.VERSION, data, _VERSION)
    return VersionLine(text, data["content"], data["version"])


def _relation(text: str, data: dict[str, Any]) -> RelationLine:
    _require(data, "source", "target", "kind", "weight")
    _check(LineKind.RELATION, data, _RELATION)
    if data["source"] == data["target"]:
        raise ArgumentError("source and target are the same: a memory is not related to itself")
    return RelationLine(text)


def _mark(_: str, data: dict[str, Any]) -> MarkLine:
    fields.known(LineKind.MARK, data, ("memories", "relations"))
    fields.whole("memories", data.get("memories"), 0)
    relations = data.get("relations")
    if relations is None:
        return MarkLine(Position(data["memories"]))
    if not isinstance(relations, list) or [type(part) for part in relations] != [int, int, str]:
        raise ArgumentError(f"relations must be two ids and a kind, not {shown(relations)}")
    return MarkLine(Position(data["memories"], (relations[0], relations[1], relations[2])))


def _end(_: str, data: dict[str, Any]) -> End:
    names = ("memories", "embeddings", "versions", "relations")
    fields.known(LineKind.END, data, (*names, "sha256", "content_sha256"))
    for name in names:
        fields.whole(name, data.get(name, 0), 0)
    for name in ("sha256", "content_sha256"):
        if data.get(name) is not None:
            _hash(name, data[name])
    return End(Counts(**{name: data.get(name, 0) for name in names}), data.get("sha256"), data.get("content_sha256"))


_READERS: Mapping[LineKind, Callable[[str, dict[str, Any]], Line]] = {
    LineKind.HEADER: _header,
    LineKind.MEMORY: _memory,
    LineKind.EMBEDDING: _embedding,
    LineKind.VERSION: _version,
    LineKind.RELATION: _relation,
    LineKind.MARK: _mark,
    LineKind.END: _end,
}


# -- fields ------------------------------------------------------------------------------------------------------------


def _require(data: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if data.get(name) is None:
            raise ArgumentError(f"{name} is missing")


def _check(kind: LineKind, data: Mapping[str, Any], checks: Mapping[str, Callable[[str, Any], None]]) -> None:
    """Check the fields that are there; null is as if it were left out."""
    fields.known(kind, data, checks)
    for name, check in checks.items():
        if data.get(name) is not None:
            check(name, data[name])


def _content(_: str, value: Any) -> None:
    check_content(value)


def _words(name: str, value: Any) -> None:
    check_words(value, name)


def _text_list(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise ArgumentError(f"{name} must be a list of texts, not {shown(value)}")
    for text in value:
        check_words(text, name)


def _clean_tag(tag: str) -> str:
    try:
        return check_tag(tag)
    except InvalidTagError:
        return tag  # an older one that breaks today's rules stays what it is


def _metadata(name: str, value: Any) -> None:
    # without the limit of its size: remembering a memory again has put its metadata together
    if not isinstance(value, dict):
        raise ArgumentError(f"{name} must be a JSON object, not {shown(value)}")
    check_json(value, name)


def _scope(_: str, value: Any) -> None:
    check_scope(value)


def _time(name: str, value: Any) -> None:
    if isinstance(value, str) and _TIME.fullmatch(value):
        with contextlib.suppress(ValueError):  # the 30th of February
            datetime.fromisoformat(value)
            return
    raise ArgumentError(f"{name} must be a time with its zone, such as 2026-03-01T09:30:00+00:00, not {shown(value)}")


def _whole(name: str, value: Any) -> None:
    fields.whole(name, value, 0, _LARGEST_INTEGER)


def _positive(name: str, value: Any) -> None:
    fields.whole(name, value, 1, _LARGEST_INTEGER)


def _hash(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ArgumentError(f"{name} must be 64 hexadecimal digits, not {shown(value)}")


def _kind(name: str, value: Any) -> None:
    check_words(value, name)
    if value == "tags":
        raise ArgumentError(f"{name} 'tags' is for relations that are made of tags: choose another")


def _weight(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _LEAST_WEIGHT <= value <= 1:
        raise ArgumentError(f"{name} must be between {_LEAST_WEIGHT:f} and 1, not {shown(value)}")


def _place(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ArgumentError(f"{name} must be a JSON object, not {shown(value)}")
    _check_place(name, value)


def _check_place(name: str, value: Mapping[str, Any]) -> None:
    fields.known(name, value, _PLACE)
    for inner, check in _PLACE.items():
        if value.get(inner) is not None:
            check(f"{name}.{inner}", value[inner])


def _flag(name: str, value: Any) -> None:
    fields.flag(name, value)


def _any_text(name: str, value: Any) -> None:
    check_text(value, name)


_PLACE: Mapping[str, Callable[[str, Any], None]] = {
    "keeper": _words,
    "pinned": _flag,
    "added_at": _time,
    "access_count": _whole,
    "last_accessed_at": _time,
}
_MEMORY: Mapping[str, Callable[[str, Any], None]] = {
    "hash": _hash,
    "content": _content,
    "originator": _words,
    "tags": _text_list,
    "metadata": _metadata,
    "scope": _scope,
    "created_at": _time,
    "remembered_at": _time,
    "remember_count": _positive,
    "access_count": _whole,
    "last_accessed_at": _time,
    "version": _positive,
    "updated_at": _time,
    "expires_at": _time,
    "forgotten_at": _time,
    "propositions": _text_list,
    "working_memory": _place,
}
_VERSION: Mapping[str, Callable[[str, Any], None]] = {
    "version": _positive,
    "content": _content,
    "tags": _text_list,
    "metadata": _metadata,
    "since": _time,
    "until": _time,
    "replaced_by": _any_text,
}
_RELATION: Mapping[str, Callable[[str, Any], None]] = {
    "source": _hash,
    "target": _hash,
    "kind": _kind,
    "weight": _weight,
    "created_at": _time,
}
