"""The command with its parts."""

from __future__ import annotations

import click

from robotgroups_cli.checking import check
from robotgroups_cli.exporting import export
from robotgroups_cli.importing import import_
from robotgroups_cli.migrating import migrate
from robotgroups_cli.tokens import token


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="robotgroups")
def cli() -> None:
    """Look after a database of robot groups: its schema, its health, the memories in it.

    The database is named by --dsn-file, else by the environment variable ROBOTGROUPS_DSN; without either it is the
    embedded Postgres of this user, as for the Python library.

    Exit codes: 0 done; 1 something is wrong with what was looked at (a finding of check, a line of an export); 2 the
    command was given wrongly or the database cannot be used; 130 interrupted.
    """


for command in (migrate, check, export, import_, token):
    cli.add_command(command)
