"""What the failure detector remembers between two looks."""

from itertools import pairwise
from typing import Any

from operator_values import absent, memory, pod, robot

from robotgroups.models import GroupStatus, Role
from robotgroups_operator.deaths import Evidence
from robotgroups_operator.failures import FIRST_RETRY_SECONDS, FailureDetector
from robotgroups_operator.pods import ContainerState

SECOND = robot("second", Role.PASSIVE, ordinal=1)
PODS = {"first": [pod("first")], "second": [pod("second", 1)]}


def beating(count: int, **changes: Any) -> GroupStatus:
    return memory(
        robot("first", Role.ACTIVE, heartbeat=100 + count, **changes),
        robot("second", Role.PASSIVE, ordinal=1, heartbeat=100 + count),
    )


def evidence(
    detector: FailureDetector, status: GroupStatus, now: float, pods: Any = PODS
) -> list[tuple[str, Evidence]]:
    return [(suspect.robot, suspect.evidence) for suspect in detector.look(status, pods, now)]


def test_a_standing_heartbeat_is_suspected_after_a_lease() -> None:
    detector = FailureDetector(30)
    for tick in range(7):
        status = memory(robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1, heartbeat=100 + tick))
        found = evidence(detector, status, tick * 0.5)
        assert found == ([("first", Evidence.LEASE_EXPIRED)] if tick == 6 else [])
    assert detector.suspects[0].observed_heartbeat == 100


def test_what_was_not_watched_did_not_stand_still() -> None:
    detector = FailureDetector(30)
    assert evidence(detector, beating(0), 0.0) == []
    assert evidence(detector, beating(0), 5.0) == []  # the operator itself was stopped for 5 s
    assert evidence(detector, beating(0), 5.5) == []


def test_the_absence_of_postgres_is_nobodys_silence() -> None:
    detector = FailureDetector(30)
    for tick in range(6):
        evidence(detector, beating(0), tick * 0.5)
    detector.interrupted()
    assert evidence(detector, beating(0), 3.0) == []


def test_an_active_robot_that_stays_away_is_suspected_in_time() -> None:
    detector = FailureDetector(30)
    for now in (0.0, 29.0):
        status = memory(absent("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1, heartbeat=int(now)))
        assert evidence(detector, status, now) == []
    status = memory(absent("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1, heartbeat=30))
    assert evidence(detector, status, 30.0) == [("first", Evidence.ABSENT)]


def test_refused_attempts_wait_longer_and_longer() -> None:
    detector = FailureDetector(30)
    ended = {"first": [pod("first", state=ContainerState.TERMINATED)], "second": [pod("second", 1)]}
    now, tried = 0.0, []
    while now < 2.0:
        suspects = detector.look(beating(0), ended, now)
        if detector.due(beating(0), suspects, now):
            tried.append(round(now, 2))
        now += 0.01
    assert tried[0] == 0.0
    gaps = [b - a for a, b in pairwise(tried)]
    assert gaps == sorted(gaps)
    assert gaps[0] >= FIRST_RETRY_SECONDS


def test_a_robot_that_beats_on_refutes_what_was_held_of_its_container() -> None:
    detector = FailureDetector(30)
    assert evidence(detector, beating(0), 0.0) == []
    moved = {"first": [pod("first", container_id="containerd://first-2")], "second": [pod("second", 1)]}
    suspects = detector.look(beating(1), moved, 0.1)
    assert [suspect.evidence for suspect in suspects] == [Evidence.CONTAINER_REPLACED]
    detector.due(beating(1), suspects, 0.1)
    assert evidence(detector, beating(2), 0.2, moved) == [("first", Evidence.CONTAINER_REPLACED)]
    assert evidence(detector, beating(3), 0.3, moved) == []


def test_a_suspended_group_has_no_suspects() -> None:
    detector = FailureDetector(30)
    for tick in range(10):
        assert evidence(detector, memory(robot("first", Role.ACTIVE), suspended=True), tick * 0.5) == []
