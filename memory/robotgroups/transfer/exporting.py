"""A group as the lines of its export, page by page.

No transaction stays open meanwhile: it would keep vacuum from the rows that robots change all the time. What changes
during an export is in it as it was when its page was read; what is remembered after its beginning is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from robotgroups.errors import ArgumentError
from robotgroups.models import GroupKey
from robotgroups.transfer.format import Header, Model, Position
from robotgroups.transfer_store import ExportedMemory, ExportedVersion, TransferStore

PAGE, PAGE_BYTES = 500, 4 * 1024 * 1024
# A number of a vector as text.
_NUMBER_BYTES = 12


@dataclass(frozen=True, slots=True)
class Export:
    """What is to be exported: the header, and the model's id for the embeddings."""

    group_id: int
    header: Header
    model_id: int | None


async def plan(store: TransferStore, group_id: int, *, embeddings: bool) -> Export:
    """Look at a group that is to be exported as it is now.

    Raises:
        ArgumentError: embeddings are asked for, and the group has no model.

    """
    data = await store.export_header(group_id)
    model, group = data["model"] if embeddings else None, dict(data["group"])
    if embeddings and model is None:
        raise ArgumentError(f"group {group['name']} has no embeddings to export: it has no embedding model")
    header = Header(
        group_created_at=group.pop("created_at"),
        group=GroupKey(**group),
        settings=data["settings"],
        up_to=data["up_to"],
        memories=data["memories"],
        model=None if model is None else Model(model["provider"], model["model"], model["dimensions"]),
        exported_at=data["exported_at"],
    )
    return Export(group_id, header, None if model is None else model["id"])


async def resumed(store: TransferStore, group_id: int, header: Header) -> Export:
    """Go on with an export that began with this header.

    Raises:
        ArgumentError: it is of another group, or its embeddings are by a model that the group has no longer.

    """
    now = await plan(store, group_id, embeddings=header.model is not None)
    if (header.group, header.group_created_at) != (now.header.group, now.header.group_created_at):
        raise ArgumentError(
            f"that export is of group {header.group.name} ({header.group.cluster}/{header.group.namespace_uid}) as it "
            f"was made at {header.group_created_at}, which this one is not: begin anew"
        )
    if header.model != now.header.model:
        raise ArgumentError("the group's embedding model is another one since that export began: begin anew")
    return Export(group_id, header, now.model_id)


async def pages(store: TransferStore, export: Export, position: Position) -> AsyncIterator[list[bytes]]:
    """The lines behind a position, some at a time; each page ends with a mark, and with it can be gone on."""
    if position.relations is None:
        async for page in _memories(store, export, position.memories):
            yield page
    relations = position.relations or (0, 0, "")
    if position.files is None:
        async for page in _relations(store, export, relations):
            yield page
    async for page in _files(store, export, relations, position.files or (0, -1)):
        yield page


async def _memories(store: TransferStore, export: Export, after: int) -> AsyncIterator[list[bytes]]:
    model = export.header.model
    limit = PAGE if model is None else max(1, min(PAGE, PAGE_BYTES // (model.dimensions * _NUMBER_BYTES)))
    while memories := await store.export_memories(
        export.group_id,
        after=after,
        up_to=export.header.up_to,
        limit=limit,
        max_bytes=PAGE_BYTES,
        model=export.model_id,
    ):
        after = memories[-1].id
        async for lines in _with_versions(store, export.group_id, memories):
            yield lines
        yield [Position(after).line()]


async def _with_versions(
    store: TransferStore, group_id: int, memories: Sequence[ExportedMemory]
) -> AsyncIterator[list[bytes]]:
    """Each memory followed by its embedding and its history, which may be longer than a page."""
    there = [memory for memory in memories if memory.line is not None]
    versions = _versions(store, group_id, [memory.id for memory in there if memory.version > 1])
    version = await anext(versions, None)
    lines: list[bytes] = []
    for memory in there:
        lines += (_line(text) for text in (memory.line, memory.embedding) if text is not None)
        while version is not None and version.memory_id == memory.id:
            # what has become history since the memory was read is told by its own line
            if version.version < memory.version:
                lines.append(_line(version.line))
            version = await anext(versions, None)
            if len(lines) >= PAGE:
                yield lines
                lines = []
    yield lines


async def _versions(store: TransferStore, group_id: int, memory_ids: Sequence[int]) -> AsyncIterator[ExportedVersion]:
    after = (0, 0)
    while memory_ids and (
        page := await store.export_versions(group_id, memory_ids, after=after, limit=PAGE, max_bytes=PAGE_BYTES)
    ):
        for version in page:
            yield version
        after = (page[-1].memory_id, page[-1].version)


async def _relations(store: TransferStore, export: Export, after: tuple[int, int, str]) -> AsyncIterator[list[bytes]]:
    up_to = export.header.up_to
    while page := await store.export_relations(export.group_id, after=after, up_to=up_to, limit=PAGE):
        after = (page[-1].source, page[-1].target, page[-1].kind)
        yield [*(_line(r.line) for r in page if r.line is not None), Position(up_to, after).line()]


async def _files(
    store: TransferStore, export: Export, relations: tuple[int, int, str], after: tuple[int, int]
) -> AsyncIterator[list[bytes]]:
    up_to = export.header.up_to
    while page := await store.export_files(export.group_id, after=after, up_to=up_to, limit=PAGE):
        after = (page[-1].file, page[-1].place)
        yield [*(_line(f.line) for f in page if f.line is not None), Position(up_to, relations, after).line()]


def _line(text: str) -> bytes:
    return text.encode() + b"\n"
