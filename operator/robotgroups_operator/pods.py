"""What a pod's JSON says about its robot. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from robotgroups_operator.names import (
    ANNOTATION_LOGIN,
    CONTAINER,
    FIRST_LOGIN,
    LABEL_ROBOT,
    LABEL_ROLE,
    LABEL_SERVING,
)

IMAGE_ERRORS = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
UNSCHEDULABLE = "Unschedulable"
START_ERRORS = frozenset(
    {"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)


class ContainerState(StrEnum):
    """The states of a container."""

    ABSENT = "absent"
    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True)
class RobotPod:
    """A pod of a robot, as far as the operator looks at it."""

    name: str
    uid: str
    robot: str
    node: str
    ip: str
    phase: str
    deleting: bool
    ready: bool
    state: ContainerState
    container_id: str
    """Of the running container `robot`, else of the last one."""
    problem: str
    """Why the container waits or has ended, the pod failed or cannot be placed; empty when all is well."""
    problem_message: str
    role_label: str | None
    serving_label: str | None
    login: str = FIRST_LOGIN
    """Number of the login that it was started with."""
    going: str = ""
    """Why the cluster takes it away, or its node is lost though its process may run; empty when it stays."""

    @property
    def image_error(self) -> bool:
        """Whether the image cannot be had."""
        return self.problem in IMAGE_ERRORS

    @property
    def running(self) -> bool:
        """Whether the robot's process runs, for all that the API server knows."""
        return self.state is ContainerState.RUNNING and not self.ended

    @property
    def ended(self) -> bool:
        """Whether nothing of it will run again."""
        return self.phase in ("Failed", "Succeeded")

    @property
    def cannot_start(self) -> bool:
        """Whether its process will not start unless somebody does something."""
        return not self.running and (self.problem in IMAGE_ERRORS | START_ERRORS or self.problem == UNSCHEDULABLE)


def read_pod(body: Mapping[str, Any]) -> RobotPod:
    """Reads a pod's JSON."""
    metadata, status, spec = body["metadata"], body.get("status") or {}, body.get("spec") or {}
    labels = metadata.get("labels") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    container: Mapping[str, Any] = next(
        (c for c in status.get("containerStatuses") or () if c["name"] == CONTAINER), {}
    )
    state, detail = _state(container)
    problem, message = _problem(status, conditions, state, detail, container)
    return RobotPod(
        name=metadata["name"],
        uid=metadata["uid"],
        robot=labels.get(LABEL_ROBOT, ""),
        node=spec.get("nodeName", ""),
        ip=status.get("podIP", ""),
        phase=status.get("phase", "Pending"),
        deleting="deletionTimestamp" in metadata,
        ready=conditions.get("Ready", {}).get("status") == "True",
        state=state,
        container_id=container.get("containerID", ""),
        problem=problem,
        problem_message=message,
        role_label=labels.get(LABEL_ROLE),
        serving_label=labels.get(LABEL_SERVING),
        login=(metadata.get("annotations") or {}).get(ANNOTATION_LOGIN, FIRST_LOGIN),
        going=_going(metadata, conditions),
    )


def _going(metadata: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> str:
    disruption = conditions.get("DisruptionTarget", {})
    if disruption.get("status") == "True":
        return f"its pod is taken away ({disruption.get('reason') or 'DisruptionTarget'})"
    if "deletionTimestamp" in metadata:
        return "its pod is being deleted"

    def is_truth(kind: str, status: str) -> bool:
        return bool(conditions.get(kind, {}).get("status") == status)

    # a kubelet writes the two together: the node's controller marks the pods of a node that is not heard of any more
    lost = is_truth("Ready", "False") and is_truth("ContainersReady", "True")
    return "its node is not ready" if lost else ""


def _state(container: Mapping[str, Any]) -> tuple[ContainerState, Mapping[str, Any]]:
    found = container.get("state") or {}
    for state in (ContainerState.RUNNING, ContainerState.TERMINATED, ContainerState.WAITING):
        if state in found:
            return state, found[state] or {}
    return ContainerState.ABSENT, {}


def _problem(
    status: Mapping[str, Any],
    conditions: Mapping[str, Mapping[str, Any]],
    state: ContainerState,
    detail: Mapping[str, Any],
    container: Mapping[str, Any],
) -> tuple[str, str]:
    if status.get("phase") == "Failed":
        return status.get("reason") or "PodFailed", status.get("message") or "the pod failed"
    if state is ContainerState.TERMINATED:
        return detail.get("reason") or "Terminated", _exit(detail)
    if state is ContainerState.WAITING and detail.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        last = (container.get("lastState") or {}).get("terminated")
        return detail["reason"], detail.get("message") or (_exit(last) if last else "")
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return scheduled.get("reason") or UNSCHEDULABLE, scheduled.get("message") or "no node takes the pod"
    return "", ""


def _exit(terminated: Mapping[str, Any]) -> str:
    how = f"exit code {terminated.get('exitCode')}"
    if terminated.get("signal"):
        how += f", signal {terminated['signal']}"
    return f"{how}: {terminated['message'].strip()}" if terminated.get("message") else how
