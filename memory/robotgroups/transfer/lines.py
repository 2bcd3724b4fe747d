"""Lines of an export as they are read: each checked in full before anything of it reaches the database. No I/O.

A line may be written by hand: what has a default can be left out, a field that there is not is refused. Postgres gets
the line itself, so that every number of its metadata stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import Any, NoReturn

from robotgroups import fields
from robotgroups.embedding.config import MAX_DIMENSIONS
from robotgroups.errors import ArgumentError, InvalidExportError
from robotgroups.limits import check_words, shown
from robotgroups.models import GroupKey
from robotgroups.remembering import scope_texts
from robotgroups.transfer.format import FORMAT, MAX_LINE_BYTES, VERSION, Counts, End, Header, LineKind, Model, Position
from robotgroups.transfer.line_fields import (
    CHUNK,
    EARLIER,
    FILE,
    MEMORY,
    RELATION,
    check_fields,
    check_hash,
    clean_tag,
    require,
)

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
class FileLine:
    """A file that was loaded."""

    text: str
    scope: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChunkLine:
    """A memory that the file before it is made of."""

    text: str


@dataclass(frozen=True, slots=True)
class MarkLine:
    """How far an export was; it says nothing to an import."""

    position: Position


Line = Header | MemoryLine | EmbeddingLine | VersionLine | RelationLine | FileLine | ChunkLine | MarkLine | End


def read_line(raw: bytes, number: int) -> Line:
    """Read and check a line; ``number`` is its place from 1.

    Raises:
        InvalidExportError: it names the line, the field and what is wrong with it.

    """
    try:
        text = _text(raw)
        data = _object(text)
        kind = data.pop("type", None)
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        return _unknown(kind) if reader is None else reader(text, data)
    except InvalidExportError as error:
        raise InvalidExportError(str(error), number) from None
    except ArgumentError as error:
        raise InvalidExportError(str(error), number) from error


def _unknown(kind: object) -> NoReturn:
    raise ArgumentError(f"unknown type {shown(kind)}: choose one of {', '.join(LineKind)}")


def _text(raw: bytes) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise ArgumentError(f"it has more than {MAX_LINE_BYTES} bytes")
    try:
        return raw.decode().strip()
    except UnicodeDecodeError as error:
        raise ArgumentError(f"it is not UTF-8 (byte {error.start})") from error


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
    except RecursionError:
        raise ArgumentError("it is nested too deeply") from None
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError(f"it is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ArgumentError(f"it must be a JSON object, not {shown(data)}")
    return data


def _integer(text: str) -> int | float:
    return -0.0 if text == "-0" else int(text)  # as Postgres writes it in a vector


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
    require(data, "provider", "model", "dimensions")
    fields.known("model", data, ("provider", "model", "dimensions"))
    check_words(data["provider"], "model.provider")
    check_words(data["model"], "model.model")
    fields.whole("model.dimensions", data["dimensions"], 1, MAX_DIMENSIONS)
    return Model(data["provider"], data["model"], data["dimensions"])


def _memory(text: str, data: dict[str, Any]) -> MemoryLine:
    require(data, "content", "originator")
    check_fields(LineKind.MEMORY, data, MEMORY)
    return MemoryLine(
        text=text,
        content=data["content"],
        version=data.get("version") or 1,
        tags=tuple(dict.fromkeys(map(clean_tag, data.get("tags") or ()))),
        scope=tuple(scope_texts(data.get("scope"))),
    )


def _embedding(_: str, data: dict[str, Any]) -> EmbeddingLine:
    require(data, "vector")
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
    require(data, "version", "content", "since", "until")
    check_fields(LineKind.VERSION, data, EARLIER)
    return VersionLine(text, data["content"], data["version"])


def _relation(text: str, data: dict[str, Any]) -> RelationLine:
    require(data, "source", "target", "kind", "weight")
    check_fields(LineKind.RELATION, data, RELATION)
    if data["source"] == data["target"]:
        raise ArgumentError("source and target are the same: a memory is not related to itself")
    return RelationLine(text)


def _file(text: str, data: dict[str, Any]) -> FileLine:
    require(data, "path", "digest", "chunks")
    check_fields(LineKind.FILE, data, FILE)
    return FileLine(text, tuple(scope_texts(data.get("scope"))))


def _chunk(text: str, data: dict[str, Any]) -> ChunkLine:
    require(data, "position", "content_hash", "memory")
    check_fields(LineKind.CHUNK, data, CHUNK)
    return ChunkLine(text)


def _mark(_: str, data: dict[str, Any]) -> MarkLine:
    fields.known(LineKind.MARK, data, ("memories", "relations", "files"))
    fields.whole("memories", data.get("memories"), 0)
    relations, files = data.get("relations"), data.get("files")
    if relations is not None and not _is_list_of(relations, int, int, str):
        raise ArgumentError(f"relations must be two ids and a kind, not {shown(relations)}")
    if files is not None and (relations is None or not _is_list_of(files, int, int)):
        raise ArgumentError(f"files must be an id and a place, behind relations, not {shown(files)}")
    return MarkLine(
        Position(
            data["memories"],
            None if relations is None else (relations[0], relations[1], relations[2]),
            None if files is None else (files[0], files[1]),
        )
    )


def _is_list_of(value: object, *types: type) -> bool:
    return isinstance(value, list) and tuple(map(type, value)) == types


def _end(_: str, data: dict[str, Any]) -> End:
    names = tuple(field.name for field in fields_of(Counts))
    fields.known(LineKind.END, data, (*names, "sha256", "content_sha256"))
    for name in names:
        fields.whole(name, data.get(name, 0), 0)
    for name in ("sha256", "content_sha256"):
        if data.get(name) is not None:
            check_hash(name, data[name])
    return End(Counts(**{name: data.get(name, 0) for name in names}), data.get("sha256"), data.get("content_sha256"))


_READERS: Mapping[str, Callable[[str, dict[str, Any]], Line]] = {
    LineKind.HEADER: _header,
    LineKind.MEMORY: _memory,
    LineKind.EMBEDDING: _embedding,
    LineKind.VERSION: _version,
    LineKind.RELATION: _relation,
    LineKind.FILE: _file,
    LineKind.CHUNK: _chunk,
    LineKind.MARK: _mark,
    LineKind.END: _end,
}
