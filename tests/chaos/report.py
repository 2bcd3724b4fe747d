"""`python -m tests.chaos.report DIRECTORY RESULTS`: the report of a run, in Markdown with pictures.

Needs matplotlib, so the benchmarks' environment runs it; everything is made from the files of the run.
"""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import figures
from tests.chaos.checker import Result, check
from tests.chaos.history import Fault, History, load
from tests.chaos.tables import Tables

LONGEST_OUTAGES = 15


def main() -> int:
    """Writes chaos-DATE.md and its pictures; says where."""
    source, results = Path(sys.argv[1]), Path(sys.argv[2])
    seed = int(json.loads((source / "result.json").read_text())["seed"])
    history = load(source / "history.jsonl")
    result = check(history, Tables.load(source / "tables.json"), seed)
    at = datetime.fromtimestamp((source / "history.jsonl").stat().st_mtime, UTC)
    name = f"chaos-{at:%Y-%m-%d}"
    from tests.chaos import pictures  # noqa: PLC0415  the text can be made without matplotlib

    results.mkdir(parents=True, exist_ok=True)
    drawn = pictures.draw(history, result.outages, results, name)
    (results / f"{name}.md").write_text(text(result, history, [path.name for path in drawn]))
    print(results / f"{name}.md")
    return 0


def text(result: Result, history: History, drawn: list[str]) -> str:
    """The whole report."""
    document = result.as_json()
    violations = document.pop("violations")
    writes = len(history.writes)
    minutes = (history.writes[-1].end - history.writes[0].start) / 60 if writes else 0
    parts = [
        f"# Chaos, seed {result.seed}\n",
        f"{result.faults} faults in {minutes:.0f} minutes, on {os.cpu_count()} processors "
        f"(Linux {platform.release()}); {writes} tries to write, {len(history.reads)} reads of a memory, "
        f"{len(history.caches)} of a whole cache, {len(history.events)} changes in the feed. "
        "How it is done: [docs/chaos.md](../../docs/chaos.md).\n",
        f"```json\n{json.dumps(document, indent=2)}\n```\n",
        "## By kind\n",
        _table(
            ("fault", *figures.HEADINGS),
            [[f.kind, *f.cells()] for f in figures.by_kind(history.faults, result.outages)],
        ),
        "## What was not kept\n",
        "\n".join(f"- {violation}" for violation in violations) or "Nothing.",
        "\n## The longest outages of the Service\n",
        _outages(result, history.faults),
        "## The run\n",
        "Acknowledged writes a second, a red line for each fault; below, who was what.\n",
        f"![the run]({drawn[0]})\n",
        "## Each fault\n",
        "Acknowledgements in tenths of a second (dark: through the Service, light: at the pods), red while the fault "
        "lasts, a green line where the group was well again; below, who was what. In the title: the longest outage.\n",
        *(f"![faults]({picture})\n" for picture in drawn[1:]),
    ]
    return "\n".join(parts)


def _outages(result: Result, faults: list[Fault]) -> str:
    kinds = {fault.number: f"{fault.kind} ({fault.detail})" for fault in faults}
    longest = sorted(result.outages, key=lambda outage: -outage.ms)[:LONGEST_OUTAGES]
    rows = [
        [f"{o.ms:.0f}", "; ".join(kinds[number] for number in o.faults) or "no fault was under way"] for o in longest
    ]
    return _table(("ms", "meanwhile"), rows)


def _table(headings: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
