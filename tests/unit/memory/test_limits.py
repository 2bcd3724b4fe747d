import json
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups import limits
from robotgroups.draft import Draft
from robotgroups.errors import (
    ArgumentError,
    ContentTooLargeError,
    InvalidMetadataError,
    InvalidScopeError,
    InvalidTagError,
    InvalidTextError,
)
from robotgroups.remembering import NewMemory, item_of
from robotgroups.updating import Patch


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        (datetime(2026, 1, 1), "2026-01-01T00:00:00+00:00"),  # noqa: DTZ001  that is the point
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T00:00:00+00:00"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_a_time_is_brought_to_utc(time: datetime, utc: str) -> None:
    assert limits.check_time(time).isoformat() == utc


@pytest.mark.parametrize(
    "time",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_time_that_python_could_not_read_again_is_refused_wherever_it_is_given(time: datetime) -> None:
    """Postgres would keep the year 10000, and every robot's cache would break on it."""
    message = "expires_at .* must be within the years 1 to 9999 in UTC"
    with pytest.raises(ArgumentError, match=message):
        limits.check_time(time, "expires_at")
    with pytest.raises(ArgumentError, match=message):
        item_of(NewMemory("x", expires_at=time), "cl100k_base")
    with pytest.raises(ArgumentError, match=message):
        Patch.checked(expires_at=time)
    with pytest.raises(ArgumentError, match="expires_at must be a datetime, not str"):
        Patch.checked(expires_at="2100-01-01")  # type: ignore[arg-type]


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = value
    return value


def bomb() -> object:
    """Ten lists of ten lists ..., few objects in memory, 10**20 values when they are written down."""
    value: object = "x"
    for _ in range(20):
        value = [value] * 10
    return value


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "plain", "ünï ✓ 😀", "\n\t", "\ufffd"])
def test_text_that_can_be_stored_passes_unchanged(text: str) -> None:
    assert limits.check_text(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\x00b", "name holds a NUL character at character 1, which cannot be stored: remove it"),
        (json.loads('"ab\\ud800"'), "name holds a lone surrogate at character 2: send whole characters"),
        (b"bytes", "name must be text, not bytes"),
        (None, "name must be text, not NoneType"),
    ],
)
def test_text_that_cannot_be_stored_is_refused(text: Any, message: str) -> None:
    with pytest.raises(InvalidTextError) as refused:
        limits.check_text(text, "name")
    assert str(refused.value) == message


@given(st.text(st.characters(), max_size=30))
def test_text_passes_exactly_when_postgres_takes_it(text: str) -> None:
    storable = "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
    if storable:
        assert limits.check_text(text) == text
    else:
        with pytest.raises(InvalidTextError):
            limits.check_text(text)


@pytest.mark.parametrize("content", ["", " \n\t", "\u2003"])
def test_blank_content_is_refused(content: str) -> None:
    with pytest.raises(InvalidTextError, match=r"^content must not be blank$"):
        limits.check_content(content)


def test_content_is_measured_in_bytes() -> None:
    largest = "ü" * (limits.MAX_CONTENT_BYTES // 2)
    assert limits.check_content(largest) == largest
    with pytest.raises(ContentTooLargeError) as refused:
        limits.check_content(largest + "x")
    assert str(refused.value) == "content has 262145 bytes of UTF-8; a memory may have 262144: split it"


def test_queries() -> None:
    assert limits.check_query("q" * 4096) == "q" * 4096
    with pytest.raises(InvalidTextError, match=r"^query has 4097 characters; at most 4096 are taken$"):
        limits.check_query("q" * 4097)
    with pytest.raises(InvalidTextError, match=r"^query must not be blank$"):
        limits.check_query("  ")


def test_how_many_are_asked_for() -> None:
    assert [limits.check_limit(n) for n in (1, 1000)] == [1, 1000]
    for wrong in (0, -1, 1001):
        with pytest.raises(ArgumentError, match=f"^limit must be between 1 and 1000, not {wrong}$"):
            limits.check_limit(wrong)


# -- metadata --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"a": ["ok", "\x00"]},
            "metadata.a[1] holds a NUL character at character 0, which cannot be stored: remove it",
        ),
        ({"a\x00": 1}, "metadata.a\x00 holds a NUL character at character 1, which cannot be stored: remove it"),
        ({"a": {"b": "\udfff"}}, "metadata.a.b holds a lone surrogate at character 0: send whole characters"),
        ({"\udfff": 1}, "metadata.\\udfff holds a lone surrogate at character 0: send whole characters"),
        ({"a": float("nan")}, "metadata.a holds a number that is not finite"),
        ({"a": [json.loads("1e999")]}, "metadata.a[0] holds a number that is not finite"),
        ({"a": -(10**5000)}, "metadata.a holds a number of more than 8192 bits: send it as text"),
        ({"a": {7: 1}}, "metadata.a has the key 7: keys of JSON are text"),
        ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, "metadata.a is of type datetime, which is no JSON"),
        ({"a": b"x"}, "metadata.a is of type bytes, which is no JSON"),
        ({"a": {1, 2}}, "metadata.a is of type set, which is no JSON"),
        ({"a": nested(limits.MAX_METADATA_DEPTH - 1)}, "metadata is nested deeper than 32 levels"),
        ({"a": nested(100_000)}, "metadata is nested deeper than 32 levels"),
        (cycle(), "metadata is nested deeper than 32 levels"),
        ({"a": bomb()}, "metadata holds too many values: at most 65536 bytes are taken"),
        ({"k" * 100: b"x"}, f"metadata.{'k' * 63}… is of type bytes, which is no JSON"),
        ({"a": "x" * 65536}, "metadata is 65545 bytes of JSON; at most 65536 are taken"),
        ([], "metadata must be a JSON object, not list"),
        ("x", "metadata must be a JSON object, not str"),
    ],
)
def test_metadata_that_cannot_be_stored_is_refused_by_place(value: Any, message: str) -> None:
    with pytest.raises(InvalidMetadataError) as refused:
        limits.check_metadata(value)
    assert str(refused.value) == message


