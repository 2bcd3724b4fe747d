"""M1 and M2: whatever was acknowledged is there, once; nothing is there that nobody asked for."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.checks.violation import Kind, Violation
from tests.chaos.history import Acknowledged, History, Write
from tests.chaos.tables import MemoryRow, Tables


@dataclass
class _Content:
    """Everything that was tried with one content."""

    keys: set[str] = field(default_factory=set)
    acknowledged: dict[str, list[Acknowledged]] = field(default_factory=lambda: defaultdict(list))

    @property
    def answers(self) -> list[Acknowledged]:
        return [answer for answers in self.acknowledged.values() for answer in answers]


def check(history: History, tables: Tables) -> Iterator[Violation]:
    """LOST, DOUBLED and FOREIGN memories, each content once; and memories that a read did not find."""
    contents = _contents(history)
    rows: dict[str, list[MemoryRow]] = defaultdict(list)
    for row in tables.memories:
        rows[row.content].append(row)
    for content, tried in contents.items():
        yield from _one(content, tried, rows.get(content, []))
    for content in rows.keys() - contents.keys():
        yield Violation(Kind.FOREIGN, content, "nobody tried to remember it")
    for read in history.reads:
        if read.found is False:
            yield Violation(Kind.LOST, f"memory {read.memory}", f"{read.where} answered at {read.end:.3f} s: not there")


def acknowledged(history: History) -> int:
    """How many memories were acknowledged, each content once."""
    return sum(1 for tried in _contents(history).values() if tried.acknowledged)


def _contents(history: History) -> dict[str, _Content]:
    contents: dict[str, _Content] = defaultdict(_Content)
    for write in history.writes:
        _note(contents[write.content], write)
    return contents


def _note(tried: _Content, write: Write) -> None:
    tried.keys.add(write.key)
    if isinstance(write.outcome, Acknowledged):
        tried.acknowledged[write.key].append(write.outcome)


def _one(content: str, tried: _Content, rows: list[MemoryRow]) -> Iterator[Violation]:
    if not rows:
        if tried.acknowledged:
            yield Violation(Kind.LOST, content, f"acknowledged {len(tried.answers)} times, and no row has it")
        return
    count = sum(row.remember_count for row in rows)
    if len(rows) > 1:
        yield Violation(Kind.DOUBLED, content, f"memories {', '.join(str(row.id) for row in rows)}")
    elif strays := {answer.id for answer in tried.answers} - {rows[0].id}:
        yield Violation(Kind.DOUBLED, content, f"acknowledged as {sorted(strays)}, stored as {rows[0].id}")
    elif count > len(tried.keys):
        yield Violation(Kind.DOUBLED, content, f"remembered {count} times under {len(tried.keys)} keys")
    elif firsts := _created(tried):
        yield Violation(Kind.DOUBLED, content, f"acknowledged as new under the keys {', '.join(firsts)}")
    elif count < len(tried.acknowledged):
        yield Violation(Kind.LOST, content, f"acknowledged under {len(tried.acknowledged)} keys, counted {count} times")
    for key, answers in sorted(tried.acknowledged.items()):
        if len({(a.id, a.revision, a.epoch, a.created) for a in answers}) > 1:
            yield Violation(Kind.DOUBLED, key, "one key was answered in different ways")


def _created(tried: _Content) -> list[str]:
    """The keys that were told that they made the memory, if it is more than one."""
    keys = sorted(key for key, answers in tried.acknowledged.items() if any(answer.created for answer in answers))
    return keys if len(keys) > 1 else []
