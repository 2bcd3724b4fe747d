"""What is evidence of a death, and what is not."""

from typing import Any

import pytest
from operator_values import absent, incarnation, memory, pod, robot

from robotgroups.detection import Expired
from robotgroups.models import Role
from robotgroups_operator.deaths import Evidence, Host, find_suspects, lease_suspect, remember_hosts
from robotgroups_operator.pods import ContainerState, RobotPod

ENDED: dict[str, Any] = {"state": ContainerState.TERMINATED, "problem": "OOMKilled", "problem_message": "exit code 137"}
FIRST = robot("first", Role.ACTIVE)
SECOND = robot("second", Role.PASSIVE, ordinal=1)
HOST = Host(incarnation(1), "pod-first", "containerd://first-1")


def suspected(
    *pods: RobotPod, hosts: dict[str, Host] | None = None, first: object = FIRST, **options: object
) -> list[object]:
    status = memory(first, SECOND)  # type: ignore[arg-type]
    by_robot = {"first": pods, "second": (pod("second", 1),)}
    found = find_suspects(status, by_robot, hosts if hosts is not None else {"first": HOST}, **options)  # type: ignore[arg-type]
    return [(suspect.robot, suspect.evidence, suspect.reason) for suspect in found]


def test_nobody_when_all_run() -> None:
    assert suspected(pod("first")) == []


@pytest.mark.parametrize("hosts", [{}, {"first": HOST}], ids=["not-tied", "tied"])
def test_an_ended_container(hosts: dict[str, Host]) -> None:
    reason = "its container ended (OOMKilled, exit code 137)"
    assert suspected(pod("first", **ENDED), hosts=hosts) == [("first", Evidence.CONTAINER_ENDED, reason)]


@pytest.mark.parametrize("hosts", [{}, {"first": HOST}], ids=["not-tied", "tied"])
def test_a_container_in_a_crash_loop(hosts: dict[str, Host]) -> None:
    looping = pod("first", state=ContainerState.WAITING, problem="CrashLoopBackOff")
    reason = "its container does not run (CrashLoopBackOff)"
    assert suspected(looping, hosts=hosts) == [("first", Evidence.CONTAINER_ENDED, reason)]


@pytest.mark.parametrize("hosts", [{}, {"first": HOST}], ids=["not-tied", "tied"])
def test_a_pod_that_is_gone(hosts: dict[str, Host]) -> None:
    assert suspected(hosts=hosts) == [("first", Evidence.POD_GONE, "its pod is gone")]


def test_a_pod_that_was_replaced() -> None:
    new = pod("first", 8, uid="other", container_id="containerd://other")
    assert suspected(new) == [("first", Evidence.POD_GONE, "its pod is gone")]
    assert suspected(new, hosts={}) == [("first", Evidence.POD_GONE, "its pod is gone")]


def test_a_container_that_was_restarted_unseen() -> None:
    again = pod("first", container_id="containerd://first-2")
    assert suspected(again) == [("first", Evidence.CONTAINER_REPLACED, "its container was restarted")]
    assert suspected(again, hosts={}) == []  # nobody saw the first one: the heartbeat will tell


def test_an_evicted_pod() -> None:
    evicted = pod(
        "first", phase="Failed", problem="Evicted", problem_message="low on memory", state=ContainerState.ABSENT
    )
    assert suspected(evicted) == [("first", Evidence.CONTAINER_ENDED, "its container ended (Evicted, low on memory)")]


def test_a_pod_that_is_being_deleted_is_none() -> None:
    assert suspected(pod("first", deleting=True)) == []


def test_a_deleted_pod_whose_robot_did_not_withdraw_is_one() -> None:
    assert suspected(pod("first", deleting=True, **ENDED))[0][1] is Evidence.CONTAINER_ENDED  # type: ignore[index]


def test_a_pod_without_an_address_yet_may_be_the_host() -> None:
    assert suspected(pod("first", ip="", state=ContainerState.WAITING, phase="Pending"), hosts={}) == []


def test_a_failed_robot_is_not_declared_again() -> None:
    assert suspected(first=absent("first", Role.FAILED)) == []


def test_nobody_in_a_suspended_group() -> None:
    assert find_suspects(memory(FIRST, SECOND, suspended=True), {}, {}) == []


def test_passive_robots_die_too() -> None:
    found = find_suspects(memory(FIRST, SECOND), {"first": [pod("first")]}, {})
    assert [(suspect.robot, suspect.evidence) for suspect in found] == [("second", Evidence.POD_GONE)]


STUCK: dict[str, Any] = {
    "state": ContainerState.WAITING,
    "problem": "ImagePullBackOff",
    "ready": False,
    "ip": "",
    "phase": "Pending",
}


class TestARobotThatNeverCame:
    def test_is_replaced_when_it_cannot_start(self) -> None:
        found = suspected(pod("first", **STUCK), first=absent("first", Role.ACTIVE))
        assert found == [("first", Evidence.CANNOT_START, "its pod cannot start (ImagePullBackOff)")]

    def test_keeps_its_place_while_nobody_can_take_it(self) -> None:
        status = memory(absent("first", Role.ACTIVE), absent("second", Role.PASSIVE, ordinal=1))
        assert find_suspects(status, {"first": [pod("first", **STUCK)]}, {}, frozenset({"first"})) == []

    def test_has_time_to_start(self) -> None:
        starting = pod("first", state=ContainerState.WAITING, ready=False, phase="Pending")
        assert suspected(starting, first=absent("first", Role.ACTIVE)) == []

    def test_is_replaced_when_it_is_away_for_too_long(self) -> None:
        found = suspected(pod("first"), first=absent("first", Role.ACTIVE), absent=frozenset({"first"}))
        assert found == [("first", Evidence.ABSENT, "it has not been there for too long")]

    def test_matters_only_when_it_is_active(self) -> None:
        status = memory(FIRST, absent("second", Role.PASSIVE, ordinal=1))
        assert find_suspects(status, {"first": [pod("first")]}, {"first": HOST}, frozenset({"second"})) == []


class TestHosts:
    def test_are_learnt_from_live_robots(self) -> None:
        assert remember_hosts({}, memory(FIRST), {"first": [pod("first")]}) == {"first": HOST}

    def test_are_not_learnt_from_the_dead(self) -> None:
        dead = robot("first", Role.ACTIVE, live=False)
        assert remember_hosts({}, memory(dead), {"first": [pod("first")]}) == {}

    def test_are_not_guessed(self) -> None:
        assert remember_hosts({}, memory(FIRST), {"first": [pod("first", 5)]}) == {}
        assert remember_hosts({}, memory(FIRST), {"first": [pod("first"), pod("first", uid="twin")]}) == {}

    def test_stay_while_the_incarnation_does(self) -> None:
        restarted = {"first": [pod("first", container_id="containerd://first-2")]}
        assert remember_hosts({"first": HOST}, memory(FIRST), restarted) == {"first": HOST}
        newcomer = robot("first", Role.ACTIVE, incarnation=incarnation(9))
        assert remember_hosts({"first": HOST}, memory(newcomer), restarted) == {
            "first": Host(incarnation(9), "pod-first", "containerd://first-2")
        }


def test_a_lease_that_ended_names_the_counter() -> None:
    suspect = lease_suspect(Expired("first", incarnation(1), 100, 3.21))
    assert (suspect.robot, suspect.incarnation, suspect.observed_heartbeat) == ("first", incarnation(1), 100)
    assert (suspect.evidence, suspect.reason) == (Evidence.LEASE_EXPIRED, "its heartbeat stood still for 3.2 s")
