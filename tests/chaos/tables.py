"""What Postgres and the robots held when a run was over, as values."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """A row of `memories`."""

    id: int
    content: str
    remember_count: int


@dataclass(frozen=True, slots=True)
class FailoverRow:
    """A row of `failovers`. `promoted_at`: seconds since 1970, by Postgres' clock."""

    kind: str
    source: str
    target: str
    epoch: int
    revision: int
    promoted_at: float
    reason: str = ""
    detected_by: str = ""


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change of the feed as `changes_after` gives it: a row that holds a batch is several of these."""

    revision: int
    kind: str
    epoch: int
    memory: int | None


@dataclass(frozen=True, slots=True)
class CacheDump:
    """A robot's cache when nobody wrote any more: its revision, and the ids in its working memory."""

    revision: int
    ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything. `changes`: what pruning has left of the feed, after revision `pruned_to`."""

    epoch: int
    revision: int
    pruned_to: int
    active_target: int
    memories: tuple[MemoryRow, ...]
    failovers: tuple[FailoverRow, ...]
    changes: tuple[ChangeRow, ...]
    working_set: frozenset[int]
    caches: Mapping[str, CacheDump]

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), default=sorted, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Tables":
        """What `write` wrote."""
        data: dict[str, Any] = json.loads(path.read_text())
        return cls(
            **{name: data[name] for name in ("epoch", "revision", "pruned_to", "active_target")},
            memories=tuple(MemoryRow(**row) for row in data["memories"]),
            failovers=tuple(FailoverRow(**row) for row in data["failovers"]),
            changes=tuple(ChangeRow(**row) for row in data["changes"]),
            working_set=frozenset(data["working_set"]),
            caches={name: CacheDump(dump["revision"], frozenset(dump["ids"])) for name, dump in data["caches"].items()},
        )
