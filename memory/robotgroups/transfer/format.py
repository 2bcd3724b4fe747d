"""The lines of an export, format version 1: one JSON object a line, UTF-8. No I/O.

    header      first: the group, its settings, how much is to come
    memory      one memory, in the order in which they were remembered; behind it
      embedding   its vector, if asked for
      version     what it said before, the oldest first
    relation    what somebody has said of two memories, each named by the ``hash`` of its line
    file        a file that was loaded; behind it
      chunk       one of the memories that it is, named by its hash
    mark        how far it is to here: an export that was interrupted goes on behind the last one
    end         last: how many of each, and the checksums

A hash is of content and scope, so that the file names nothing of the database that it comes from: exports of the same
memories from two databases differ in header, marks and ``sha256`` alone, and have the same ``content_sha256``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from robotgroups.errors import InvalidExportError
from robotgroups.models import GroupKey

FORMAT, VERSION = "robotgroups", 1
# The longest line that an export has: 256 KiB of content, each character escaped, beside it metadata of as much.
MAX_LINE_BYTES = 16 * 1024 * 1024
_KIND = re.compile(rb'\{"type":"([a-z]+)"')


class LineKind(StrEnum):
    """What a line is: its ``type``."""

    HEADER = "header"
    MEMORY = "memory"
    EMBEDDING = "embedding"
    VERSION = "version"
    RELATION = "relation"
    FILE = "file"
    CHUNK = "chunk"
    MARK = "mark"
    END = "end"


_KINDS = {kind.value.encode(): kind for kind in LineKind}
# What lines of each kind count as, and what content_sha256 is of.
_COUNTED = {
    LineKind.MEMORY: "memories",
    LineKind.EMBEDDING: "embeddings",
    LineKind.VERSION: "versions",
    LineKind.RELATION: "relations",
    LineKind.FILE: "files",
    LineKind.CHUNK: "chunks",
}


@dataclass(frozen=True, slots=True)
class Model:
    """The model that an export's embeddings are by."""

    provider: str
    model: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Header:
    """The first line.

    ``group_created_at`` tells a group from one of the same name that was made anew. Memories up to the id ``up_to``
    are taken along, about ``memories`` of them. ``model`` None: without embeddings.
    """

    group: GroupKey
    group_created_at: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    up_to: int = 0
    memories: int = 0
    model: Model | None = None
    exported_at: str = ""

    def line(self) -> bytes:
        """The line, with its line break."""
        return line_of(
            LineKind.HEADER,
            {
                "format": FORMAT,
                "version": VERSION,
                "exported_at": self.exported_at,
                "group": {**asdict(self.group), "created_at": self.group_created_at},
                "settings": dict(self.settings),
                "model": None if self.model is None else asdict(self.model),
                "memories": self.memories,
                "up_to": self.up_to,
            },
        )


@dataclass(frozen=True, slots=True)
class Position:
    """How far an export is: memories up to an id; once it is through with them, relations up to one; then files."""

    memories: int = 0
    relations: tuple[int, int, str] | None = None
    files: tuple[int, int] | None = None

    def line(self) -> bytes:
        """The mark, with its line break."""
        data: dict[str, Any] = {"memories": self.memories}
        if self.relations is not None:
            data["relations"] = list(self.relations)
        if self.files is not None:
            data["files"] = list(self.files)
        return line_of(LineKind.MARK, data)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many lines of each kind."""

    memories: int = 0
    embeddings: int = 0
    versions: int = 0
    relations: int = 0
    files: int = 0
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """The last line: ``sha256`` is of all lines before it, ``content_sha256`` of those that counts are of.

    A file that was written by hand may leave all of it out.
    """

    counts: Counts | None = None
    sha256: str | None = None
    content_sha256: str | None = None

    def line(self) -> bytes:
        """The line, with its line break."""
        counts = {} if self.counts is None else asdict(self.counts)
        return line_of(LineKind.END, {**counts, "sha256": self.sha256, "content_sha256": self.content_sha256})


def line_of(kind: LineKind, data: Mapping[str, Any]) -> bytes:
    """An object as a line of a kind."""
    return json.dumps({"type": kind.value, **data}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def kind_of(line: bytes) -> LineKind:
    """What a line that we have written is, without reading all of it.

    Raises:
        InvalidExportError: it is none of ours.

    """
    match = _KIND.match(line)
    if match is None or (kind := _KINDS.get(match[1])) is None:
        raise InvalidExportError("this is no line of an export of robotgroups")
    return kind


class Tally:
    """Counts and checksums of the lines that an export has so far."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._all, self._content = hashlib.sha256(), hashlib.sha256()

    def add(self, line: bytes, kind: LineKind) -> None:
        """Take a line, with its line break, into account."""
        self._all.update(line)
        if counted := _COUNTED.get(kind):
            self._content.update(line)
            self.counts = replace(self.counts, **{counted: getattr(self.counts, counted) + 1})

    def copy(self) -> Tally:
        """One that goes on by itself from here."""
        other = Tally()
        other.counts, other._all, other._content = self.counts, self._all.copy(), self._content.copy()
        return other

    def end(self) -> End:
        """The last line of what was taken into account."""
        return End(self.counts, self._all.hexdigest(), self._content.hexdigest())
