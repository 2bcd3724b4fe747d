"""How a result is shown: a table, a picture, a dated JSON file, and one JSON object as the last line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness.figures import Figures, complete
from benchmarks.harness.options import Options


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
    """The result of what was ``measured`` by contender: "ours", "limit" and the peers; absent ones have no figure."""
    return Result(
        name,
        complete(keys, measured.get("ours", {})),
        complete(keys, measured.get("limit", {})),
        {peer: complete(keys, measured.get(peer, {})) for peer in peers},
        machine,
    )


def say(text: str) -> None:
    """Progress, to where it does not disturb the result."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def publish(what: Result, options: Options, details: Mapping[str, object]) -> None:
    """Shows the result; the file has ``details`` as well, which the last line has not."""
    columns = {"ours": what.figures, "limit": what.limit, **what.peers}
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_table(what, columns))
    options.results.mkdir(parents=True, exist_ok=True)
    stem = options.results / f"{what.name}-{datetime.now(UTC):%Y-%m-%d}"
    document = asdict(what) | {"details": dict(details)}
    Path(f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    if options.picture:
        from benchmarks.harness.picture import draw  # noqa: PLC0415  matplotlib is heavy, and only in the bench group

        draw(what.name, columns, Path(f"{stem}.png"))
    say(f"written: {stem}.json" + (" and .png" if options.picture else ""))
    print(json.dumps(asdict(what)), flush=True)


def _table(what: Result, columns: Mapping[str, Figures]) -> Table:
    table = Table(title=f"bench-{what.name}")
    table.add_column("figure")
    for name in columns:
        table.add_column(name, justify="right")
    for key in what.figures:
        table.add_row(key, *(shown(figures[key]) for figures in columns.values()))
    return table


def shown(value: float | None) -> str:
    """A figure as a person reads it: three significant digits, a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
