"""What is imported, as lines: a file, or standard input, which can cease to come at any time."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robotgroups.transfer.importing import bounded_lines

STDIN = Path("-")
_CHUNK = 1 << 16
# How long it may take until somebody who waits for input notices that the command is to end.
_PATIENCE_S = 0.2


@dataclass(frozen=True, slots=True)
class Opened:
    """Lines, how many bytes of them were read, and how many there are (None: nobody knows)."""

    lines: Iterator[bytes]
    at: Callable[[], int]
    size: int | None


class StoppedError(Exception):
    """Nobody waits for the next line any more."""


class Input:
    """Lines of a descriptor. `at` is how many bytes were read; `stop` ends whoever waits for more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = bytearray()
        self._ended = False
        self._stopped = threading.Event()
        self.at = 0

    def stop(self) -> None:
        """End whoever waits for more."""
        self._stopped.set()

    def readline(self, limit: int) -> bytes:
        """The next line with its line break, or `limit` bytes of it; nothing at the end.

        Raises:
            StoppedError: it was stopped.

        """
        searched = 0
        while (found := self._rest.find(b"\n", searched)) < 0 and len(self._rest) < limit and not self._ended:
            searched = len(self._rest)
            self._more()
        size = min(limit, found + 1 if found >= 0 else len(self._rest))
        line = bytes(self._rest[:size])
        del self._rest[:size]
        self.at += size
        return line

    def _more(self) -> None:
        while not self._stopped.is_set():
            if select.select([self._descriptor], [], [], _PATIENCE_S)[0]:
                chunk = os.read(self._descriptor, _CHUNK)
                self._rest += chunk
                self._ended = not chunk
                return
        raise StoppedError


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The lines of a file, or of standard input. InvalidExportError: one is too long."""
    if path == STDIN:
        source = Input(0)
        try:
            yield Opened(bounded_lines(source.readline), lambda: source.at, None)
        finally:
            source.stop()
    else:
        with path.open("rb") as file:
            yield Opened(bounded_lines(file.readline), file.tell, path.stat().st_size)
