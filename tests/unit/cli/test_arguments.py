"""What options mean, what errors end with, and that every command explains itself."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from robotgroups import errors
from robotgroups.errors import RobotGroupsError
from robotgroups_cli import main as entry
from robotgroups_cli.app import cli
from robotgroups_cli.export_file import part_of
from robotgroups_cli.outcome import ExitCode, exit_code
from robotgroups_cli.tokens import expiry, scope_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW + timedelta(minutes=90)),
        ("12h", NOW + timedelta(hours=12)),
        ("30d", NOW + timedelta(days=30)),
        ("4w", NOW + timedelta(weeks=4)),
        ("2026-03-01T13:00:00+00:00", NOW + timedelta(hours=1)),
        ("2026-03-01T12:30:00-01:00", NOW + timedelta(hours=1, minutes=30)),
    ],
)
def test_when_a_token_ends(text: str, expected: datetime) -> None:
    assert expiry(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is neither a duration"),
        ("0d", "is neither a duration"),
        ("-1d", "is neither a duration"),
        ("30", "is neither a duration"),
        ("30s", "is neither a duration"),
        ("2026-03-02T00:00:00", "is neither a duration, .* nor a time with its zone"),
        ("2026-03-01T12:00:00Z", "is not in the future"),
        ("999999w", "is too long"),
    ],
)
def test_what_is_no_end_is_refused(text: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        expiry(text, NOW)


def test_scopes() -> None:
    assert scope_of(["user=u1", "conversation=a=b", "x="]) == {"user": "u1", "conversation": "a=b", "x": ""}


@pytest.mark.parametrize(
    ("texts", "message"), [(["user"], "is not KEY=VALUE"), (["=u"], "is not KEY=VALUE"), (["a=1", "a=2"], "twice")]
)
def test_what_is_no_scope_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        scope_of(texts)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidExportError("x", 3), ExitCode.WRONG),
        (errors.MemoryUnavailableError("x"), ExitCode.UNUSABLE),
        (errors.SchemaVersionError("x"), ExitCode.UNUSABLE),
        (errors.DatabaseConfigError("x"), ExitCode.UNUSABLE),
        (errors.NotPermittedError("x"), ExitCode.UNUSABLE),
        (errors.UnknownGroupError("x"), ExitCode.UNUSABLE),
        (errors.MissingFeatureError("x"), ExitCode.UNUSABLE),
        (errors.InvalidScopeError("x"), ExitCode.UNUSABLE),
        (errors.ClosedError("x"), ExitCode.WRONG),
    ],
)
def test_what_an_error_ends_with(error: RobotGroupsError, code: ExitCode) -> None:
    assert exit_code(error) is code


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_explains_itself_with_examples(name: str) -> None:
    told = CliRunner().invoke(cli, [name, "--help"])
    assert told.exit_code == 0
    assert f"\n    robotgroups {name}" in told.output or f"|\n      robotgroups {name}" in told.output
    for option in cli.commands[name].params:
        assert isinstance(option, click.Argument) or getattr(option, "help", None), option.name


def test_the_dsn_option_warns_of_passwords() -> None:
    told = " ".join(CliRunner().invoke(cli, ["migrate", "--help"]).output.split())
    assert "--dsn DSN The DSN itself. Everybody on this machine can read it while the command runs" in told


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "robotgroups_cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=r"pip install 'robotgroups\[cli\]'"):
        entry.main()


def test_where_an_export_stands_until_it_is_whole() -> None:
    assert part_of(Path("/x/support.jsonl")) == Path("/x/support.jsonl.part")
