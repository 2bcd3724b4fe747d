"""A progress bar on stderr, when that is a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import DownloadColumn as BytesColumn
from rich.status import Status


class Bar:
    """How far something is; without a terminal, or when nobody wants it, nothing is drawn."""

    def __init__(self, title: str, total: int | None, *, quiet: bool = False, in_bytes: bool = False) -> None:
        amount: ProgressColumn = BytesColumn() if in_bytes else MofNCompleteColumn()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            amount,
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=quiet or not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def at(self, completed: int) -> None:
        """It has come so far."""
        self._progress.update(self._task, completed=completed)


class Spinner:
    """Says on a terminal's stderr what is going on just now."""

    def __init__(self) -> None:
        self._status = Status("", console=Console(stderr=True)) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """It is doing this now."""
        if self._status is not None:
            self._status.update(text)
            self._status.start()
