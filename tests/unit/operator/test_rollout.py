"""A change of the template restarts one robot at a time."""

from typing import Any

from operator_values import absent, group, memory, pod, robot

from robotgroups.models import GroupStatus, Role
from robotgroups_operator.children import Apply, desired_children, plan_children
from robotgroups_operator.names import Kind
from robotgroups_operator.rollout import admit
from robotgroups_operator.view import robot_views

SPEC: dict[str, Any] = {"active": [{"name": "first"}], "passive": [{"name": "second"}]}
PODS = {"first": [pod("first")], "second": [pod("second", 1)]}
WELL = memory(robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1))
DONE = {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}


def found(image: dict[str, str], **status: int) -> dict[Kind, tuple[dict[str, Any], ...]]:
    """The children as they were made with another image for each robot."""
    first, second = ({"name": name, "template": {"image": image[name]}} for name in ("first", "second"))
    return made({"active": [first], "passive": [second]}, **status)


def made(spec: dict[str, Any], **status: int) -> dict[Kind, tuple[dict[str, Any], ...]]:
    """The children as they were made for a spec."""
    children: dict[Kind, tuple[dict[str, Any], ...]] = {}
    for kind, manifest in desired_children(group(spec)):
        body = manifest | {"metadata": manifest["metadata"] | {"uid": "u", "generation": 1}, "status": DONE | status}
        children[kind] = (*children.get(kind, ()), body)
    return children


def restarted(known: GroupStatus | None, children: dict[Kind, tuple[dict[str, Any], ...]]) -> tuple[list[str], int]:
    """Robots whose Deployments are written now, and how many are put off."""
    changed = group(SPEC | {"template": {"image": "new"}})
    steps = plan_children(changed, children, may_stop_robots=True)
    views = robot_views(changed.spec, known, PODS)
    now, put_off = admit(steps, views, children[Kind.DEPLOYMENT], roles_known=known is not None)
    return [step.manifest["metadata"]["name"] for step in now if isinstance(step, Apply)], len(put_off)


def test_the_passive_one_first() -> None:
    assert restarted(WELL, found({"first": "old", "second": "old"})) == (["team-second"], 1)


def test_the_active_one_when_the_passive_one_is_done() -> None:
    assert restarted(WELL, found({"first": "old", "second": "new"})) == (["team-first"], 0)


def test_not_while_a_deployment_rolls_out() -> None:
    for behind in ({"observedGeneration": 0}, {"updatedReplicas": 0}, {"availableReplicas": 0}):
        assert restarted(WELL, found({"first": "old", "second": "new"}, **behind)) == ([], 1)


def test_not_while_another_robot_is_not_well() -> None:
    """A broken image stops at the first robot that got it."""
    known = memory(robot("first", Role.ACTIVE), absent("second", Role.PASSIVE, ordinal=1))
    assert restarted(known, found({"first": "old", "second": "new"})) == ([], 1)


def test_robots_that_are_not_well_at_once() -> None:
    known = memory(robot("first", Role.ACTIVE), absent("second", Role.PASSIVE, ordinal=1))
    assert restarted(known, found({"first": "old", "second": "old"})) == (["team-second"], 1)
    nobody = memory(absent("first", Role.FAILED), absent("second", Role.PASSIVE, ordinal=1))
    assert restarted(nobody, found({"first": "old", "second": "old"})) == (["team-first", "team-second"], 0)


def test_nobody_while_postgres_is_away() -> None:
    assert restarted(None, found({"first": "old", "second": "old"})) == ([], 2)


def test_what_is_wanted_no_more_restarts_one_by_one_too() -> None:
    """An entry that the template has lost differs in nothing that is wanted."""
    children = made(SPEC | {"template": {"image": "new", "env": [{"name": "A", "value": "1"}]}})
    assert restarted(WELL, children) == (["team-second"], 1)
    assert restarted(None, children) == ([], 2)


def test_a_change_that_restarts_nobody_does_not_wait() -> None:
    children = found({"first": "registry.example/robot:1", "second": "registry.example/robot:1"}, availableReplicas=0)
    for body in children[Kind.DEPLOYMENT]:
        body["spec"]["replicas"] = 0
    steps = plan_children(group(SPEC), children, may_stop_robots=True)
    views = robot_views(group(SPEC).spec, WELL, PODS)
    now, put_off = admit(steps, views, children[Kind.DEPLOYMENT], roles_known=True)
    assert (len(now), put_off) == (2, [])