def test_metadata_at_the_limits_passes() -> None:
    deep = {"a": nested(limits.MAX_METADATA_DEPTH - 2), "b": [1, 2.5, None, True, "x", {"c": {}}, (1, 2)]}
    assert limits.check_metadata(deep) == deep
    large = {"a": "x" * (limits.MAX_METADATA_BYTES - len('{"a": ""}'))}
    assert limits.check_metadata(large) == large
    many = {"a": [0] * 21_000}  # three bytes each
    assert limits.check_metadata(many) == many
    assert limits.check_metadata({"n": 2**8192 - 1})["n"] == 2**8192 - 1
    assert limits.check_metadata(None) == {}
    assert limits.check_metadata({}) == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=5), v, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(), max_size=5), json_values, max_size=4))
def test_what_passes_is_json_that_comes_back_the_same(value: dict[str, Any]) -> None:
    try:
        checked = limits.check_metadata(value)
    except InvalidMetadataError:
        written = json.dumps(value)
        assert "\\u0000" in written or "\\ud" in written or "NaN" in written or "Infinity" in written
    else:
        assert json.loads(json.dumps(checked, allow_nan=False, ensure_ascii=False).encode().decode()) == value


def test_long_keys_cost_no_memory() -> None:
    """Each of the values would have had a path of 60,000 characters: 1.2 GB."""
    value = {"k" * 60_000: [0] * 20_000}
    tracemalloc.start()
    try:
        limits.check_json(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


# -- scope -----------------------------------------------------------------------------------------------------------


def test_scopes_are_put_in_order() -> None:
    scope = {"user": "u1", "a_b.c-9": "x" * 256, "k" * 63: "\u00fc"}
    assert list(limits.check_scope(scope).items()) == sorted(scope.items())
    assert limits.check_scope(None) == {}
    assert len(limits.check_scope({f"k{n}": "v" for n in range(8)})) == 8


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"User": "u"}, "scope's key 'User' must begin with a-z and have at most 63 of a-z, 0-9, '_', '.' and '-'"),
        ({"": "u"}, "scope's key '' must begin"),
        ({"9a": "u"}, "scope's key '9a' must begin"),
        ({"k" * 64: "u"}, f"scope's key '{'k' * 64}' must begin"),
        ({"a\n": "u"}, "scope's key 'a\\n' must begin"),
        ({7: "u"}, "scope's key 7 must begin"),
        ({"user": ""}, "scope's 'user' must have 1 to 256 characters, not 0"),
        ({"user": "u" * 257}, "scope's 'user' must have 1 to 256 characters, not 257"),
        ({"user": "\x00"}, "scope's 'user' holds a NUL character at character 0"),
        ({"user": "\ud800"}, "scope's 'user' holds a lone surrogate at character 0"),
        ({"user": 7}, "scope's 'user' must be text, not int"),
        ({f"k{n}": "v" for n in range(9)}, "scope has 9 keys; at most 8 are taken"),
        ("user=u1", "scope must be a mapping such as {'user': 'u1'}, not str"),
    ],
)
def test_what_is_no_scope_is_refused_by_key(scope: Any, message: str) -> None:
    with pytest.raises(InvalidScopeError) as refused:
        limits.check_scope(scope)
    assert str(refused.value).startswith(message)


# -- all of it -------------------------------------------------------------------------------------------------------


def test_a_draft_is_checked_and_put_in_order() -> None:
    draft = Draft.checked(" text ", tags=[" b : c", "a", "b:c"], metadata={"n": 1}, scope={"user": "u", "chat": "c"})
    assert draft == Draft(" text ", ("b:c", "a"), {"n": 1}, {"chat": "c", "user": "u"})
    assert Draft.checked("x") == Draft("x", (), {}, {})


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"content": ""}, InvalidTextError),
        ({"content": "x" * 262145}, ContentTooLargeError),
        ({"content": "x", "tags": ["a:"]}, InvalidTagError),
        ({"content": "x", "metadata": {"a": float("inf")}}, InvalidMetadataError),
        ({"content": "x", "scope": {"U": "x"}}, InvalidScopeError),
    ],
)
def test_a_wrong_draft_is_a_wrong_argument(wrong: dict[str, Any], error: type[ArgumentError]) -> None:
    with pytest.raises(error) as refused:
        Draft.checked(**wrong)
    assert isinstance(refused.value, ArgumentError)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"key": ""}, "key must have 1 to 255 characters, not 0"),
        ({"key": "k" * 256}, "key must have 1 to 255 characters, not 256"),
        ({"key": "a\0"}, "key holds a NUL character at character 1, which cannot be stored: remove it"),
        ({"key": "a\ud800"}, "key holds a lone surrogate at character 1: send whole characters"),
        ({"key": 7}, "key must be text, not int"),
        ({"originator": "\0"}, "originator holds a NUL character at character 0, which cannot be stored: remove it"),
        ({"originator": "\udfff"}, "originator holds a lone surrogate at character 0: send whole characters"),
        ({"originator": 7}, "originator must be text, not int"),
    ],
)
def test_keys_and_originators_that_cannot_be_stored_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTextError) as refused:
        item_of(NewMemory("x", **wrong), "cl100k_base")
    assert str(refused.value) == message


def test_any_key_of_up_to_255_characters_is_sent() -> None:
    key = "ü \n" * 85
    assert json.loads(item_of(NewMemory("x", key=key), "cl100k_base").json)["key"] == key
