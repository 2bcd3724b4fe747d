"""The file of an export: FILE.part until it is whole, then FILE.

Whatever happens to the command, FILE is a whole export; from FILE.part the next one goes on behind the last mark.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from robotgroups.errors import ArgumentError, InvalidExportError
from robotgroups.transfer.format import End, Header, LineKind, Position, Tally, kind_of
from robotgroups.transfer.importing import bounded_lines
from robotgroups.transfer.lines import MarkLine, read_line


def part_of(path: Path) -> Path:
    """Where an export stands until it is whole."""
    return path.with_name(path.name + ".part")


@dataclass(frozen=True, slots=True)
class Found:
    """What an export has written before it was interrupted: bytes up to `size` are whole pages."""

    header: Header
    position: Position
    tally: Tally
    size: int


class ExportFile:
    """FILE.part, being written by this process alone. Make it with `create` or `resume`."""

    def __init__(self, path: Path, file: BinaryIO, tally: Tally) -> None:
        self._path, self._file = path, file
        self.tally = tally

    @classmethod
    def create(cls, path: Path) -> ExportFile:
        """Begin anew. What it holds is for its owner's eyes.

        Raises:
            ArgumentError: the rest of an interrupted export is there.

        """
        part = part_of(path)
        try:
            descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except FileExistsError:
            raise ArgumentError(
                f"{part} is left of an export that was interrupted: --resume goes on with it, or remove it"
            ) from None
        return cls(path, _locked(os.fdopen(descriptor, "r+b"), part), Tally())

    @classmethod
    def resume(cls, path: Path) -> tuple[ExportFile, Found | None]:
        """Go on with FILE.part behind its last mark; None when it has not come so far.

        Raises:
            InvalidExportError: it is damaged, or no export.

        """
        part = part_of(path)
        file = _locked(part.open("r+b"), part)
        try:
            found = find(file)
        except InvalidExportError as error:
            file.close()
            error.add_note(f"{part} cannot be gone on with: remove it and begin anew")
            raise
        except BaseException:
            file.close()
            raise
        file.truncate(found.size if found else 0)
        file.seek(0, os.SEEK_END)
        return cls(path, file, found.tally if found else Tally()), found

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines."""
        for line in lines:
            self.tally.add(line, kind_of(line))
            self._file.write(line)
        self._file.flush()

    def finish(self) -> End:
        """Write the last line, and give the file its name."""
        end = self.tally.end()
        self._file.write(end.line())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        part_of(self._path).replace(self._path)
        return end

    def close(self) -> None:
        """Leave FILE.part as it is."""
        with suppress(OSError):  # a full disk: what could not be written is cut off by the next one
            self._file.close()


def is_whole(path: Path) -> bool:
    """Whether a file ends as an export does."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    return last.startswith(b'{"type":"end"') and last.endswith(b"}")


def find(file: BinaryIO) -> Found | None:
    """Read what an export has written so far; None when there is no mark yet.

    Raises:
        InvalidExportError: it is damaged, or no export.

    """
    found: Found | None = None
    header: Header | None = None
    tally, size = Tally(), 0
    for number, line in enumerate(bounded_lines(file.readline), 1):
        if not line.endswith(b"\n"):
            break
        size += len(line)
        if number == 1:
            first = read_line(line, 1)
            if not isinstance(first, Header):
                raise InvalidExportError("it does not begin with a header", 1)
            header = first
        kind = _kind(line, number)
        tally.add(line, kind)
        if kind is LineKind.MARK and header is not None:
            mark = read_line(line, number)
            assert isinstance(mark, MarkLine)
            found = Found(header, mark.position, tally.copy(), size)
    return found


def _kind(line: bytes, number: int) -> LineKind:
    try:
        kind = kind_of(line)
    except InvalidExportError as error:
        raise InvalidExportError(str(error), number) from None
    if (kind is LineKind.HEADER) != (number == 1):
        raise InvalidExportError(f"a {kind} does not belong there", number)
    return kind


def _locked(file: BinaryIO, path: Path) -> BinaryIO:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ArgumentError(f"another export is writing {path}") from None
    return file
