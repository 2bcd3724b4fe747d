"""Where a model's key may be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.errors import ArgumentError
from robotgroups.placed_keys import Found, PlacedKey, place_of, usable

A, B = "https://api.openai.com/v1", "https://models.example:8443/v1"


@pytest.mark.parametrize(
    ("base_url", "place"),
    [
        ("", ""),
        (A, "https://api.openai.com"),
        ("HTTPS://API.OpenAI.com/other", "https://api.openai.com"),
        (B, "https://models.example:8443"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
    ],
)
def test_a_place_is_scheme_host_and_port(base_url: str, place: str) -> None:
    assert place_of(base_url) == place


def test_a_key_with_its_place_is_sent_there_alone_whatever_the_settings_name() -> None:
    key = PlacedKey(lambda: "k", A)
    for named in ("", B, A):
        key.look(named)
        assert key.found(A) == key.found(f"{A}/more") == Found("k")
        assert key.found(B) == Found(None, withheld=True)


def test_a_key_without_a_place_is_for_the_one_that_the_settings_named_first() -> None:
    told = "first"
    key = PlacedKey(lambda: told)
    key.look("")
    assert key.found("") == Found("first")
    for named in (A, B):
        key.look(named)
        assert key.found(A) == Found("first")
        assert key.found(B) == Found(None, withheld=True)
    told = "second"
    key.look(B)
    assert (key.found(A), key.found(B)) == (Found("first"), Found("second"))


def test_no_key_and_one_that_cannot_be_read() -> None:
    none = PlacedKey(lambda: None)
    none.look(A)
    assert none.found(A) == none.found(B) == Found(None)
    error = ArgumentError("no such file")

    def fails() -> str:
        raise error

    unreadable = PlacedKey(fails, A)
    unreadable.look(A)
    assert unreadable.found(A) == Found(error)
    assert unreadable.found(B) == Found(None, withheld=True)
    with pytest.raises(ArgumentError, match="no such file"):
        usable(error)
    assert usable("k") == "k"


places = st.sampled_from(["https://a", "https://b", "https://c"])


@given(st.lists(st.tuples(st.sampled_from("xyz"), places), min_size=1))
def test_no_key_is_ever_sent_to_a_place_that_was_not_named_when_it_came(looks: list[tuple[str, str]]) -> None:
    now = ""
    key = PlacedKey(lambda: now)
    named: dict[str, set[str]] = {}
    for told, place in looks:
        came, now = told != now, told
        key.look(place)
        if came:
            named.setdefault(told, set()).add(place)
        for asked in ("https://a", "https://b", "https://c"):
            sent = key.found(asked).key
            assert sent is None or asked in named[str(sent)]


@pytest.mark.parametrize("base_url", ["api.openai.com", "models.example:8443", "http://[x", " "])
def test_what_a_key_is_for_is_a_base_url_or_is_refused(base_url: str) -> None:
    with pytest.raises(ArgumentError, match=r"^what a key is for must be a base URL"):
        PlacedKey(lambda: "k", base_url)
    blank = PlacedKey(lambda: "k", "")
    blank.look(A)
    assert blank.found(B) == Found(None, withheld=True)
