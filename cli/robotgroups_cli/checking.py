"""`robotgroups check`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from robotgroups.check import Finding
from robotgroups.check import check as find
from robotgroups.models import GroupKey
from robotgroups.remedies import remedy_of
from robotgroups_cli.bars import Spinner
from robotgroups_cli.options import Database, database_options, examples
from robotgroups_cli.outcome import Command, ExitCode
from robotgroups_cli.running import run


@click.command(
    cls=Command, epilog=examples("robotgroups check", "robotgroups check --json | jq '.findings[].invariant'")
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: findings, how many groups were looked at.")
@database_options
def check(as_json: bool, dsn_file: Path | None, dsn: str | None) -> None:
    """Verify every invariant of a database, and say what is broken and what to do about it.

    It only reads, all of it as it is at one moment: robots may go on meanwhile. Exit code 1 when something is broken.
    """
    findings, groups = run(_check(Database(dsn_file, dsn)))
    if as_json:
        click.echo(json.dumps({"groups": len(groups), "findings": [_as_json(f, groups) for f in findings]}, indent=2))
    else:
        for _, same in groupby(findings, lambda f: (f.check, f.group_id)):
            click.echo(_told(list(same), groups) + "\n")
        click.echo(f"{len(findings)} findings in {len(groups)} groups" if findings else f"{len(groups)} groups: sound")
    if findings:
        click.get_current_context().exit(ExitCode.WRONG)


async def _check(database: Database) -> tuple[Sequence[Finding], Mapping[int, GroupKey]]:
    with Spinner() as spinner:
        async with database.opened() as store:
            spinner.say("checking")
            groups = {record.id: record.key for record in await store.list_groups()}
            return await find(store), groups


def _as_json(finding: Finding, groups: Mapping[int, GroupKey]) -> dict[str, Any]:
    key = None if finding.group_id is None else groups.get(finding.group_id)
    return {
        "invariant": finding.invariant.value,
        "check": finding.check,
        "group_id": finding.group_id,
        "group": None if key is None else asdict(key),
        "detail": finding.detail,
        "remedy": asdict(remedy_of(finding)),
    }


def _told(findings: Sequence[Finding], groups: Mapping[int, GroupKey]) -> str:
    """The findings of one check in one group."""
    first = findings[0]
    remedy = remedy_of(first)
    return "\n".join(
        [
            f"{first.invariant} {first.check}{_where(first, groups)}",
            *(f"  what: {finding.detail}" for finding in findings),
            f"  do:   {remedy.words}",
            *(f"        {line}" for line in remedy.sql.splitlines()),
        ]
    )


def _where(finding: Finding, groups: Mapping[int, GroupKey]) -> str:
    if finding.group_id is None:
        return ""
    key = groups.get(finding.group_id)
    named = "" if key is None else f" {key.name} ({key.cluster}/{key.namespace_uid})"
    return f", group {finding.group_id}{named}"
