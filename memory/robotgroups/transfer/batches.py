"""Which lines of an export go into the database together: a memory with all that belongs to it, and as many as fit.

No I/O. A batch is one transaction: it is there or not, and an import that was interrupted goes on behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from robotgroups import tokens
from robotgroups.errors import InvalidExportError
from robotgroups.transfer.format import End, Header, Model
from robotgroups.transfer.lines import EmbeddingLine, Line, MemoryLine, RelationLine, VersionLine

# Robots that remember meanwhile wait for a batch: some 50 ms for this many.
MAX_ITEMS = 250
MAX_CHARACTERS = 2 * 1024 * 1024


class BatchKind(Enum):
    """What a batch brings in."""

    MEMORIES = auto()
    RELATIONS = auto()


@dataclass(frozen=True, slots=True)
class Batch:
    """Items as SQL takes them, each the text of a JSON object; lines up to ``line`` are done with it.

    ``count`` is how many memories or relations it has: none when it only goes on with the history of the last one.
    """

    kind: BatchKind
    items: tuple[str, ...]
    line: int
    count: int


@dataclass(slots=True)
class _Memory:
    """A memory, and what has come of it so far."""

    line: MemoryLine
    tokens: int
    versions: list[str] = field(default_factory=list)
    embedding: str | None = None
    size: int = 0
    counted: bool = False
    last_version: int | None = None

    def item(self) -> str:
        tags, scope = json.dumps(self.line.tags), json.dumps(self.line.scope)
        embedding = "" if self.embedding is None else f',"embedding":{self.embedding}'
        return (
            f'{{"record":{self.line.text},"tokens":{self.tokens},"tags":{tags},"scope":{scope},'
            f'"versions":[{",".join(self.versions)}]{embedding}}}'
        )


class _Gathering:
    """The batch that is being gathered."""

    def __init__(self, tokenizer: str, model: Model | None) -> None:
        self._tokenizer, self._model = tokenizer, model
        self._memory: _Memory | None = None
        self._items: list[str] = []
        self._size = self._count = 0
        self._done = 0  # the last line of which nothing is still to come
        self._relations = False

    def take(self, number: int, line: Line) -> Iterator[Batch]:
        """Take a line; what is full comes back."""
        match line:
            case MemoryLine():
                yield from self._begin(number, line)
            case EmbeddingLine():
                self._embed(number, line)
            case VersionLine():
                yield from self._add_version(number, line)
            case RelationLine():
                yield from self._relate(number, line)
            case Header():
                raise InvalidExportError("a second header: an export has one, in its first line", number)
            case _:
                return

    def _begin(self, number: int, line: MemoryLine) -> Iterator[Batch]:
        if self._relations:
            raise InvalidExportError("a memory behind relations: memories come first", number)
        self._close(number - 1)
        if self._full():
            yield self._flush()
        size = len(line.text)
        self._memory = _Memory(line, tokens.count(line.content, self._tokenizer), size=size)

    def _close(self, last: int) -> None:
        """The memory is whole: nothing more of it comes after the line ``last``."""
        if (memory := self._memory) is not None:
            self._put(memory)
            self._memory = None
        self._done = last

    def _put(self, memory: _Memory) -> None:
        self._items.append(memory.item())
        self._size += memory.size
        self._count += not memory.counted

    def _embed(self, number: int, line: EmbeddingLine) -> None:
        memory = self._belonging(number)
        if self._model is None:
            raise InvalidExportError("an embedding, but the header names no model", number)
        if len(line.vector) != self._model.dimensions:
            raise InvalidExportError(
                f"vector has {len(line.vector)} dimensions, the header's model {self._model.dimensions}", number
            )
        memory.embedding = json.dumps(line.vector)
        memory.size += len(memory.embedding)

    def _add_version(self, number: int, line: VersionLine) -> Iterator[Batch]:
        memory = self._belonging(number)
        _check_version(number, line, memory)
        if memory.versions and memory.size + self._size + len(line.text) > MAX_CHARACTERS:
            # a history that is longer than a batch: the memory comes first, with what fits, and goes on in the next
            self._put(memory)
            yield self._flush()
            self._memory = memory = _Memory(memory.line, memory.tokens, size=len(memory.line.text), counted=True)
        count = tokens.count(line.content, self._tokenizer)
        memory.versions.append(f'{{"record":{line.text},"tokens":{count}}}')
        memory.last_version = line.version
        memory.size += len(line.text)

    def _belonging(self, number: int) -> _Memory:
        if self._memory is None:
            raise InvalidExportError("it belongs to a memory, and there is none before it", number)
        return self._memory

    def _relate(self, number: int, line: RelationLine) -> Iterator[Batch]:
        if not self._relations:
            self._close(number - 1)
            if self._items:
                yield self._flush()
            self._relations = True
        elif self._full():
            yield self._flush()
        self._items.append(line.text)
        self._size += len(line.text)
        self._count += 1
        self._done = number

    def end(self, number: int) -> Iterator[Batch]:
        """No line comes any more; ``number`` was the last."""
        if not self._relations:
            self._close(number)
        self._done = number
        if self._items:
            yield self._flush()

    def _full(self) -> bool:
        return len(self._items) >= MAX_ITEMS or self._size >= MAX_CHARACTERS

    def _flush(self) -> Batch:
        kind = BatchKind.RELATIONS if self._relations else BatchKind.MEMORIES
        batch = Batch(kind, tuple(self._items), self._done, self._count)
        self._items, self._size, self._count = [], 0, 0
        return batch


def _check_version(number: int, line: VersionLine, memory: _Memory) -> None:
    if line.version >= memory.line.version:
        raise InvalidExportError(
            f"version {line.version} is none before the memory's own, {memory.line.version}", number
        )
    if memory.last_version is not None and line.version != memory.last_version + 1:
        raise InvalidExportError(f"version {line.version} does not follow {memory.last_version}", number)


def batches(lines: Iterable[tuple[int, Line]], tokenizer: str, model: Model | None) -> Iterator[Batch]:
    """Gather numbered lines, those behind the header, into batches.

    ``model`` is what the header says of embeddings.

    Raises:
        InvalidExportError: a line that cannot stand where it does. What was gathered before it has come back, but for
            the last batch.

    """
    gathering = _Gathering(tokenizer, model)
    number = 0
    for number, line in lines:
        if isinstance(line, End):
            break
        yield from gathering.take(number, line)
    yield from gathering.end(number)
