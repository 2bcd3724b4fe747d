"""SQL's export and import of a group (sql/0016_transfer.sql), typed. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from robotgroups.pool import Pool
from robotgroups.transfer.format import Model


@dataclass(frozen=True, slots=True)
class ExportedMemory:
    """A memory's line (None: it has expired), its present version, and the line of its embedding."""

    id: int
    version: int
    line: str | None
    embedding: str | None


@dataclass(frozen=True, slots=True)
class ExportedVersion:
    """The line of what a memory said once."""

    memory_id: int
    version: int
    line: str


@dataclass(frozen=True, slots=True)
class ExportedRelation:
    """A relation's line; None when one of its memories is not in the export."""

    source: int
    target: int
    kind: str
    line: str | None


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file's line (``place`` -1), or a chunk's; None when that one is not in the export."""

    file: int
    place: int
    line: str | None


@dataclass(frozen=True, slots=True)
class ImportedMemories:
    """What a batch brought in.

    Of its memories, ``created`` are new and ``expired`` were left out; ``entered`` came into the working set, for
    ``no_room`` it had no room. The group is at ``revision`` then.
    """

    created: int
    expired: int
    versions: int
    embedded: int
    entered: int
    no_room: int
    revision: int


@dataclass(frozen=True, slots=True)
class ImportedRelations:
    """What a batch brought in: how many are new, and how many name a memory that is not there."""

    created: int
    missing: int


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """What a batch brought in: how many are new, and of how many a chunk is missing."""

    created: int
    partial: int


class TransferStore(Pool):
    """Groups as they go out and come in."""

    async def export_header(self, group_id: int) -> Mapping[str, Any]:
        """What an export begins with: ``group``, ``settings``, ``up_to``, ``memories``, ``model``, ``exported_at``."""
        data: Mapping[str, Any] = await self._value("SELECT robotgroups.export_header(%s)", (group_id,))
        return data

    async def export_memories(
        self, group_id: int, *, after: int, up_to: int, limit: int, max_bytes: int, model: int | None
    ) -> list[ExportedMemory]:
        """The next memories behind an id, at most ``limit``, and no more once they have ``max_bytes``."""
        rows = await self._rows(
            "SELECT * FROM robotgroups.export_memories(%s, %s::bigint, %s::bigint, %s, %s::bigint, %s::bigint)",
            (group_id, after, up_to, limit, max_bytes, model),
        )
        return [ExportedMemory(**row) for row in rows]

    async def export_versions(
        self, group_id: int, memory_ids: Sequence[int], *, after: tuple[int, int], limit: int, max_bytes: int
    ) -> list[ExportedVersion]:
        """The next versions of some memories behind one, (memory, version)."""
        rows = await self._rows(
            "SELECT * FROM robotgroups.export_versions(%s, %s::bigint[], %s::bigint, %s, %s, %s::bigint)",
            (group_id, list(memory_ids), *after, limit, max_bytes),
        )
        return [ExportedVersion(**row) for row in rows]

    async def export_relations(
        self, group_id: int, *, after: tuple[int, int, str], up_to: int, limit: int
    ) -> list[ExportedRelation]:
        """The next relations behind one, (source, target, kind)."""
        rows = await self._rows(
            "SELECT * FROM robotgroups.export_relations(%s, %s::bigint, %s::bigint, %s, %s::bigint, %s)",
            (group_id, *after, up_to, limit),
        )
        return [ExportedRelation(**row) for row in rows]

    async def export_files(
        self, group_id: int, *, after: tuple[int, int], up_to: int, limit: int
    ) -> list[ExportedFile]:
        """The next files and chunks behind one, (file, place)."""
        rows = await self._rows(
            "SELECT * FROM robotgroups.export_files(%s, %s::bigint, %s, %s::bigint, %s)",
            (group_id, *after, up_to, limit),
        )
        return [ExportedFile(**row) for row in rows]

    async def import_memories(
        self,
        group_id: int,
        items: Sequence[str],
        *,
        model: Model | None,
        working_memory: bool,
        source: bytes,
        line: int,
    ) -> ImportedMemories:
        """Bring memories in, in one transaction, and note that lines up to ``line`` of ``source`` are done (owner)."""
        row = await self._row(
            "SELECT * FROM robotgroups.import_memories(%s, %s::jsonb, %s, %s, %s, %s::bigint)",
            (
                group_id,
                f"[{','.join(items)}]",
                None if model is None else Jsonb(asdict(model)),
                working_memory,
                source,
                line,
            ),
        )
        return ImportedMemories(**row)

    async def import_relations(
        self, group_id: int, items: Sequence[str], *, source: bytes, line: int
    ) -> ImportedRelations:
        """Bring relations in, as ``import_memories`` does (owner)."""
        row = await self._row(
            "SELECT * FROM robotgroups.import_relations(%s, %s::jsonb, %s, %s::bigint)",
            (group_id, f"[{','.join(items)}]", source, line),
        )
        return ImportedRelations(**row)

    async def import_files(self, group_id: int, items: Sequence[str], *, source: bytes, line: int) -> ImportedFiles:
        """Bring loaded files in, as ``import_memories`` does (owner)."""
        row = await self._row(
            "SELECT * FROM robotgroups.import_files(%s, %s::jsonb, %s, %s::bigint)",
            (group_id, f"[{','.join(items)}]", source, line),
        )
        return ImportedFiles(**row)

    async def imported_to(self, group_id: int, source: bytes) -> int:
        """Up to which line an import that was interrupted is done (owner); 0 when there is none."""
        rows = await self._rows(
            "SELECT line FROM robotgroups.imports WHERE group_id = %s AND source = %s", (group_id, source)
        )
        return int(rows[0]["line"]) if rows else 0

    async def end_import(self, group_id: int, source: bytes) -> None:
        """Note that an import is done (owner)."""
        await self._rows("SELECT robotgroups.note_import(%s, %s, NULL)", (group_id, source))
