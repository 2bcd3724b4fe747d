import json

import pytest

from robotgroups_robot import limits


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("text", ["", "plain", "ünï ✓ 😀", "\n\t", "\ufffd"])
def test_text_that_can_be_stored_passes_unchanged(text: str) -> None:
    assert limits.check_text(text) == text


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL character"):
        limits.check_text("a\x00b")


def test_a_lone_surrogate_is_refused_and_found() -> None:
    with pytest.raises(ValueError, match="lone surrogate at character 2"):
        limits.check_text(json.loads('"ab\\ud800"'))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": ["\x00"]}, "NUL"),
        ({"a\x00": 1}, "NUL"),
        ({"a": {"b": "\udfff"}}, "surrogate"),
        ({"a": float("nan")}, "not finite"),
        ({"a": [json.loads("1e999")]}, "not finite"),
        (nested(limits.MAX_METADATA_DEPTH), "deeper"),
        (nested(100_000), "deeper"),
    ],
    ids=["value", "key", "surrogate", "nan", "infinite", "deep", "very deep"],
)
def test_json_that_cannot_be_stored_is_refused(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limits.check_json(value)


def test_json_that_can_be_stored_passes() -> None:
    limits.check_json({"a": [1, 2.5, None, True, "x", {"b": {}}], "deep": nested(limits.MAX_METADATA_DEPTH - 2)})
