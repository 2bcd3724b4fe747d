"""`robotgroups token`: from a file, standard input, the environment; never from an argument."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from robotgroups.errors import NotPermittedError
from robotgroups.scoped_tokens import ScopedTokens

from .conftest import Command

SECRET = "the token of a group, 32 letters"


def scope_in(token: str, at: datetime) -> dict[str, str]:
    return ScopedTokens(SECRET).scope_of(token.strip(), at)


def test_from_wherever_the_groups_token_comes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET + "\n")
    scope, now = ["--scope", "user=u1", "--scope", "conversation=a=b"], datetime.now(UTC)
    made = [
        Command("").good("token", *scope, "--token-file", str(file)),
        Command("").good("token", *scope, "--token-file", "-", stdin=SECRET),
        Command("", {"ROBOTGROUPS_TOKEN": SECRET}).good("token", *scope),
    ]
    assert [scope_in(ended.out, now) for ended in made] == [{"user": "u1", "conversation": "a=b"}] * 3
    assert [ended.err for ended in made] == [""] * 3


def test_it_ends_when_it_was_told_to() -> None:
    command, before = Command("", {"ROBOTGROUPS_TOKEN": SECRET}), datetime.now(UTC)
    token = command.good("token", "--scope", "user=u1", "--expires", "30d").out
    assert scope_in(token, before + timedelta(days=30, seconds=-1)) == {"user": "u1"}
    with pytest.raises(NotPermittedError, match="expired"):
        scope_in(token, datetime.now(UTC) + timedelta(days=30, seconds=1))


@pytest.mark.parametrize(
    ("arguments", "secret", "message"),
    [
        (["--scope", "user=u1"], "", "the group's token is missing: give --token-file, or set ROBOTGROUPS_TOKEN"),
        (["--scope", "user=u1"], "short", "the group's token must have at least 16 random characters"),
        ([], SECRET, "Missing option '--scope'"),
        (["--scope", "User=u1"], SECRET, "scope's key 'User' must begin with a-z"),
    ],
)
def test_what_makes_no_token_is_refused(arguments: list[str], secret: str, message: str) -> None:
    ended = Command("", {"ROBOTGROUPS_TOKEN": secret}).run("token", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert SECRET not in ended.err
