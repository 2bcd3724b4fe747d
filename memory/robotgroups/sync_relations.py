"""Relations, tags and files, synchronously: thin shells over what ``AsyncRobotGroup`` and ``AsyncClient`` both do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotgroups.filing import CHUNK_TOKENS, DirectorySync, FileSync, LoadedFile, Progress, Unloaded
from robotgroups.loading.files import PATTERN
from robotgroups.loop import Loop
from robotgroups.relating import FIND_LIMIT
from robotgroups.relations import RELATED_LIMIT, Related
from robotgroups.tagging import TAGS_LIMIT, TagCount, Tagged
from robotgroups.tags import TagMatch, TagNode

if TYPE_CHECKING:
    from robotgroups.client import AsyncClient
    from robotgroups.group import AsyncRobotGroup


class ConnectionFace(ABC):
    """The synchronous methods of ``RobotGroup`` and ``Client`` alike."""

    _loop: Loop

    @property
    @abstractmethod
    def _core(self) -> AsyncRobotGroup | AsyncClient:
        """Whose methods these are."""

    def relate(self, source: int, target: int, kind: str, weight: float = 1.0) -> bool:
        """Say that a memory is related to another; whether that is new."""
        return self._loop.run(self._core.relate, source, target, kind, weight)

    def unrelate(self, source: int, target: int, kind: str) -> bool:
        """Take a relation back; whether it stood."""
        return self._loop.run(self._core.unrelate, source, target, kind)

    def related(
        self,
        memory_id: int,
        *,
        depth: int = 1,
        min_weight: float = 0.0,
        kinds: Sequence[str] | None = None,
        scope: Mapping[str, str] | None = None,
        limit: int = RELATED_LIMIT,
    ) -> list[Related]:
        """What a memory is related to, the strongest first."""
        return self._loop.run(
            self._core.related,
            memory_id,
            depth=depth,
            min_weight=min_weight,
            kinds=kinds,
            scope=scope,
            limit=limit,
        )

    def tags(self, *, scope: Mapping[str, str] | None = None, limit: int = TAGS_LIMIT) -> list[TagCount]:
        """The tags of memories that are not forgotten, the most used first."""
        return self._loop.run(self._core.tags, scope=scope, limit=limit)

    def tag_tree(self, *, scope: Mapping[str, str] | None = None) -> TagNode:
        """The tree of the tags; its root has no name."""
        return self._loop.run(self._core.tag_tree, scope=scope)

    def find_tags(
        self, query: str, *, limit: int = FIND_LIMIT, scope: Mapping[str, str] | None = None
    ) -> list[TagMatch]:
        """Tags like a query with typos, the likest first."""
        return self._loop.run(self._core.find_tags, query, limit=limit, scope=scope)

    def tag(self, memory_id: int, *tags: str) -> Tagged:
        """Give a memory more tags."""
        return self._loop.run(self._core.tag, memory_id, *tags)

    def untag(self, memory_id: int, *tags: str) -> Tagged:
        """Take tags from a memory."""
        return self._loop.run(self._core.untag, memory_id, *tags)

    def load_file(
        self,
        path: str | Path,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> FileSync:
        """Make the memories of a Markdown file those that it says now."""
        return self._loop.run(
            self._core.load_file, path, tags=tags, metadata=metadata, scope=scope, chunk_tokens=chunk_tokens
        )

    def load_text(
        self,
        path: str,
        text: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> FileSync:
        """Load what a file says under a path, which need not be one of this machine."""
        return self._loop.run(
            self._core.load_text,
            path,
            text,
            tags=tags,
            metadata=metadata,
            scope=scope,
            chunk_tokens=chunk_tokens,
        )

    def load_directory(
        self,
        path: str | Path,
        pattern: str = PATTERN,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
        unload_missing: bool = False,
        progress: Progress | None = None,
    ) -> DirectorySync:
        """Load every file below a directory that matches a glob pattern; ``progress`` is called in another thread."""
        return self._loop.run(
            self._core.load_directory,
            path,
            pattern,
            tags=tags,
            metadata=metadata,
            scope=scope,
            chunk_tokens=chunk_tokens,
            unload_missing=unload_missing,
            progress=progress,
        )

    def files(self, *, scope: Mapping[str, str] | None = None) -> list[LoadedFile]:
        """The files that are loaded, by path."""
        return self._loop.run(self._core.files, scope=scope)

    def unload_file(self, path: str | Path, *, scope: Mapping[str, str] | None = None) -> Unloaded:
        """Remove a file's memories, for good, but for those that somebody else has said, or updated."""
        return self._loop.run(self._core.unload_file, path, scope=scope)
