"""SQL's files whose chunks are memories (sql/0014_relations.sql), typed. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from robotgroups.filing import FileDraft, FileSync, LoadedFile, Unloaded
from robotgroups.pool import Pool

PAGE = 500


@dataclass(frozen=True, slots=True)
class FileState:
    """What is known of a file: the digest that it had when it was loaded (None: it was not), and the group's state."""

    digest: str | None
    chunks: int
    revision: int
    epoch: int


class FilesStore(Pool):
    """Files that were loaded."""

    async def file_state(self, group_id: int, draft: FileDraft) -> FileState:
        """What a file was when it was loaded last."""
        data = await self._value(
            "SELECT robotgroups.file_state(%s, %s, %s::text[])", (group_id, draft.path, list(draft.scope))
        )
        return FileState(**data)

    async def sync_file(
        self, group_id: int, *, robot: str | None, tenure: int | None, file: Mapping[str, Any]
    ) -> FileSync:
        """Make a file's memories those that it says (``FileDraft.as_json``). NotActiveError, ArgumentError."""
        row = await self._row(
            "SELECT * FROM robotgroups.sync_file(%s, %s, %s, %s)", (group_id, robot, tenure, Jsonb(dict(file)))
        )
        return FileSync(path=file["path"], **row)

    async def unload_file(
        self, group_id: int, *, robot: str | None, tenure: int | None, path: str, scope: Sequence[str]
    ) -> Unloaded:
        """Remove what a file alone has said. NotActiveError."""
        row = await self._row(
            "SELECT * FROM robotgroups.unload_file(%s, %s, %s, %s, %s::text[])",
            (group_id, robot, tenure, path, list(scope)),
        )
        return Unloaded(path=path, **row)

    async def files(self, group_id: int, scope: Sequence[str], *, page: int = PAGE) -> list[LoadedFile]:
        """The files that are loaded, by path and scope, read ``page`` at a time."""
        found: list[dict[str, Any]] = []
        while True:
            rows = await self._value(
                "SELECT robotgroups.loaded_files(%s, %s::text[], %s::bigint, %s)",
                (group_id, list(scope), found[-1]["id"] if found else 0, page),
            )
            found += rows
            if len(rows) < page:
                files = [LoadedFile.from_json(row) for row in found]
                return sorted(files, key=lambda f: (f.path, sorted(f.scope.items())))
