"""The table at the end of a run."""

from collections import defaultdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from localcluster.console import say
from tests.chaos.checker import Result
from tests.chaos.history import Fault, load

SHOWN = 20


def show(result: Result, directory: Path) -> None:
    """Prints what each kind of fault did, on standard output, and the verdict."""
    history = load(directory / "history.jsonl")
    table = Table(title=f"CHAOS_SEED={result.seed}: {result.faults} faults, {result.acknowledged} memories acknowledged")
    table.add_column("fault", style="bold", overflow="fold")
    for heading in ("times", "well again, median s", "longest s", "outage, median ms", "longest ms", "stuck"):
        table.add_column(heading, justify="right")
    for kind, faults in sorted(by_kind(history.faults).items()):
        table.add_row(kind, *_row(faults, result))
    console = Console()
    Console(width=console.width if console.is_terminal else 140).print(table)
    for violation in result.violations[:SHOWN]:
        say(f"    NOT KEPT: {violation}")
    if len(result.violations) > SHOWN:
        say(f"    … and {len(result.violations) - SHOWN} more: {directory / 'result.json'}")
    kept = "every promise was kept" if result.ok else f"{len(result.violations)} violations"
    say(f"{kept}; longest time without an acknowledgement by the Service {result.longest_outage_ms:.0f} ms")


def by_kind(faults: list[Fault]) -> dict[str, list[Fault]]:
    """The plan's faults."""
    found: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        if not fault.upkeep:
            found[fault.kind].append(fault)
    return found


def _row(faults: list[Fault], result: Result) -> list[str]:
    well = [fault.recovered - fault.healed for fault in faults if fault.recovered is not None]
    outages = [longest_ms(fault, result) for fault in faults]
    return [
        str(len(faults)),
        f"{median(well):.1f}" if well else "-",
        f"{max(well):.1f}" if well else "-",
        f"{median(outages):.0f}",
        f"{max(outages):.0f}",
        str(sum(fault.recovered is None for fault in faults)),
    ]


def longest_ms(fault: Fault, result: Result) -> float:
    """The longest outage while a fault was under way; 0 when there was none that is worth telling."""
    return max((outage.ms for outage in result.outages if fault.number in outage.faults), default=0.0)
