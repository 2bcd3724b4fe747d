"""Which lines of an export go into the database together: a memory with all that belongs to it, and as many as fit.

No I/O. A batch is one transaction: it is there or not, and an import that was interrupted goes on behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from robotgroups import tokens
from robotgroups.errors import InvalidExportError
from robotgroups.transfer.format import End, Header, Model
from robotgroups.transfer.lines import (
    ChunkLine,
    EmbeddingLine,
    FileLine,
    Line,
    MemoryLine,
    RelationLine,
    VersionLine,
)

# Robots that remember meanwhile wait for a batch: some 50 ms for this many.
MAX_ITEMS = 250
MAX_CHARACTERS = 2 * 1024 * 1024


class BatchKind(IntEnum):
    """What a batch brings in, in the order in which it comes."""

    MEMORIES = 1
    RELATIONS = 2
    FILES = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Items as SQL takes them, each the text of a JSON object; lines up to ``line`` are done with it.

    ``count`` is how many of its kind it has: none when it only goes on with the history of the last memory.
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


@dataclass(slots=True)
class _File:
    """A file, and its chunks so far."""

    line: FileLine
    chunks: list[str] = field(default_factory=list)

    def item(self) -> str:
        return f'{{"record":{self.line.text},"scope":{json.dumps(self.line.scope)},"chunks":[{",".join(self.chunks)}]}}'


class _Gathering:
    """The batch that is being gathered, and the memory or file that is not whole yet."""

    def __init__(self, tokenizer: str, model: Model | None) -> None:
        self._tokenizer, self._model = tokenizer, model
        self._kind = BatchKind.MEMORIES
        self._memory: _Memory | None = None
        self._file: _File | None = None
        self._items: list[str] = []
        self._size = self._count = 0
        self._done = 0  # the last line of which nothing is still to come

    def take(self, number: int, line: Line) -> Iterator[Batch]:
        """Take a line; what is full comes back."""
        match line:
            case MemoryLine():
                yield from self._begin(number, BatchKind.MEMORIES)
                count = tokens.count(line.content, self._tokenizer)
                self._memory = _Memory(line, count, size=len(line.text))
            case EmbeddingLine():
                self._embed(number, line)
            case VersionLine():
                yield from self._add_version(number, line)
            case RelationLine():
                yield from self._begin(number, BatchKind.RELATIONS)
                self._put(line.text)
                self._done = number
            case FileLine():
                yield from self._begin(number, BatchKind.FILES)
                self._file = _File(line)
            case ChunkLine():
                if self._file is None:
                    raise InvalidExportError("it belongs to a file, and there is none before it", number)
                self._file.chunks.append(f'{{"record":{line.text}}}')
            case Header():
                raise InvalidExportError("a second header: an export has one, in its first line", number)
            case _:
                return

    def end(self, number: int) -> Iterator[Batch]:
        """No line comes any more; ``number`` was the last."""
        self._close(number)
        if self._items:
            yield self._flush()

    def _begin(self, number: int, kind: BatchKind) -> Iterator[Batch]:
        """Something of this kind begins: what came before is whole."""
        if kind < self._kind:
            raise InvalidExportError(f"{kind.name.lower()} come before {self._kind.name.lower()}", number)
        self._close(number - 1)
        if self._items and (kind is not self._kind or self._is_full()):
            yield self._flush()
        self._kind = kind

    def _close(self, last: int) -> None:
        if self._memory is not None:
            self._put(self._memory.item(), new=not self._memory.counted)
        if self._file is not None:
            self._put(self._file.item())
        self._memory = self._file = None
        self._done = last

    def _put(self, item: str, *, new: bool = True) -> None:
        self._items.append(item)
        self._size += len(item)
        self._count += new

    def _embed(self, number: int, line: EmbeddingLine) -> None:
        memory = self._belonging(number)
        if self._model is None:
            raise InvalidExportError("an embedding, but the header names no model", number)
        if len(line.vector) != self._model.dimensions:
            raise InvalidExportError(
                f"vector has {len(line.vector)} dimensions, the header's model {self._model.dimensions}", number
            )
        memory.embedding = json.dumps(json.dumps(line.vector))  # as text: jsonb knows no -0
        memory.size += len(memory.embedding)

    def _add_version(self, number: int, line: VersionLine) -> Iterator[Batch]:
        memory = self._belonging(number)
        _check_version(number, line, memory)
        if memory.versions and memory.size + self._size + len(line.text) > MAX_CHARACTERS:
            # a history that is longer than a batch: the memory comes first, with what fits, and goes on in the next
            self._put(memory.item(), new=not memory.counted)
            yield self._flush()
            self._memory = memory = _Memory(
                memory.line,
                memory.tokens,
                size=len(memory.line.text),
                counted=True,
                last_version=memory.last_version,
            )
        count = tokens.count(line.content, self._tokenizer)
        memory.versions.append(f'{{"record":{line.text},"tokens":{count}}}')
        memory.last_version = line.version
        memory.size += len(line.text)

    def _belonging(self, number: int) -> _Memory:
        if self._memory is None:
            raise InvalidExportError("it belongs to a memory, and there is none before it", number)
        return self._memory

    def _is_full(self) -> bool:
        return len(self._items) >= MAX_ITEMS or self._size >= MAX_CHARACTERS

    def _flush(self) -> Batch:
        batch = Batch(self._kind, tuple(self._items), self._done, self._count)
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
