"""What the demo found: a row for each step, as a table for people and as JSON for programs."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from localcluster.console import ClusterError, say


@dataclass(frozen=True)
class Seen:
    """What a step saw, and whether that is what was expected."""

    ok: bool
    detail: str


@dataclass(frozen=True)
class Row:
    """One step: what was expected, what was seen, and how long it took."""

    name: str
    expected: str
    ok: bool
    detail: str
    ms: float


@dataclass
class Report:
    """The rows so far, and the figures that the walk measured (None: not measured)."""

    rows: list[Row] = field(default_factory=list)
    promoted_ms: float | None = None
    service_outage_ms: float | None = None
    lost: int | None = None

    @property
    def ok(self) -> bool:
        """Whether every step held."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def step(self, name: str, expected: str, action: Callable[[], Seen], *, first_time: str = "") -> Seen:
        """Runs a step and adds its row; its ClusterError is recorded and raised on: what follows would be senseless."""
        say(f"==> {name}" + (f" (first time: {first_time})" if first_time else ""))
        started = time.monotonic()
        try:
            seen = action()
        except ClusterError as error:
            self._add(name, expected, Seen(False, str(error).partition("\n")[0]), started)
            raise
        self._add(name, expected, seen, started)
        return seen

    def _add(self, name: str, expected: str, seen: Seen, started: float) -> None:
        ms = (time.monotonic() - started) * 1000
        self.rows.append(Row(name, expected, seen.ok, seen.detail, ms))
        say(f"    {'ok' if seen.ok else 'NOT AS EXPECTED'} after {ms / 1000:.1f} s: {seen.detail}")

    def show(self) -> None:
        """Prints the table on standard output."""
        table = Table(title="What happened")
        for heading, style in (("", ""), ("step", "bold"), ("expected", ""), ("seen", "")):
            table.add_column(heading, style=style, overflow="fold")
        table.add_column("ms", justify="right")
        for row in self.rows:
            mark = "[green]ok[/]" if row.ok else "[red]NO[/]"
            table.add_row(mark, row.name, row.expected, row.detail, f"{row.ms:.0f}")
        console = Console()
        # Where nobody looks at a terminal, the table need not fit one.
        Console(width=console.width if console.is_terminal else 140).print(table)

    def write(self, path: Path) -> None:
        """Writes the JSON document."""
        document = {
            "steps": [{"name": r.name, "ok": r.ok, "ms": round(r.ms, 1), "detail": r.detail} for r in self.rows],
            "promoted_ms": self.promoted_ms,
            "service_outage_ms": self.service_outage_ms,
            "lost": self.lost,
        }
        path.write_text(json.dumps(document, indent=2) + "\n")
