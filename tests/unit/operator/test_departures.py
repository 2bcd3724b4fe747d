"""Whose role is handed over because a pod or its node is going."""

from typing import Any

import pytest
from operator_values import incarnation, memory, pod, robot

from robotgroups.models import FailoverMode, GroupStatus, Role
from robotgroups_operator.departures import Departure, Departures, find_departures

PAIR = memory(robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1))
DELETED: dict[str, Any] = {"deleting": True, "going": "its pod is being deleted"}
NODE_LOST: dict[str, Any] = {"going": "its node is not ready"}
FIRST = [Departure("first", incarnation(1), "pod-first", "its pod is being deleted")]


def find(
    first: dict[str, Any],
    second: dict[str, Any],
    status: GroupStatus = PAIR,
    mode: FailoverMode = FailoverMode.AUTOMATIC,
) -> list[str]:
    pods = {"first": [pod("first", **first)], "second": [pod("second", 1, **second)]}
    return [going.reason for going in find_departures(status, pods, mode)]


def test_nobody_goes_while_pods_stay() -> None:
    assert find({}, {}) == []


def test_an_active_robot_whose_pod_is_deleted_hands_over() -> None:
    pods = {"first": [pod("first", **DELETED)], "second": [pod("second", 1)]}
    assert find_departures(PAIR, pods, FailoverMode.AUTOMATIC) == FIRST


@pytest.mark.parametrize(("mode", "found"), [(FailoverMode.AUTOMATIC, 1), (FailoverMode.MANUAL, 0)])
def test_a_lost_node_moves_a_role_unless_a_person_is_to_do_that(mode: FailoverMode, found: int) -> None:
    assert len(find(NODE_LOST, {}, mode=mode)) == found


def test_a_deletion_is_what_a_person_asked_for() -> None:
    assert find(DELETED, {}, mode=FailoverMode.MANUAL) == ["its pod is being deleted"]


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (DELETED, DELETED, PAIR),
        (DELETED, {}, memory(robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1, warm=False))),
        (DELETED, {}, memory(robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1, live=False))),
        (DELETED, {}, memory(robot("first", Role.ACTIVE, live=False), robot("second", Role.PASSIVE, ordinal=1))),
        (DELETED, {}, memory(*PAIR.robots, suspended=True)),
        ({}, DELETED, PAIR),
        (DELETED | {"ip": "10.0.0.9"}, {}, PAIR),
    ],
    ids=[
        "the standby goes, too", "a cold standby", "a dead standby", "a dead robot is no departure", "suspended",
        "only the passive goes", "another pod than the robot's",
    ],
)  # fmt: skip
def test_nothing_is_handed_over(first: dict[str, Any], second: dict[str, Any], status: GroupStatus) -> None:
    assert find(first, second, status) == []


def test_it_is_done_once_for_a_pod() -> None:
    departures = Departures()
    pods = {"first": [pod("first", **DELETED)], "second": [pod("second", 1)]}
    assert departures.due(PAIR, pods, FailoverMode.AUTOMATIC) == FIRST
    departures._done.add((incarnation(1), "pod-first"))
    assert departures.due(PAIR, pods, FailoverMode.AUTOMATIC) == []
    again = {"first": [pod("first", uid="another", **DELETED)], "second": [pod("second", 1)]}
    assert len(departures.due(PAIR, again, FailoverMode.AUTOMATIC)) == 1
