"""What belongs to a scope, and what somebody who is limited to one may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.errors import InvalidScopeError, NotPermittedError
from robotgroups.scope import belongs, within

OWN = {"user": "u1"}
SCOPES = st.dictionaries(st.sampled_from(["user", "topic", "team"]), st.sampled_from(["a", "b"]))


@pytest.mark.parametrize("asked", [None, {}, {"user": "u1"}])
def test_nothing_asked_for_is_ones_own(asked: dict[str, str] | None) -> None:
    assert within(OWN, asked) == OWN


def test_more_than_ones_own_is_narrower() -> None:
    assert within(OWN, {"user": "u1", "topic": "t"}) == {"topic": "t", "user": "u1"}


@pytest.mark.parametrize("asked", [{"user": "u2"}, {"topic": "t"}, {"user": "u2", "topic": "t"}, {"user": "U1"}])
def test_what_does_not_have_all_of_it_is_refused_with_the_remedy(asked: dict[str, str]) -> None:
    with pytest.raises(NotPermittedError, match=r"limited to the scope \{'user': 'u1'\}: leave scope out, or give one"):
        within(OWN, asked)


def test_what_is_no_scope_is_told_as_such() -> None:
    with pytest.raises(InvalidScopeError, match="'User'"):
        within(OWN, {"User": "u1"})


@given(SCOPES, SCOPES.filter(bool), SCOPES)
def test_whatever_is_permitted_finds_nothing_outside(
    memory: dict[str, str], own: dict[str, str], asked: dict[str, str]
) -> None:
    try:
        wanted = within(own, asked)
    except NotPermittedError:
        assert not belongs(asked, own)
        return
    if belongs(memory, wanted):
        assert belongs(memory, own)
