"""Files as memories: what is sent of a file, and what is told of files that were loaded. No I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from robotgroups import tokens
from robotgroups.errors import ArgumentError, InvalidFileError
from robotgroups.limits import check_metadata, check_words
from robotgroups.loading import MIN_CHUNK_TOKENS, parse_document
from robotgroups.remembering import scope_texts
from robotgroups.tags import check_tags

CHUNK_TOKENS = 512
MAX_CHUNK_TOKENS = 100_000
MAX_PATH_CHARACTERS = 4096
# Of a heading in a chunk's metadata.
MAX_HEADING_CHARACTERS = 200
# Goes up when the same file gives other chunks than before: unchanged files are then loaded anew.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileDraft:
    """A file to be loaded, checked as far as that goes without reading its Markdown. Make it with ``checked``."""

    path: str
    text: str = field(repr=False)
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    scope: tuple[str, ...]
    chunk_tokens: int
    tokenizer: str

    @classmethod
    def checked(
        cls,
        path: str,
        text: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        scope: Mapping[str, str] | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
        tokenizer: str = tokens.DEFAULT,
    ) -> FileDraft:
        """Check what a caller gave.

        Raises:
            ArgumentError and its kinds: the path is blank or too long, or a value is wrong; the message names it.

        """
        if not MIN_CHUNK_TOKENS <= chunk_tokens <= MAX_CHUNK_TOKENS:
            raise ArgumentError(
                f"chunk_tokens must be between {MIN_CHUNK_TOKENS} and {MAX_CHUNK_TOKENS}, not {chunk_tokens}"
            )
        return cls(
            check_path(path),
            text,
            check_tags(tags),
            check_metadata(metadata),
            tuple(scope_texts(scope)),
            chunk_tokens,
            tokenizer,
        )

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of everything that its chunks are made of: the same one, the same memories."""
        made_of = [
            _FORMAT,
            self.chunk_tokens,
            self.tokenizer,
            list(self.tags),
            self.metadata,
            hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Take the file apart, into the object of SQL's ``sync_file``. It takes seconds for a long file.

        Raises:
            InvalidFileError: it cannot be stored, or its front matter cannot be read or gives more tags or metadata
                than a memory may have.
            MissingFeatureError: the extra ``files`` is not installed.

        """
        document = parse_document(
            self.text, max_tokens=self.chunk_tokens, count=partial(tokens.count, tokenizer=self.tokenizer)
        )
        try:
            tags = check_tags((*document.tags, *self.tags))
            metadata = check_metadata({**document.metadata, **self.metadata})
        except ArgumentError as error:
            raise InvalidFileError(f"{self.path}: with its front matter, {error}") from error
        return {
            "path": self.path,
            "scope": list(self.scope),
            "digest": self.digest,
            "tags": list(tags),
            "metadata": metadata,
            "front_matter": document.front_matter,
            "chunks": [
                {
                    "content": chunk.text,
                    "tokens": chunk.tokens,
                    "heading": [title[:MAX_HEADING_CHARACTERS] for title in chunk.heading_path],
                }
                for chunk in document.chunks
            ],
        }


def check_path(path: str) -> str:
    """Return the path by which a file is known. InvalidTextError, ArgumentError when it is blank or too long."""
    check_words(path, "path")
    if len(path) > MAX_PATH_CHARACTERS:
        raise ArgumentError(f"path has {len(path)} characters; at most {MAX_PATH_CHARACTERS} are taken")
    return path


@dataclass(frozen=True, slots=True)
class FileSync:
    """What loading a file did. ``changed`` False: the file was as it was loaded before, and nothing was written.

    ``chunks`` is how many it has, ``added`` how many of these it had not before, ``updated`` how many have other tags,
    metadata or headings, ``removed`` how many memories are gone.
    """

    path: str
    changed: bool
    chunks: int
    added: int
    updated: int
    removed: int
    revision: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Unloaded:
    """What unloading a file did: whether it was loaded, and how many memories are gone."""

    path: str
    existed: bool
    removed: int
    revision: int
    epoch: int


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that was loaded. ``chunks`` and ``tokens`` are those that are left of it: memories can be erased."""

    path: str
    scope: Mapping[str, str]
    digest: str
    chunks: int
    tokens: int
    tags: tuple[str, ...]
    front_matter: Mapping[str, Any]
    loaded_at: datetime

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoadedFile:
        """Read an object of SQL's ``loaded_files`` or of the HTTP API (times in ISO 8601)."""
        return cls(
            path=data["path"],
            scope=data["scope"],
            digest=data["digest"],
            chunks=data["chunks"],
            tokens=data["tokens"],
            tags=tuple(data["tags"]),
            front_matter=data["front_matter"],
            loaded_at=datetime.fromisoformat(data["loaded_at"]),
        )


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file of a directory that could not be loaded, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """Told after each file: how many of ``total`` are done, and what became of the last one."""

    done: int
    total: int
    file: FileSync | RefusedFile


Progress = Callable[[LoadProgress], None]


@dataclass(frozen=True, slots=True)
class DirectorySync:
    """What loading a directory did, file by file, in the order of their paths."""

    files: tuple[FileSync, ...]
    refused: tuple[RefusedFile, ...]
    unloaded: tuple[Unloaded, ...]

    @property
    def changed(self) -> int:
        """How many files were not as they were loaded before."""
        return sum(file.changed for file in self.files)
