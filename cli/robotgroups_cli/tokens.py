"""`robotgroups token`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from robotgroups.scoped_tokens import scoped_token
from robotgroups_cli.options import examples
from robotgroups_cli.outcome import Command

VARIABLE = "ROBOTGROUPS_TOKEN"
STDIN = Path("-")
_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhdw])")


@click.command(
    cls=Command,
    epilog=examples(
        "kubectl get secret support-robotgroups -o jsonpath={.data.token} | base64 -d |",
        "  robotgroups token --scope user=u1 --expires 30d --token-file -",
        "robotgroups token --scope user=u1 --scope conversation=c7 --token-file support.token",
    ),
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="KEY=VALUE",
    help="Whom or what it is limited to; all of several.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    help="Until when it is good: in so many minutes, hours, days or weeks (90m, 12h, 30d, 4w), or a time with its zone "
    "(2027-01-31T00:00:00Z). Without it: as long as the group's token.",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, allow_dash=True, dir_okay=False, path_type=Path),
    help=f"A file with the group's token; - is standard input. Without it: {VARIABLE}.",
)
def token(scopes: Sequence[str], expires: str | None, token_file: Path | None) -> None:
    """Make a token of a group that reaches only the memories of one scope.

    It is for a robot's HTTP API (Authorization: Bearer TOKEN). It is made from the group's token, without a network,
    and ends when that one is replaced: there is no other way to take it back before it expires.
    """
    until = None if expires is None else expiry(expires, datetime.now(UTC))
    click.echo(scoped_token(_group_token(token_file), scope_of(scopes), until))


def scope_of(texts: Sequence[str]) -> dict[str, str]:
    """The scope that KEY=VALUE texts name."""
    scope: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE, such as user=u1", param_hint="--scope")
        if key in scope:
            raise click.BadParameter(f"{key!r} is given twice", param_hint="--scope")
        scope[key] = value
    return scope


def expiry(text: str, now: datetime) -> datetime:
    """When something ends that was asked for now: a duration from now on, or a time."""
    if match := _DURATION.fullmatch(text):
        try:
            return now + int(match[1]) * _UNITS[match[2]]
        except OverflowError:
            raise click.BadParameter(f"{text!r} is too long", param_hint="--expires") from None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        until = None
    if until is None or until.tzinfo is None:
        raise click.BadParameter(
            f"{text!r} is neither a duration, such as 90m, 12h, 30d or 4w, nor a time with its zone, such as "
            "2027-01-31T00:00:00Z",
            param_hint="--expires",
        )
    if until <= now:
        raise click.BadParameter(f"{text!r} is not in the future", param_hint="--expires")
    return until


def _group_token(file: Path | None) -> str:
    if file == STDIN:
        text = sys.stdin.read()
    elif file is not None:
        text = file.read_text(encoding="utf-8")
    else:
        text = os.environ.get(VARIABLE, "")
    if not (found := text.strip()):
        raise click.UsageError(f"the group's token is missing: give --token-file, or set {VARIABLE}")
    return found
