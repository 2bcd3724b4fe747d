"""What is done about the annotation that asks for a switchover."""

from typing import Any

import pytest
from operator_values import absent, memory, observation, robot

from robotgroups.models import GroupStatus, Role
from robotgroups_operator.status import compute_status
from robotgroups_operator.switchover import Action, Step, handled_switchover, next_step, requested_switchover

FIRST, SECOND = robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1)
PAIR = memory(FIRST, SECOND)
DECLARED = {"first", "second", "third"}
COLD = "second is not warm: it has not caught up with the group, or is not running"


def step(wanted: str | None, handled: str | None = None, status: GroupStatus = PAIR) -> Step:
    return next_step(wanted, handled, status, DECLARED)


def test_a_warm_standby_is_made_active() -> None:
    assert step("second") == Step(Action.PERFORM)
    assert step("second", "first") == Step(Action.PERFORM)


def test_who_is_active_is_done_with() -> None:
    assert step("first") == Step(Action.DONE, "first is active already")


def test_what_was_done_is_not_enforced_again() -> None:
    """A failover has moved the role away from second."""
    assert step("second", "second") == Step(Action.NOTHING)


def test_without_the_annotation_there_is_nothing_to_do_but_to_forget() -> None:
    assert step(None) == Step(Action.NOTHING)
    assert step(None, "second") == Step(Action.FORGET)


def test_an_unknown_robot_is_refused_with_the_names_that_there_are() -> None:
    words = "the group has no robot nobody: name one of its robots (first, second)"
    assert step("nobody") == Step(Action.REFUSE, words)
    assert step("nobody", "nobody") == Step(Action.NOTHING)


@pytest.mark.parametrize(
    ("wanted", "status", "why"),
    [
        ("third", PAIR, "third has not joined yet"),
        ("second", memory(FIRST, robot("second", Role.PASSIVE, warm=False)), COLD),
        ("second", memory(FIRST, robot("second", Role.PASSIVE, live=False)), COLD),
        ("second", memory(FIRST, absent("second", Role.PASSIVE)), COLD),
        ("second", memory(FIRST, absent("second", Role.FAILED)), "second has failed and has not come back"),
        ("second", memory(absent("first", Role.FAILED), SECOND), "no robot is active that could hand over"),
        ("second", memory(FIRST, SECOND, suspended=True), "the group is suspended"),
    ],
)
def test_what_may_yet_be_possible_waits(wanted: str, status: GroupStatus, why: str) -> None:
    assert step(wanted, status=status) == Step(Action.WAIT, why)


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({}, None),
        ({"annotations": None}, None),
        ({"annotations": {"robotgroups.dev/switchover": ""}}, None),
        ({"annotations": {"robotgroups.dev/switchover": " second\n"}}, "second"),
        ({"annotations": {"robotgroups.dev/switchover": "x" * 300}}, "x" * 64),
    ],
)
def test_the_annotation_is_read(metadata: dict[str, Any], wanted: str | None) -> None:
    assert requested_switchover({"metadata": metadata}) == wanted


def test_a_status_that_is_written_anew_keeps_what_is_done_with() -> None:
    for seen in (observation(), observation(memory=None)):
        assert "observedSwitchover" not in compute_status(seen)
    for known in ({"memory": None}, {}):
        status = compute_status(observation(previous={"observedSwitchover": "second"}, **known))
        assert status["observedSwitchover"] == "second"
        assert handled_switchover({"status": status}) == "second"
