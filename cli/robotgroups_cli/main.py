"""Where the command `robotgroups` begins."""

from __future__ import annotations

import sys

_EXTRA = {"click", "rich"}


def main() -> None:
    """Run the command; says what to install when the extra `cli` is missing."""
    try:
        from robotgroups_cli.app import cli  # noqa: PLC0415  it needs the extra
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit("the command robotgroups needs the extra cli: pip install 'robotgroups[cli]'")
    cli(prog_name="robotgroups")
