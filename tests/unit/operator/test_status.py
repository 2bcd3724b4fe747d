"""Phase, conditions and the whole status, from one observation."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from operator_values import NOW, absent, memory, observation, pod, robot

from robotgroups.models import Failover, FailoverMode, Role
from robotgroups_operator.conditions import CONDITIONS, group_phase
from robotgroups_operator.deaths import Evidence, Suspect
from robotgroups_operator.observation import Observation, Problem, RobotView, choose_pod
from robotgroups_operator.pods import ContainerState
from robotgroups_operator.status import compute_status
from robotgroups_operator.status_types import Phase, SyncStats, merge_patch

AWAY = Problem("MemoryUnavailable", "Postgres is not available: connection refused")
STUCK = pod(
    "second",
    1,
    state=ContainerState.WAITING,
    ready=False,
    phase="Pending",
    problem="ImagePullBackOff",
    problem_message="no such image",
)


def conditions(seen: Observation) -> dict[str, tuple[str, str]]:
    return {
        str(kind): (str(found.status), found.reason)
        for kind, found in ((k, judge(seen)) for k, judge in CONDITIONS.items())
    }


def message(seen: Observation, kind: str) -> str:
    messages: dict[str, str] = {c["type"]: c["message"] for c in compute_status(seen)["conditions"]}
    return messages[kind]


def with_robots(*pairs: Any, **changes: Any) -> Observation:
    """An observation of these (RobotStatus or None, RobotPod or None), declared active, then passive."""
    names = ("first", "second", "third")
    roles = (Role.ACTIVE, Role.PASSIVE, Role.PASSIVE)
    views = tuple(
        RobotView(name, role, known, found) for name, role, (known, found) in zip(names, roles, pairs, strict=False)
    )
    return observation(robots=views, memory=memory(*(known for known, _ in pairs if known is not None)), **changes)


FIRST, SECOND = robot("first", Role.ACTIVE), robot("second", Role.PASSIVE, ordinal=1)
WELL = ((FIRST, pod("first")), (SECOND, pod("second", 1)))
FAILED_OVER = (
    (
        absent("first", Role.FAILED),
        pod("first", state=ContainerState.TERMINATED, ready=False, problem="Error", problem_message="exit code 137"),
    ),
    (robot("second", Role.ACTIVE, ordinal=1), pod("second", 1)),
)


@pytest.mark.parametrize(
    ("seen", "phase"),
    [
        (with_robots(*WELL), Phase.READY),
        (with_robots(*WELL, deleting=True), Phase.TERMINATING),
        (with_robots(*FAILED_OVER), Phase.DEGRADED),
        (with_robots(*WELL, pending=("waiting",)), Phase.DEGRADED),
        (with_robots(WELL[0], (SECOND, STUCK)), Phase.DEGRADED),
        (with_robots((robot("first", Role.ACTIVE, live=False), pod("first")), WELL[1]), Phase.FAILING_OVER),
        (with_robots((absent("first", Role.FAILED), None), WELL[1]), Phase.FAILING_OVER),
        (with_robots((absent("first", Role.FAILED), None), WELL[1], mode=FailoverMode.MANUAL), Phase.UNAVAILABLE),
        (with_robots((absent("first", Role.ACTIVE), None), (absent("second", Role.PASSIVE), None)), Phase.UNAVAILABLE),
        (
            with_robots((absent("first", Role.ACTIVE), None), (absent("second", Role.PASSIVE), None), previous={}),
            Phase.PENDING,
        ),
        (with_robots((absent("first", Role.ACTIVE), None), WELL[1], previous={}), Phase.PENDING),
        (with_robots((absent("first", Role.ACTIVE), None), WELL[1], previous={"phase": "Suspended"}), Phase.PENDING),
        (observation(memory=None, memory_problem=AWAY), Phase.UNAVAILABLE),
        (observation(memory=None, memory_problem=AWAY, previous={}), Phase.PENDING),
        (observation(memory=memory(FIRST, SECOND, suspended=True), suspend=True), Phase.SUSPENDED),
        (observation(suspend=True), Phase.READY),  # Postgres was not told yet
        (observation(memory=None, memory_problem=AWAY, suspend=True, previous={"phase": "Suspended"}), Phase.SUSPENDED),
    ],
)
def test_phase(seen: Observation, phase: Phase) -> None:
    assert group_phase(seen) is phase


def test_a_suspected_active_robot_is_being_replaced() -> None:
    suspect = Suspect("first", FIRST.incarnation, Evidence.POD_GONE, "its pod is gone")
    ended = pod("first", ready=False, state=ContainerState.TERMINATED)
    assert group_phase(with_robots((FIRST, ended), WELL[1], suspects=(suspect,))) is Phase.FAILING_OVER


def test_conditions_of_a_group_that_is_well() -> None:
    assert conditions(with_robots(*WELL)) == {
        "Ready": ("True", "RobotsReady"),
        "FailoverReady": ("True", "StandbyReady"),
        "InSync": ("True", "Applied"),
        "MemoryAvailable": ("True", "Connected"),
        "Progressing": ("False", "Settled"),
    }
    assert message(with_robots(*WELL), "Ready") == "serving: first; standing by: second"


def test_conditions_after_a_failover() -> None:
    seen = with_robots(*FAILED_OVER)
    assert conditions(seen) == {
        "Ready": ("False", "Error"),
        "FailoverReady": ("False", "NoPassiveRobot"),
        "InSync": ("True", "Applied"),
        "MemoryAvailable": ("True", "Connected"),
        "Progressing": ("False", "Error"),
    }
    assert message(seen, "Ready") == (
        "serving: second; but robot first: Error: exit code 137: see kubectl logs team-first-x -c robot --previous"
    )


def test_conditions_while_postgres_is_away() -> None:
    seen = observation(memory=None, memory_problem=AWAY)
    assert conditions(seen) == {
        "Ready": ("False", "MemoryUnavailable"),
        "FailoverReady": ("False", "MemoryUnavailable"),
        "InSync": ("Unknown", "MemoryUnavailable"),
        "MemoryAvailable": ("False", "MemoryUnavailable"),
        "Progressing": ("False", "MemoryUnavailable"),
    }
    assert message(seen, "MemoryAvailable") == AWAY.message


def test_an_image_that_cannot_be_had_is_named_with_its_robot_and_the_remedy() -> None:
    seen = with_robots(WELL[0], (absent("second", Role.PASSIVE), STUCK))
    assert conditions(seen)["Ready"] == ("False", "ImagePullBackOff")
    assert message(seen, "Ready") == (
        "serving: first; but robot second: ImagePullBackOff: no such image: "
        "correct template.image of robot second or of the group"
    )
    assert conditions(seen)["FailoverReady"] == ("False", "NoWarmPassiveRobot")


def test_a_name_conflict_comes_before_everything() -> None:
    seen = with_robots(*WELL, problems=(Problem("NameConflict", "Service shop/team exists"),))
    assert conditions(seen)["Ready"] == ("False", "NameConflict")
    assert conditions(seen)["Progressing"] == ("False", "NameConflict")


def test_no_passive_robot_declared() -> None:
    seen = with_robots(WELL[0], passive_declared=0)
    assert group_phase(seen) is Phase.READY
    assert conditions(seen)["FailoverReady"] == ("False", "NoPassiveRobot")
    assert message(seen, "FailoverReady") == "no passive robot is declared: name one in spec.passive"


def test_robots_that_lag_behind_are_named() -> None:
    seen = with_robots(WELL[0], (robot("second", Role.PASSIVE, ordinal=1, applied_revision=5), pod("second", 1)))
    assert conditions(seen)["InSync"] == ("False", "CatchingUp")
    assert message(seen, "InSync") == "behind the group's revision: second"


def test_suspension_progresses_until_every_pod_is_gone() -> None:
    known = memory(FIRST, SECOND, suspended=True)
    stopping = observation(memory=known, suspend=True)
    assert conditions(stopping)["Progressing"] == ("True", "Suspending")
    stopped = replace(stopping, robots=tuple(replace(view, pod=None) for view in stopping.robots))
    assert conditions(stopped)["Progressing"] == ("False", "Suspended")
    assert conditions(stopped)["Ready"] == ("False", "Suspended")
    assert conditions(stopped)["FailoverReady"] == ("False", "Suspended")


@pytest.mark.parametrize(
    ("known", "found", "expected"),
    [
        (None, None, "it has no pod yet"),
        (None, pod("second", 1), "it has not joined the group yet"),
        (absent("second", Role.PASSIVE), pod("second", 1), "it has not registered with Postgres"),
        (
            absent("second", Role.PASSIVE),
            pod("second", 1, state=ContainerState.WAITING),
            "its container has not started yet",
        ),
        (absent("second", Role.FAILED), pod("second", 1), "it failed and has not come back yet"),
        (robot("second", Role.PASSIVE, warm=False), pod("second", 1), "it is loading the working memory"),
        (SECOND, pod("second", 1, ready=False), "its pod is not ready yet"),
        (SECOND, pod("second", 1, deleting=True), "its pod is being deleted"),
        (
            absent("second", Role.PASSIVE),
            pod("second", 1, state=ContainerState.ABSENT, problem="Unschedulable", problem_message="0/2 nodes"),
            "Unschedulable: 0/2 nodes: add a node, or change its resources, nodeSelector or tolerations",
        ),
        (SECOND, pod("second", 1), None),
    ],
)
def test_every_robot_says_what_is_wrong_with_it(known: Any, found: Any, expected: str | None) -> None:
    robots = compute_status(with_robots(WELL[0], (known, found)))["robots"]
    assert robots[1].get("message") == expected


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ({}, "Postgres answers"),
        ({"unembedded": 1}, "Postgres answers; not embedded yet: 1 memory"),
        (
            {"unembedded": 2, "failing_jobs": 2, "job_error": "the endpoint http://ollama refused the key"},
            "Postgres answers; not embedded yet: 2 memories; tried in vain, and tried again: "
            "the endpoint http://ollama refused the key",
        ),
        ({"backfill": 12}, "Postgres answers; still to be embedded by the new model: 12 memories"),
        (
            {"embedding_conflict": "b of the same space names another embedding"},
            "Postgres answers; b of the same space names another embedding",
        ),
        (
            {"embedding_conflict": "b names another embedding", "language_conflict": "c names another language"},
            "Postgres answers; b names another embedding; c names another language",
        ),
    ],
)
def test_what_waits_to_be_embedded_is_told(waiting: dict[str, Any], expected: str) -> None:
    seen = observation(memory=memory(FIRST, SECOND, **waiting))
    assert message(seen, "MemoryAvailable") == expected
    assert conditions(seen)["MemoryAvailable"] == ("True", "Connected")
    assert compute_status(seen)["unembedded"] == waiting.get("unembedded", 0)


def test_the_whole_status() -> None:
    last = Failover(
        1, "failover", "first", "second", "killed", "operator", 3, 6, NOW, NOW + timedelta(milliseconds=12.4)
    )
    known = memory(FIRST, SECOND, last_failover=last, failovers=1)
    status = compute_status(observation(memory=known, sync=SyncStats(5, 1, 9), generated=2))
    conditions_ = status.pop("conditions")
    assert [condition["type"] for condition in conditions_] == [
        "Ready",
        "FailoverReady",
        "InSync",
        "MemoryAvailable",
        "Progressing",
    ]
    assert conditions_[0] == {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 4,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "reason": "RobotsReady",
        "message": "serving: first; standing by: second",
    }
    assert status == {
        "phase": "Ready",
        "active": ["first"],
        "passive": ["second"],
        "failed": [],
        "activeNames": "first",
        "passiveNames": "second",
        "epoch": 3,
        "revision": 7,
        "workingMemoryNodes": 2,
        "workingMemoryTokens": 400,
        "maxTokens": 8000,
        "tokenUtilization": 0.05,
        "unembedded": 0,
        "inSync": True,
        "syncStats": {"nodesSynced": 5, "evictionsSynced": 1, "notificationsReceived": 9},
        "robots": [
            {
                "name": "first",
                "role": "active",
                "pod": "team-first-x",
                "node": "node1",
                "ready": True,
                "live": True,
                "appliedRevision": 7,
            },
            {
                "name": "second",
                "role": "passive",
                "pod": "team-second-x",
                "node": "node2",
                "ready": True,
                "live": True,
                "appliedRevision": 7,
            },
        ],
        "lastFailover": {
            "kind": "failover",
            "from": "first",
            "to": "second",
            "reason": "killed",
            "detectedBy": "operator",
            "detectedAt": "2026-01-02T03:04:05.000000Z",
            "promotedAt": "2026-01-02T03:04:05.012400Z",
            "durationMs": 12,
            "epoch": 3,
        },
        "failovers": 1,
        "replicas": 2,
        "selector": "robotgroups.dev/group=team,robotgroups.dev/generated=true",
        "observedGeneration": 4,
    }


def test_what_was_known_stays_while_postgres_is_away() -> None:
    before = compute_status(observation())
    after = compute_status(observation(memory=None, memory_problem=AWAY, previous=before))
    for field in ("active", "passive", "failed", "epoch", "revision", "maxTokens", "inSync"):
        assert after[field] == before[field]
    assert after["phase"] == "Unavailable"


def test_transition_times_change_with_the_status_only() -> None:
    before = compute_status(observation())
    later = NOW + timedelta(minutes=5)
    same = compute_status(observation(previous=before, now=later))
    assert same["conditions"] == before["conditions"]
    assert merge_patch(before, same) == {}
    away = compute_status(observation(previous=before, now=later, memory=None, memory_problem=AWAY))
    times = {condition["type"]: condition["lastTransitionTime"] for condition in away["conditions"]}
    assert times["MemoryAvailable"] == "2026-01-02T03:09:05Z"
    assert times["Progressing"] == "2026-01-02T03:04:05Z"  # False before and after


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2, "b": [1]}, {"a": 2, "b": [1]}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 1, "z": 1}}, {"a": {"y": None, "z": 1}}),
        ({"a": {"x": 1}}, {"a": 1}, {"a": 1}),
        ({"a": [{"x": 1}]}, {"a": [{"x": 2}]}, {"a": [{"x": 2}]}),
    ],
)
def test_merge_patches(old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]) -> None:
    assert merge_patch(old, new) == patch


def test_the_pod_of_the_presence_is_shown() -> None:
    old, new = pod("first", deleting=True), pod("first", 4, name="new", ready=False)
    assert choose_pod([old, new], FIRST) is old
    assert choose_pod([old, new], None) is new
    assert choose_pod([], FIRST) is None
