"""Files as memories, as a robot and a group in this process keep them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from robotgroups.file_loading import FileLoading
from robotgroups.filing import CHUNK_TOKENS, FileDraft, FileSync, LoadedFile, Unloaded, check_path
from robotgroups.lexing import Lexer
from robotgroups.remembering import scope_texts
from robotgroups.verbs import Verbs


class FileVerbs(Verbs, FileLoading):
    """Loading, listing and unloading files."""

    _lexer: Lexer

    async def load_text(
        self,
        path: str,
        text: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> FileSync:
        """Load what a file says under a path, which need not be one of this machine; else as ``load_file``."""
        draft = FileDraft.checked(
            path,
            text,
            tags=tags,
            metadata=metadata,
            scope=scope,
            chunk_tokens=chunk_tokens,
            tokenizer=self._tokenizer,
        )
        known = await self._store.file_state(self._group_id, draft)
        if known.digest == draft.digest:
            return FileSync(path, False, known.chunks, 0, 0, 0, known.revision, known.epoch)
        file = await asyncio.to_thread(draft.as_json)
        done = await self._written(
            lambda robot, tenure: self._store.sync_file(self._group_id, robot=robot, tenure=tenure, file=file)
        )
        self._acknowledge(done.revision)
        if done.added:
            self._lexer.soon(done.added)
        return done

    async def files(self, *, scope: Mapping[str, str] | None = None) -> list[LoadedFile]:
        """The files that are loaded, by path; with ``scope`` those whose scope holds it. InvalidScopeError."""
        return await self._store.files(self._group_id, scope_texts(scope))

    async def unload_text(self, path: str, *, scope: Mapping[str, str] | None = None) -> Unloaded:
        """Unload the file that is known by exactly this path; else as ``unload_file``."""
        known, texts = check_path(path), scope_texts(scope)
        done = await self._written(
            lambda robot, tenure: self._store.unload_file(
                self._group_id, robot=robot, tenure=tenure, path=known, scope=texts
            )
        )
        self._acknowledge(done.revision)
        return done
