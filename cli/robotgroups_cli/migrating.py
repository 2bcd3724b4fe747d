"""`robotgroups migrate`."""

from __future__ import annotations

from pathlib import Path

import click

from robotgroups import migrations
from robotgroups.dsn import place_of
from robotgroups.errors import RobotGroupsError
from robotgroups_cli.bars import Spinner
from robotgroups_cli.options import Database, database_options, examples
from robotgroups_cli.outcome import Command
from robotgroups_cli.running import run


class _Teller(migrations.Watcher):
    """Says what is being waited for and, on a terminal, what is being applied."""

    def __init__(self, spinner: Spinner) -> None:
        self._spinner = spinner

    def waiting(self) -> None:
        click.echo("another process is migrating this database: waiting until it is done", err=True)
        self._spinner.say("waiting for another process")

    def applying(self, migration: migrations.Migration) -> None:
        self._spinner.say(f"applying {migration.name}")


@click.command(cls=Command, epilog=examples("robotgroups migrate", "robotgroups migrate --dsn-file owner.dsn"))
@database_options
def migrate(dsn_file: Path | None, dsn: str | None) -> None:
    """Bring a database to the schema of this version.

    All of it is one transaction: it is there afterwards, or nothing has changed. Robots go on meanwhile. Done twice,
    it is done once; who comes second waits for the first. The login must own the database, which needs pgvector 0.8.
    """
    run(_migrate(Database(dsn_file, dsn)))


async def _migrate(database: Database) -> None:
    dsn = await database.dsn()
    with Spinner() as spinner:
        try:
            applied = await migrations.migrate(dsn, _Teller(spinner))
        except RobotGroupsError as error:
            error.add_note(f"database: {place_of(dsn)}")
            raise
    for name in applied:
        click.echo(f"applied {name}")
    version = migrations.latest_version()
    click.echo(f"{place_of(dsn)}: schema version {version}" + ("" if applied else ", nothing to do"))
