"""Loading files of this machine, whoever keeps them: a group in this process, a robot, or a service over HTTP."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from robotgroups.errors import ArgumentError
from robotgroups.filing import (
    CHUNK_TOKENS,
    DirectorySync,
    FileDraft,
    FileSync,
    LoadedFile,
    LoadProgress,
    Progress,
    RefusedFile,
    Unloaded,
)
from robotgroups.loading import iter_files, read_file
from robotgroups.loading.files import PATTERN


class FileLoading(ABC):
    """Files as long-term memories: each Markdown heading with what follows it is one."""

    @abstractmethod
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

    @abstractmethod
    async def files(self, *, scope: Mapping[str, str] | None = None) -> list[LoadedFile]:
        """The files that are loaded, by path; with ``scope`` those whose scope holds it."""

    @abstractmethod
    async def unload_text(self, path: str, *, scope: Mapping[str, str] | None = None) -> Unloaded:
        """Unload the file that is known by exactly this path; else as ``unload_file``."""

    async def load_file(
        self,
        path: str | Path,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> FileSync:
        """Make the memories of a Markdown file (with or without YAML front matter) those that it says now.

        It is known by its absolute path, in each scope apart. Each heading with what follows it up to the next one is a
        memory; a longer one becomes several, of at most ``chunk_tokens``. They have the tags given here and in the
        front matter, as metadata those given and the rest of the front matter, and ``file``: {"path", "heading":
        [titles]}. They are long-term memories; recall can bring them into the working set.

        Loaded again, only what has changed is written, in one transaction: nothing when the file is the same. What it
        does not say any more is removed for good, unless another file or somebody else has said it too (a file counts
        as one who has remembered its chunks), or has updated it.

        Raises:
            InvalidFileError: it cannot be read, is no UTF-8, or its front matter is wrong; nothing is changed.
            ArgumentError: a value is wrong; the message names it.
            MissingFeatureError: the extra ``files`` is not installed.
            NotActiveError, NoActiveRobotError, MemoryUnavailableError.

        """
        source = await asyncio.to_thread(read_file, path)
        return await self.load_text(
            str(source.path), source.text, tags=tags, metadata=metadata, scope=scope, chunk_tokens=chunk_tokens
        )

    async def unload_file(self, path: str | Path, *, scope: Mapping[str, str] | None = None) -> Unloaded:
        """Remove a file's memories, for good; but for those that another file or somebody else has said, or updated.

        A path is taken as ``files`` lists it, else as one of this machine. What was not loaded is no error.

        Raises:
            ArgumentError: the path is blank or too long; InvalidScopeError.
            NotActiveError, NoActiveRobotError, MemoryUnavailableError.

        """
        done = await self.unload_text(str(path), scope=scope)
        if not done.existed and not Path(path).is_absolute():
            done = await self.unload_text(_here(path), scope=scope)
        return done

    async def load_directory(
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
        """Load every file below a directory that matches a glob pattern, one after the other.

        Hidden ones are passed over. One that cannot be loaded does not hinder the others: it is among the ``refused``.
        Interrupted, do it again: files that are loaded cost a look. ``unload_missing``: files below the directory that
        match the pattern, were loaded before and are not there any more, are unloaded. ``progress`` is called after
        each file.

        Raises:
            InvalidFileError: there is no such directory. ArgumentError: the pattern or a value is wrong.
            NotActiveError, NoActiveRobotError, MemoryUnavailableError: some of the files are loaded.

        """
        FileDraft.checked("any", "", tags=tags, metadata=metadata, scope=scope, chunk_tokens=chunk_tokens)
        paths = await asyncio.to_thread(lambda: list(iter_files(path, pattern)))
        done: list[FileSync | RefusedFile] = []
        for file in paths:
            try:
                done.append(
                    await self.load_file(file, tags=tags, metadata=metadata, scope=scope, chunk_tokens=chunk_tokens)
                )
            except ArgumentError as error:
                done.append(RefusedFile(str(file), str(error)))
            if progress is not None:
                progress(LoadProgress(len(done), len(paths), done[-1]))
        unloaded: list[Unloaded] = []
        if unload_missing:
            for loaded in await self.files(scope=scope):
                if loaded.scope == dict(scope or {}) and await asyncio.to_thread(missing, loaded.path, path, pattern):
                    unloaded.append(await self.unload_text(loaded.path, scope=scope))  # noqa: PERF401  one by one
        return DirectorySync(
            tuple(f for f in done if isinstance(f, FileSync)),
            tuple(f for f in done if isinstance(f, RefusedFile)),
            tuple(unloaded),
        )


def _here(path: str | Path) -> str:
    return str(Path(path).absolute())


def missing(loaded: str, directory: str | Path, pattern: str = PATTERN) -> bool:
    """Whether a path below a directory matches the pattern and leads to no file."""
    root, path = Path(directory).absolute(), PurePath(loaded)
    if not path.is_relative_to(root) or path == root:
        return False
    return _matches(path.relative_to(root).parts, PurePath(pattern).parts) and not os.path.isfile(loaded)


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """As ``Path.glob`` does: ``**`` is any number of directories."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _matches(path, pattern[1:]) or (bool(path) and _matches(path[1:], pattern))
    return bool(path) and PurePath(path[0]).match(pattern[0]) and _matches(path[1:], pattern[1:])
