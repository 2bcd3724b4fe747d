"""The table at the end of a run."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from localcluster.console import say
from tests.chaos import figures
from tests.chaos.checker import Result
from tests.chaos.history import History

SHOWN = 20


def show(result: Result, history: History, directory: Path) -> None:
    """Prints what each kind of fault did, on standard output; the verdict goes to standard error."""
    table = Table(
        title=f"CHAOS_SEED={result.seed}: {result.faults} faults, {result.acknowledged} memories acknowledged"
    )
    table.add_column("fault", style="bold", overflow="fold")
    for heading in figures.HEADINGS:
        table.add_column(heading, justify="right")
    for row in figures.by_kind(history.faults, result.outages):
        table.add_row(row.kind, *row.cells())
    console = Console()
    Console(width=console.width if console.is_terminal else 140).print(table)
    for violation in result.violations[:SHOWN]:
        say(f"    NOT KEPT: {violation}")
    if len(result.violations) > SHOWN:
        say(f"    and {len(result.violations) - SHOWN} more: {directory / 'result.json'}")
    kept = "every promise was kept" if result.ok else f"{len(result.violations)} violations"
    say(f"{kept}; longest time without an acknowledgement by the Service {result.longest_outage_ms:.0f} ms")
