"""How a result is shown: a table, a picture, a dated JSON file, and one JSON object as the last line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness.figures import Figures, complete
from benchmarks.harness.options import Options

_STARTED = time.monotonic()


@dataclass(frozen=True)
class Result:
    """``figures`` (ours), ``limit`` and each of ``peers`` have the same keys; None where there is no such thing."""

    name: str
    figures: Figures
    limit: Figures
    peers: Mapping[str, Figures]
    machine: Mapping[str, object]


def result(
    name: str,
    keys: Sequence[str],
    measured: Mapping[str, Figures],
    peers: Sequence[str],
    machine: Mapping[str, object],
) -> Result:
    """The result of what was ``measured`` by contender: "ours", "limit" and the peers; absent ones have no figure.

    What was measured under other ``keys`` is for the table alone.
    """
    ours, limit, *others = (complete(keys, measured.get(contender, {})) for contender in ("ours", "limit", *peers))
    return Result(name, ours, limit, dict(zip(peers, others, strict=True)), machine)


def say(text: str) -> None:
    """Progress, with the seconds since the start, to where it does not disturb the result."""
    print(f"==> {time.monotonic() - _STARTED:4.0f} s: {text}", file=sys.stderr, flush=True)


def stem_of(name: str, options: Options) -> Path:
    """Where today's result of this name is written, without the file's suffix; a million's stands by itself."""
    return options.results / f"{name}{'-million' if options.million else ''}-{datetime.now(UTC):%Y-%m-%d}"


def publish(
    what: Result, options: Options, measured: Mapping[str, Figures], details: Mapping[str, Sequence[Figures]]
) -> None:
    """Shows the result. The table has all that was ``measured``; the file has the rounds in ``details`` as well."""
    columns = {name: measured.get(name, {}) for name in ("ours", "limit", *what.peers)}
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_table(what, columns))
    options.results.mkdir(parents=True, exist_ok=True)
    stem = stem_of(what.name, options)
    document = asdict(what) | {"details": {name: list(rounds) for name, rounds in details.items()}}
    Path(f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    if options.picture:
        from benchmarks.harness.picture import draw  # noqa: PLC0415  matplotlib is heavy, and only in the bench group

        draw(what, Path(f"{stem}.png"))
    say(f"written: {stem}.json" + (" and .png" if options.picture else ""))
    print(json.dumps(asdict(what)), flush=True)


def _table(what: Result, columns: Mapping[str, Figures]) -> Table:
    table = Table(title=f"bench-{what.name}")
    table.add_column("figure")
    for name in columns:
        table.add_column(name, justify="right")
    others = {key for figures in columns.values() for key in figures} - what.figures.keys()
    for key in (*what.figures, *sorted(others)):
        style = "dim" if key in others else None
        table.add_row(key, *(shown(figures.get(key)) for figures in columns.values()), style=style)
    return table


def shown(value: float | None) -> str:
    """A figure as a person reads it: three significant digits, a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
