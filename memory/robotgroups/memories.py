"""Memories, as they pass between the layers: frozen values without any behaviour that needs I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from robotgroups.frozen import maker

_TAGS, _SCOPE, _TIMES = 4, 14, (6, 7, 9, 13, 16)  # places of a row's columns


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory.

    ``scope`` is whom or what it belongs to. ``keeper``, ``access_count``, ``last_accessed_at`` and ``pinned`` are of
    its place in the working set. ``score`` is set by recall alone, ``parts`` (what it was ranked by) when asked for.
    """

    id: int
    content: str
    originator: str
    tokens: int
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    created_at: datetime
    remembered_at: datetime
    remember_count: int
    forgotten_at: datetime | None
    in_working_memory: bool
    keeper: str | None
    access_count: int
    last_accessed_at: datetime | None
    scope: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    expires_at: datetime | None = None
    pinned: bool = False
    score: float | None = None
    parts: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any], score: float | None = None) -> Memory:
        """Read the JSON object of SQL's ``memory_json`` (times in ISO 8601)."""
        if isinstance(data, MemoryJson) and score is None:
            return data.memory
        return make_memory(
            id=data["id"],
            content=data["content"],
            originator=data["originator"],
            tokens=data["tokens"],
            tags=tuple(data["tags"]),
            metadata=data["metadata"],
            created_at=datetime.fromisoformat(data["created_at"]),
            remembered_at=datetime.fromisoformat(data["remembered_at"]),
            remember_count=data["remember_count"],
            forgotten_at=_time(data["forgotten_at"]),
            in_working_memory=data["in_working_memory"],
            keeper=data["keeper"],
            access_count=data["access_count"],
            last_accessed_at=_time(data["last_accessed_at"]),
            scope=data.get("scope", {}),
            version=data.get("version", 1),
            expires_at=_time(data.get("expires_at")),
            pinned=data.get("pinned", False),
            score=score if score is not None else data.get("score"),
            parts=data.get("parts"),
        )

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Memory:
        """Read a row as SQL's ``recall_rows`` gives it; ``snapshot_rows`` has neither ``score`` nor ``parts``."""
        values = list(row)
        values[_TAGS], values[_SCOPE] = tuple(row[_TAGS]), scope_of(row[_SCOPE])
        if row[_TIMES[0]].tzinfo is not UTC:  # a session that PGTZ has set otherwise
            for place in _TIMES:
                values[place] = row[place] and row[place].astimezone(UTC)
        return make_memory(*values)

    def placed(self, place: Place | None) -> Memory:
        """The memory at this place in the working set; None: it is not in it."""
        if place is None:
            values: dict[str, Any] = {"keeper": None, "access_count": 0, "last_accessed_at": None, "pinned": False}
        else:
            values = asdict(place)
        return replace(self, in_working_memory=place is not None, **values)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``from_json`` reads, with ``score`` when recall gave one."""
        data: dict[str, Any] = {
            "id": self.id,
            "content": self.content,
            "originator": self.originator,
            "tokens": self.tokens,
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
            "created_at": self.created_at.isoformat(),
            "remembered_at": self.remembered_at.isoformat(),
            "remember_count": self.remember_count,
            "forgotten_at": _text(self.forgotten_at),
            "in_working_memory": self.in_working_memory,
            "keeper": self.keeper,
            "access_count": self.access_count,
            "last_accessed_at": _text(self.last_accessed_at),
            "scope": dict(self.scope),
            "version": self.version,
            "expires_at": _text(self.expires_at),
            "pinned": self.pinned,
        }
        if self.score is not None:
            data["score"] = self.score
        if self.parts is not None:
            data["parts"] = dict(self.parts)
        return data


@dataclass(frozen=True, slots=True)
class Place:
    """A memory's place in the working set."""

    keeper: str
    access_count: int
    last_accessed_at: datetime
    pinned: bool


make_memory = maker(Memory)


class MemoryJson(Mapping[str, Any]):
    """A memory's ``as_json``, which is made when somebody reads it: mostly it is the memory that is wanted."""

    __slots__ = ("_data", "memory")

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._data: dict[str, Any] | None = None

    def _read(self) -> dict[str, Any]:
        if self._data is None:
            self._data = self.memory.as_json()
        return self._data

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


@dataclass(frozen=True, slots=True)
class Remembered:
    """The acknowledgement of a memory; ``created`` is False when it was there before (M2)."""

    id: int
    revision: int
    epoch: int
    created: bool
    in_working_memory: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Revised:
    """The acknowledgement of forget and restore."""

    id: int
    revision: int
    epoch: int


def scope_of(texts: Sequence[str] | None) -> dict[str, str]:
    """A scope, of the ``key=value`` texts that SQL keeps of it; mostly there are none."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)} if texts else {}


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _text(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
