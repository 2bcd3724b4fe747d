"""Which children are made, put back, removed."""

from typing import Any

from operator_values import group

from robotgroups_operator.children import Apply, Delete, Ownership, desired_children, ownership, plan_children
from robotgroups_operator.names import Kind

GROUP = group({"active": [{"name": "first"}], "passive": [{"name": "second"}]})


def as_found(spec: dict[str, Any] | None = None) -> dict[Kind, tuple[dict[str, Any], ...]]:
    """All children of a group as they are on the API server."""
    found: dict[Kind, tuple[dict[str, Any], ...]] = {}
    for kind, manifest in desired_children(group(spec) if spec else GROUP):
        body = manifest | {"metadata": manifest["metadata"] | {"uid": manifest["metadata"]["name"], "generation": 1}}
        found[kind] = (*found.get(kind, ()), body)
    return found


def names(steps: list[Any]) -> list[tuple[str, str, str]]:
    return [
        ("apply", step.manifest["metadata"]["name"], step.reason)
        if isinstance(step, Apply)
        else ("delete", step.found["metadata"]["name"], step.reason)
        for step in steps
    ]


def test_makes_what_is_missing() -> None:
    assert names(plan_children(GROUP, {}, may_stop_robots=False)) == [
        ("apply", "team", "missing"),
        ("apply", "team", "missing"),
        ("apply", "team-first", "missing"),
        ("apply", "team-second", "missing"),
    ]


def test_does_nothing_when_all_is_there() -> None:
    assert plan_children(GROUP, as_found(), may_stop_robots=True) == []


def test_puts_back_what_differs() -> None:
    found = as_found()
    first = found[Kind.DEPLOYMENT][0]
    first["spec"] = first["spec"] | {"replicas": 3}
    assert names(plan_children(GROUP, found, may_stop_robots=True)) == [
        ("apply", "team-first", "differs in spec.replicas")
    ]


def test_removes_a_robot_only_once_postgres_knows() -> None:
    found = as_found({"active": [{"name": "first"}, {"name": "gone"}], "passive": [{"name": "second"}]})
    assert plan_children(GROUP, found, may_stop_robots=False) == []
    steps = plan_children(GROUP, found, may_stop_robots=True)
    assert names(steps) == [("delete", "team-gone", "the group has no robot gone")]
    assert isinstance(steps[0], Delete)


def test_suspends_only_once_postgres_knows() -> None:
    suspended = group({"active": [{"name": "first"}], "passive": [{"name": "second"}], "suspend": True})
    assert plan_children(suspended, as_found(), may_stop_robots=False) == []
    assert names(plan_children(suspended, as_found(), may_stop_robots=True)) == [
        ("apply", "team-first", "differs in spec.replicas"),
        ("apply", "team-second", "differs in spec.replicas"),
    ]


def test_removes_nothing_of_others() -> None:
    found = as_found()
    stranger = found[Kind.SERVICE][0]
    stranger = stranger | {"metadata": stranger["metadata"] | {"name": "other", "ownerReferences": []}}
    found[Kind.SERVICE] += (stranger,)
    assert plan_children(GROUP, found, may_stop_robots=True) == []


def test_knows_whose_an_object_is() -> None:
    [reference] = desired_children(GROUP)[0][1]["metadata"]["ownerReferences"]
    cases = {
        Ownership.OURS: [reference],
        Ownership.PREDECESSOR: [reference | {"uid": "older"}],
        Ownership.STRANGER: [reference | {"uid": "x", "name": "else"}],
    }
    for expected, references in cases.items():
        assert ownership({"metadata": {"ownerReferences": references}}, GROUP) is expected
    assert ownership({"metadata": {}}, GROUP) is Ownership.STRANGER
    assert (
        ownership({"metadata": {"ownerReferences": [reference | {"controller": False}]}}, GROUP) is Ownership.STRANGER
    )
