"""Which labels pods get."""

from typing import Any

from operator_values import absent, memory, pod, robot

from robotgroups.models import GroupStatus, Role
from robotgroups_operator.deaths import Evidence, Suspect
from robotgroups_operator.labels import plan_labels
from robotgroups_operator.pods import RobotPod

FIRST = robot("first", Role.ACTIVE)


def plan(status: GroupStatus, *pods: RobotPod, suspects: tuple[str, ...] = ()) -> list[dict[str, str]]:
    dead = [Suspect(name, None, Evidence.POD_GONE, "") for name in suspects]
    return [patch.labels for patch in plan_labels(status, {"first": pods}, dead)]


def labelled(**changes: Any) -> RobotPod:
    return pod("first", **{"role_label": "active"} | changes)


def test_nothing_when_they_are_right() -> None:
    assert plan(memory(FIRST), labelled()) == []


def test_the_role_is_written() -> None:
    assert plan(memory(FIRST), labelled(role_label=None)) == [{"robotgroups.dev/role": "active"}]
    assert plan(memory(FIRST), labelled(role_label="passive")) == [{"robotgroups.dev/role": "active"}]


def test_a_suspect_leaves_the_service_at_once() -> None:
    assert plan(memory(FIRST), labelled(), suspects=("first",)) == [{"robotgroups.dev/serving": "false"}]
    assert plan(memory(FIRST), labelled(serving_label="false"), suspects=("first",)) == []


def test_a_failed_robot_leaves_the_service() -> None:
    status = memory(absent("first", Role.FAILED))
    assert plan(status, labelled()) == [{"robotgroups.dev/role": "failed", "robotgroups.dev/serving": "false"}]


def test_it_comes_back_when_it_is_live_and_ready() -> None:
    out = {"serving_label": "false"}
    assert plan(memory(FIRST), labelled(**out)) == [{"robotgroups.dev/serving": "true"}]
    assert plan(memory(FIRST), labelled(ready=False, **out)) == []
    assert plan(memory(FIRST), labelled(deleting=True, **out)) == []
    assert plan(memory(robot("first", Role.ACTIVE, live=False)), labelled(**out)) == []


def test_a_label_that_somebody_removed_comes_back() -> None:
    assert plan(memory(FIRST), labelled(serving_label=None)) == [{"robotgroups.dev/serving": "true"}]


def test_every_pod_of_a_robot_is_labelled() -> None:
    pods = (labelled(role_label=None), labelled(name="old", role_label=None, serving_label="false", ready=False))
    assert len(plan(memory(FIRST), *pods)) == 2


def test_a_robot_that_left_serves_no_more() -> None:
    assert plan(memory(robot("other", Role.ACTIVE)), labelled()) == [{"robotgroups.dev/serving": "false"}]
    assert plan(memory(robot("other", Role.ACTIVE)), labelled(serving_label="false")) == []
