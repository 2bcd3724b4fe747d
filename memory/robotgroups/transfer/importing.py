"""An export's lines into a group, a batch a transaction: an import that was interrupted goes on behind the last one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from robotgroups.errors import InvalidExportError
from robotgroups.store import Store
from robotgroups.transfer.batches import Batch, BatchKind, batches
from robotgroups.transfer.format import MAX_LINE_BYTES, End, Header
from robotgroups.transfer.lines import Line, read_line

_NOT_WHOLE = "it is not whole: its last line, which says how much there was, is missing"
LEX = 1000


@dataclass(slots=True)
class Done:
    """What an import has done so far.

    Of ``memories`` that were read, ``created`` are new, ``expired`` were left out, and the others are there already.
    ``line`` is the last line that is done, ``resumed_after`` the one that it went on behind.
    """

    resumed_after: int = 0
    line: int = 0
    memories: int = 0
    created: int = 0
    expired: int = 0
    versions: int = 0
    embedded: int = 0
    entered: int = 0
    no_room: int = 0
    relations: int = 0
    relations_created: int = 0
    relations_missing: int = 0
    files: int = 0
    files_created: int = 0
    files_partial: int = 0

    def count(self, batch: Batch) -> None:
        """Take what a batch consists of into account."""
        match batch.kind:
            case BatchKind.MEMORIES:
                self.memories += batch.count
            case BatchKind.RELATIONS:
                self.relations += batch.count
            case BatchKind.FILES:
                self.files += batch.count
        self.line = batch.line


@dataclass(slots=True)
class Reader:
    """The lines of an export behind its header, checked and numbered; what it has read is hashed.

    ``whole``: that the last line is there, and its checksum right, is asked for.
    """

    raw: Iterator[bytes]
    whole: bool = True
    header: Header = field(init=False)
    source: bytes = field(init=False)
    _hash: hashlib._Hash = field(init=False)

    def __post_init__(self) -> None:
        first = next(self.raw, b"")
        header = read_line(first, 1) if first.strip() else None
        if not isinstance(header, Header):
            raise InvalidExportError("the header is missing: an export begins with it", 1)
        self.header, self.source, self._hash = header, hashlib.sha256(first.strip()).digest(), hashlib.sha256(first)

    def lines(self, after: int = 0) -> Iterator[tuple[int, Line]]:
        """The lines behind the number ``after``, the end among them.

        Raises:
            InvalidExportError: a line cannot be imported, or it is not whole.

        """
        end: End | None = None
        for number, raw in enumerate(self.raw, 2):
            if end is not None:
                if raw.strip():
                    raise InvalidExportError("something follows the export's end", number)
                continue
            line = None if number <= after or not raw.strip() else read_line(raw, number)
            if isinstance(line, End):
                end = line
                self._check(end, number)
            else:
                self._hash.update(raw)
            if line is not None:
                yield number, line
        if end is None and self.whole:
            raise InvalidExportError(_NOT_WHOLE)

    def _check(self, end: End, number: int) -> None:
        if self.whole and end.sha256 is not None and end.sha256 != self._hash.hexdigest():
            raise InvalidExportError("the checksum is not that of the lines before: it was changed or damaged", number)


def bounded_lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    """The lines of a binary file by its ``readline``; one that is too long is not read as a whole.

    Raises:
        InvalidExportError: a line has more bytes than any of an export.

    """
    number = 0
    while line := readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InvalidExportError(f"it has more than {MAX_LINE_BYTES} bytes", number)
        yield line


def check_whole(raw: Iterable[bytes]) -> None:
    """See whether an export has its last line, and that one the right checksum; nothing else of it is read.

    Raises:
        InvalidExportError: it has not.

    """
    running, last, number = hashlib.sha256(), b"", 0
    for number, line in enumerate(raw, 1):  # noqa: B007  it is used after the loop
        if line.strip():
            running.update(last)
            last = line
        else:
            last += line
    try:
        end: Line | None = read_line(last, number)
    except InvalidExportError:  # cut in the middle
        end = None
    if not isinstance(end, End):
        raise InvalidExportError(_NOT_WHOLE)
    if end.sha256 is not None and end.sha256 != running.hexdigest():
        raise InvalidExportError("its checksum is not that of its lines: it was changed or damaged")


async def import_lines(
    store: Store,
    group_id: int,
    reader: Reader,
    *,
    resume: bool = False,
    working_memory: bool = True,
    done: Done | None = None,
    tell: Callable[[Done], None] = lambda _: None,
) -> Done:
    """Bring an export into a group; ``tell`` hears of each batch once it is there, and ``done`` (returned) keeps count.

    What the group has already stays as it is. ``resume`` goes on behind the last batch of an import of the same export
    that was interrupted. Without ``working_memory`` everything comes into long-term memory alone.

    Raises:
        InvalidExportError: a line cannot be imported; what stands before it, but for less than a batch, is there.
        NotPermittedError: the login is not the schema's owner. MemoryUnavailableError.

    """
    tokenizer = (await store.export_header(group_id))["settings"]["tokenizer"]
    done = done or Done()
    done.line = done.resumed_after = await store.imported_to(group_id, reader.source) if resume else 0
    gathered = batches(reader.lines(done.line), tokenizer, reader.header.model)
    # the next batch is read and counted in a thread while Postgres is busy with this one
    coming = asyncio.create_task(asyncio.to_thread(next, gathered, None))
    try:
        while (batch := await coming) is not None:
            coming = asyncio.create_task(asyncio.to_thread(next, gathered, None))
            await _write(store, group_id, reader, batch, done, working_memory=working_memory)
            tell(done)
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
    while await store.lex(group_id, LEX):
        pass
    await store.end_import(group_id, reader.source)
    return done


async def _write(
    store: Store, group_id: int, reader: Reader, batch: Batch, done: Done, *, working_memory: bool
) -> None:
    items, source, line = batch.items, reader.source, batch.line
    match batch.kind:
        case BatchKind.MEMORIES:
            imported = await store.import_memories(
                group_id, items, model=reader.header.model, working_memory=working_memory, source=source, line=line
            )
            for name in ("created", "expired", "versions", "embedded", "entered", "no_room"):
                setattr(done, name, getattr(done, name) + getattr(imported, name))
        case BatchKind.RELATIONS:
            related = await store.import_relations(group_id, items, source=source, line=line)
            done.relations_created += related.created
            done.relations_missing += related.missing
        case BatchKind.FILES:
            loaded = await store.import_files(group_id, items, source=source, line=line)
            done.files_created += loaded.created
            done.files_partial += loaded.partial
    done.count(batch)
    if batch.kind is BatchKind.MEMORIES:
        await store.lex(group_id, LEX)  # full-text recall reads what has no lexemes as it stands: they keep up
