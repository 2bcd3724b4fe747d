"""The files that are loaded: which there are, and what is in one. It blocks: in asynchronous code, use a thread."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath

from robotgroups.errors import ArgumentError, InvalidFileError

MAX_FILE_BYTES = 10 * 1024 * 1024
PATTERN = "**/*.md"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read. ``path`` is absolute, ``content_hash`` the SHA-256 of its bytes, hexadecimal."""

    path: Path
    text: str
    size: int
    modified_at: datetime
    content_hash: str


def iter_files(path: str | Path, pattern: str = PATTERN) -> Iterator[Path]:
    """The file itself, or the files below a directory that match a glob pattern, in the order of their paths.

    What is hidden (its name, or a directory's on the way, begins with a dot) and what a link leads to outside of the
    directory is passed over.

    Raises:
        InvalidFileError: there is no such file or directory.
        ArgumentError: the pattern is empty, absolute or leads upwards.

    """
    parts = PurePath(pattern).parts
    if not parts or PurePath(pattern).is_absolute() or ".." in parts:
        raise ArgumentError(f"pattern {pattern!r} must be a relative glob such as {PATTERN!r}")
    root = Path(path).absolute()
    try:
        if root.is_file():
            return iter([root])
        if not root.is_dir():
            raise InvalidFileError(f"{path}: no such file or directory")
        real = root.resolve()
        return iter(sorted(p for p in root.glob(pattern) if _wanted(p, root, real)))
    except OSError as error:
        raise InvalidFileError(f"{path}: cannot be read: {error.strerror}") from error


def _wanted(path: Path, root: Path, real: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.is_file() and path.resolve().is_relative_to(real)


def read_file(path: str | Path, *, max_bytes: int = MAX_FILE_BYTES) -> SourceFile:
    """Read one file.

    Raises:
        InvalidFileError: it is missing, no regular file, larger than ``max_bytes``, not readable or no UTF-8.

    """
    place = Path(path).absolute()
    try:
        if not place.exists():
            raise InvalidFileError(f"{path}: no such file")
        if not place.is_file():
            raise InvalidFileError(f"{path}: is no regular file")
        with place.open("rb") as file:
            content = file.read(max_bytes + 1)
            modified = place.stat().st_mtime
    except OSError as error:
        raise InvalidFileError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise InvalidFileError(f"{path}: is larger than {max_bytes} bytes: split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidFileError(f"{path}: is no UTF-8 at byte {error.start}: convert it") from error
    return SourceFile(
        path=place,
        text=text,
        size=len(content),
        modified_at=datetime.fromtimestamp(modified, UTC),
        content_hash=hashlib.sha256(content).hexdigest(),
    )
