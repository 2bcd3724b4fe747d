"""What counts as drift."""

from typing import Any

import pytest

from robotgroups_operator.drift import differences


@pytest.mark.parametrize(
    ("desired", "found", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": 1}}, {"a": {}}, ["a.b"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": {}}, {}, []),
        ({"a": []}, {}, []),
        ({"a": ""}, {}, []),
        ({"a": False}, {}, ["a"]),
        ({"a": 0}, {}, ["a"]),
        ({"l": ["x"]}, {"l": ["x", "y"]}, ["l"]),
        ({"l": ["x", "y"]}, {"l": ["y", "x"]}, ["l[0]", "l[1]"]),
        ({"l": "xy"}, {"l": ["x", "y"]}, ["l"]),
        ({"l": ["x"]}, {"l": "x"}, ["l"]),
    ],
)
def test_only_desired_fields_count(desired: Any, found: Any, expected: list[str]) -> None:
    assert differences(desired, found) == expected


def test_entries_with_names_are_told_apart_by_name() -> None:
    desired = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    found = {"env": [{"name": "B", "value": "2"}, {"name": "MORE", "value": "x"}, {"name": "A", "value": "1"}]}
    assert differences(desired, found) == []
    found["env"][2]["value"] = "9"
    assert differences(desired, found) == ["env[A].value"]
    del found["env"][0]
    assert differences(desired, found) == ["env[A].value", "env[B]"]


@pytest.mark.parametrize(
    ("desired", "found", "equal"), [("1000m", "1", True), ("1Gi", "1024Mi", True), ("1", 1, True), ("1", "2", False)]
)
def test_quantities_are_compared_by_value(desired: str, found: object, equal: bool) -> None:
    drift = differences({"resources": {"limits": {"cpu": desired}}}, {"resources": {"limits": {"cpu": found}}})
    assert drift == ([] if equal else ["resources.limits.cpu"])


def test_elsewhere_they_are_text() -> None:
    assert differences({"value": "1000m"}, {"value": "1"}) == ["value"]
