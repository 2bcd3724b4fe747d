"""S1 over HTTP: a scoped token says what the group's token's holder has said, and nothing else is one."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups import scoped_token
from robotgroups.errors import ArgumentError, InvalidScopeError, NotPermittedError
from robotgroups.scoped_tokens import ALGORITHM, AUDIENCE, SCOPE_CLAIM, ScopedTokens, _key

GROUP = "the-token-of-the-group"
OTHER = "the-token-of-another-group"
SCOPE = {"conversation": "c7", "user": "u1"}
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(claims: dict[str, Any], key: bytes | str | None = None, algorithm: str = ALGORITHM) -> str:
    """A token as somebody would make it who knows all of this module but the group's token."""
    return jwt.encode({"aud": AUDIENCE, SCOPE_CLAIM: SCOPE} | claims, _key(GROUP) if key is None else key, algorithm)


def refused(tokens: ScopedTokens, token: str) -> bool:
    try:
        tokens.scope_of(token, NOW)
    except NotPermittedError as error:
        return str(error) == "the token is not valid"
    return False


def test_a_token_carries_its_scope() -> None:
    token = scoped_token(GROUP, {"user": "u1", "conversation": "c7"})
    for _ in range(2):  # read, and remembered
        assert ScopedTokens(GROUP).scope_of(token, NOW) == SCOPE
    assert token == scoped_token(GROUP, SCOPE), "stateless: the same is the same"
    assert GROUP not in token


def test_what_it_says_cannot_be_changed_by_who_is_told() -> None:
    tokens = ScopedTokens(GROUP)
    token = scoped_token(GROUP, SCOPE)
    tokens.scope_of(token, NOW)["user"] = "u2"
    assert tokens.scope_of(token, NOW) == SCOPE


def test_it_ends_with_its_second_and_with_the_groups_token() -> None:
    ends = datetime(2026, 1, 1, 14, 0, 0, tzinfo=timezone(timedelta(hours=2)))
    for given_end in (ends, ends.astimezone(UTC).replace(tzinfo=None)):
        token, tokens = scoped_token(GROUP, SCOPE, given_end), ScopedTokens(GROUP)
        assert tokens.scope_of(token, NOW - timedelta(microseconds=1)) == SCOPE
        for late in (NOW, NOW + timedelta(days=1)):
            with pytest.raises(NotPermittedError, match="the token has expired"):
                tokens.scope_of(token, late)
    with pytest.raises(NotPermittedError, match="the token is not valid"):
        ScopedTokens(OTHER).scope_of(scoped_token(GROUP, SCOPE), NOW)


def test_attacks_on_the_token() -> None:
    tokens = ScopedTokens(GROUP)
    header, claims, signature = scoped_token(GROUP, SCOPE, NOW + timedelta(hours=1)).split(".")
    body = {"aud": AUDIENCE, SCOPE_CLAIM: {"user": "u2"}}
    attacks = {
        "another scope under the same signature": f"{header}.{encoded(body)}.{signature}",
        "a later end": f"{header}.{encoded(body | {SCOPE_CLAIM: SCOPE, 'exp': 2**40})}.{signature}",
        "no signature": f"{header}.{claims}.",
        "no algorithm": f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(body)}.",
        "its signature cut": f"{header}.{claims}.{signature[:-2]}",
        "signed with the group's token itself": forged({}, GROUP.ljust(64, "x")),
        "signed with the other group's key": forged({}, _key(OTHER)),
        "another algorithm with the right key": forged({}, _key(GROUP).ljust(64, b"\0"), "HS512"),
        "for another audience": forged({"aud": "elsewhere"}),
        "the group's token": GROUP,
        "nothing": "",
        "dots": "..",
        "no ASCII": "\u00e9.\u00e9.\u00e9",
        "JSON that is no object": f"{header}.{encoded([1])}.{signature}",
    }
    for what, token in attacks.items():
        assert refused(tokens, token), what


@pytest.mark.parametrize(
    "claims",
    [
        {SCOPE_CLAIM: {}},
        {SCOPE_CLAIM: None},
        {SCOPE_CLAIM: []},
        {SCOPE_CLAIM: "user=u1"},
        {SCOPE_CLAIM: {"user": 1}},
        {SCOPE_CLAIM: {"user": {"$ne": ""}}},
        {SCOPE_CLAIM: {"User": "u1"}},
        {SCOPE_CLAIM: {"user": ""}},
        {"exp": "never"},
        {"exp": True},
        {"exp": 1e300},
    ],
)
def test_what_is_rightly_signed_but_not_of_our_making_is_none(claims: dict[str, Any]) -> None:
    assert refused(ScopedTokens(GROUP), forged(claims))


@given(st.data())
def test_no_change_of_a_character_is_accepted(data: st.DataObject) -> None:
    token = scoped_token(GROUP, SCOPE)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCabc019-_.=").filter(lambda c: c != token[place]))
    changed = token[:place] + other + token[place + 1 :]
    try:
        scope = ScopedTokens(GROUP).scope_of(changed, NOW)
    except NotPermittedError:
        return
    # base64's last character has bits that say nothing; whatever is accepted says the same
    assert (scope, place) == (SCOPE, len(token) - 1)


def test_none_is_made_of_nothing_or_of_a_token_that_can_be_guessed() -> None:
    with pytest.raises(InvalidScopeError, match="must not be empty"):
        scoped_token(GROUP, {})
    with pytest.raises(InvalidScopeError, match="'User'"):
        scoped_token(GROUP, {"User": "u1"})
    with pytest.raises(ArgumentError, match="at least 16 random characters") as told:
        scoped_token("short-secret", SCOPE)
    assert "short-secret" not in str(told.value)
    made = jwt.encode({"aud": AUDIENCE, SCOPE_CLAIM: SCOPE}, _key("short"), ALGORITHM)
    with pytest.raises(NotPermittedError, match="the token is not valid"):
        ScopedTokens("short").scope_of(made, NOW)
