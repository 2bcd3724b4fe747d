"""What a pod's JSON says."""

from typing import Any

import pytest

from robotgroups_operator.pods import ContainerState, read_pod


def body(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    containers = [{"name": "side", "state": {"running": {}}}]
    if state is not None:
        containers.append(
            {"name": "robot", "state": state, "containerID": "containerd://1", **status.pop("container", {})}
        )
    return {
        "metadata": {
            "name": "p",
            "uid": "u",
            "labels": {"robotgroups.dev/robot": "first", "robotgroups.dev/serving": "true"},
        },
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": containers} | status,
    }


def test_a_running_pod() -> None:
    pod = read_pod(body({"running": {}}, conditions=[{"type": "Ready", "status": "True"}]))
    assert (pod.robot, pod.node, pod.ip, pod.ready, pod.running, pod.problem) == (
        "first",
        "n",
        "10.0.0.1",
        True,
        True,
        "",
    )
    assert (pod.container_id, pod.role_label, pod.serving_label, pod.deleting) == (
        "containerd://1",
        None,
        "true",
        False,
    )


def test_a_pod_that_was_just_made() -> None:
    made = {"metadata": {"name": "p", "uid": "u"}}
    pod = read_pod(made)
    assert (pod.phase, pod.state, pod.running, pod.problem, pod.robot) == (
        "Pending",
        ContainerState.ABSENT,
        False,
        "",
        "",
    )


@pytest.mark.parametrize(
    ("state", "problem", "message"),
    [
        ({"waiting": {"reason": "ContainerCreating"}}, "", ""),
        ({"waiting": {}}, "", ""),
        ({"waiting": {"reason": "ErrImagePull", "message": "not found"}}, "ErrImagePull", "not found"),
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "OOMKilled", "exit code 137"),
        ({"terminated": {"exitCode": 2, "signal": 9}}, "Terminated", "exit code 2, signal 9"),
        ({"terminated": {"exitCode": 1, "reason": "Error", "message": "no DSN\n"}}, "Error", "exit code 1: no DSN"),
    ],
)
def test_containers_problems(state: dict[str, Any], problem: str, message: str) -> None:
    pod = read_pod(body(state))
    assert (pod.problem, pod.problem_message) == (problem, message)


def test_a_crash_loop_tells_how_it_ended_last() -> None:
    looping = body(
        {"waiting": {"reason": "CrashLoopBackOff"}},
        container={"lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}},
    )
    assert read_pod(looping).problem_message == "exit code 3"


def test_pods_problems() -> None:
    evicted = read_pod(body(phase="Failed", reason="Evicted", message="low on memory"))
    assert (evicted.problem, evicted.problem_message, evicted.running) == ("Evicted", "low on memory", False)
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    pending = read_pod(body(phase="Pending", conditions=[unplaced]))
    assert (pending.problem, pending.problem_message, pending.cannot_start) == ("Unschedulable", "0/2 nodes", True)


@pytest.mark.parametrize(
    ("reason", "cannot"),
    [
        ("ImagePullBackOff", True),
        ("CreateContainerConfigError", True),
        ("CrashLoopBackOff", True),
        ("ContainerCreating", False),
    ],
)
def test_what_cannot_start(reason: str, cannot: bool) -> None:
    assert read_pod(body({"waiting": {"reason": reason}}, phase="Pending")).cannot_start is cannot


READY, NOT_READY = ({"type": "Ready", "status": status} for status in ("True", "False"))
CONTAINERS_READY = {"type": "ContainersReady", "status": "True"}


@pytest.mark.parametrize(
    ("conditions", "going"),
    [
        ([READY, CONTAINERS_READY], ""),
        ([NOT_READY, CONTAINERS_READY], "its node is not ready"),
        ([NOT_READY, CONTAINERS_READY | {"status": "False"}], ""),
        ([NOT_READY], ""),
        ([READY, {"type": "DisruptionTarget", "status": "False"}], ""),
        (
            [READY, {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}],
            "its pod is taken away (DeletionByTaintManager)",
        ),
    ],
)
def test_what_takes_a_pod_away(conditions: list[dict[str, str]], going: str) -> None:
    assert read_pod(body({"running": {}}, conditions=conditions)).going == going


def test_a_pod_that_is_being_deleted_is_going() -> None:
    made = body({"running": {}}, conditions=[READY])
    made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert read_pod(made).going == "its pod is being deleted"
