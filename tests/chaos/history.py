"""What happened in a run, as values: tries to write, reads, caches, the feed, faults. One monotonic clock, in seconds.

A history is kept in memory and, line by line, in a file of JSON Lines: a run that is broken off leaves all of it.
"""

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeAlias

SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write that was answered with 201. `robot`: who says so, by the header of its answer."""

    id: int
    revision: int
    epoch: int
    created: bool
    robot: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that is no acknowledgement. `problem`: the last part of the problem document's type."""

    status: int
    problem: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer: it may have been done, or may yet be."""

    error: str


Outcome: TypeAlias = Acknowledged | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Write:
    """One try to remember. `where`: SERVICE, or the robot whose pod was asked. A key has one content and many tries."""

    who: str
    where: str
    start: float
    end: float
    key: str
    content: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Read:
    """One try to get a memory that had been acknowledged before. `found` None: no answer that tells."""

    who: str
    where: str
    start: float
    end: float
    memory: int
    found: bool | None


@dataclass(frozen=True, slots=True)
class CacheRead:
    """The working memory of one robot's cache: at `revision` it holds memories whose `digest` is of their ids."""

    robot: str
    start: float
    end: float
    revision: int
    digest: int
    tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Place:
    """What a robot is."""

    role: str
    tenure: int


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the feed, and when its reader had it.

    `held`: whether the memory is in the working set now (added, updated, restored). For kind "role": `roles` is the
    whole membership after it, `cause` is failover, switchover or empty, from `source` to `target`.
    """

    seen: float
    revision: int
    kind: str
    epoch: int
    memory: int | None = None
    robot: str | None = None
    held: bool = False
    roles: Mapping[str, Place] | None = None
    cause: str = ""
    source: str = ""
    target: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """The reader of the feed was told that what it had not read yet is gone (410)."""

    seen: float
    after: int
    pruned_to: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault. Monotonic times; `wall`: seconds since 1970 that are to be added to get Postgres' times.

    `failing`: robots that it may make fail, each once; `handing_over`: robots that it may make hand over.
    `recovered` None: the group did not become Ready again within the limit. `upkeep`: it was no fault of the plan, but
    what keeps the run going (a pod deleted, so that the kubelet does not back off).
    """

    number: int
    kind: str
    detail: str
    failing: tuple[str, ...]
    handing_over: tuple[str, ...]
    injected: float
    healed: float
    recovered: float | None
    wall: float
    upkeep: bool = False


Record: TypeAlias = Write | Read | CacheRead | Event | Gap | Fault
_KINDS: dict[str, type[Record]] = {kind.__name__: kind for kind in (Write, Read, CacheRead, Event, Gap, Fault)}
_OUTCOMES: dict[str, type[Outcome]] = {kind.__name__: kind for kind in (Acknowledged, Refused, Unknown)}


@dataclass
class History:
    """Everything of a run, each kind in the order in which it ended."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    caches: list[CacheRead] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Keep one record."""
        match record:
            case Write():
                self.writes.append(record)
            case Read():
                self.reads.append(record)
            case CacheRead():
                self.caches.append(record)
            case Event():
                self.events.append(record)
            case Gap():
                self.gaps.append(record)
            case Fault():
                self.faults.append(record)

    @classmethod
    def of(cls, records: Iterable[Record]) -> "History":
        """A history of these."""
        history = cls()
        for record in records:
            history.add(record)
        return history


class Recorder:
    """Keeps a history, and writes it to a file as it comes. Any thread may add."""

    def __init__(self, path: Path) -> None:
        self.history = History()
        self._lock = threading.Lock()
        self._file: TextIO = path.open("w", encoding="utf-8")

    def add(self, record: Record) -> None:
        """Keep one record and write it."""
        line = json.dumps(to_json(record), ensure_ascii=False, separators=(",", ":"))
        with self._lock:
            self.history.add(record)
            self._file.write(line + "\n")

    def close(self) -> None:
        """Nothing is added any more."""
        with self._lock:
            self._file.close()


def to_json(record: Record) -> dict[str, Any]:
    """One line: the record's fields, and its kind as "is"."""
    data = {"is": type(record).__name__, **asdict(record)}
    if isinstance(record, Write):
        data["outcome"]["is"] = type(record.outcome).__name__
    return data


def from_json(data: dict[str, Any]) -> Record:
    """Reads what `to_json` wrote."""
    kind = _KINDS[data.pop("is")]
    if kind is Write:
        outcome = data["outcome"]
        data["outcome"] = _OUTCOMES[outcome.pop("is")](**outcome)
    elif kind is Event and data["roles"] is not None:
        data["roles"] = {name: Place(**place) for name, place in data["roles"].items()}
    elif kind is Fault:
        data |= {name: tuple(data[name]) for name in ("failing", "handing_over")}
    return kind(**data)


def load(path: Path) -> History:
    """A history from its file."""
    with path.open(encoding="utf-8") as lines:
        return History.of(from_json(json.loads(line)) for line in lines)


def digest_of(ids: Iterable[int]) -> int:
    """A number that tells one set of ids from another; those of disjoint sets add up, modulo 2**61."""
    return sum(_mixed(number) for number in ids) % 2**61


def _mixed(number: int) -> int:
    # splitmix64: neighbours become numbers that have nothing to do with each other
    number = (number + 0x9E3779B97F4A7C15) % 2**64
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return (number ^ (number >> 31)) % 2**61
