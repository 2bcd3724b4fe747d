"""Which robots are dead, as the cluster and the heartbeats show. Pure; Postgres has the last word (declare_failed).

Evidence is against one incarnation (one run of a robot's process). A pod that is being deleted is no evidence: its
robot hands over by itself on SIGTERM; only when its container has ended or its pod is gone with the presence still
recorded did it die.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from robotgroups.detection import Expired
from robotgroups.models import GroupStatus, RobotStatus, Role
from robotgroups_operator.pods import ContainerState, RobotPod


class Evidence(StrEnum):
    """Why a robot is held to be dead."""

    CONTAINER_ENDED = "container-ended"
    CONTAINER_REPLACED = "container-replaced"
    POD_GONE = "pod-gone"
    CANNOT_START = "cannot-start"
    ABSENT = "absent"
    LEASE_EXPIRED = "lease-expired"


@dataclass(frozen=True)
class Host:
    """The container in which an incarnation was seen alive."""

    incarnation: UUID
    pod_uid: str
    container_id: str


@dataclass(frozen=True)
class Suspect:
    """A robot to be declared failed."""

    robot: str
    incarnation: UUID | None
    evidence: Evidence
    reason: str
    observed_heartbeat: int | None = None


Pods = Mapping[str, Sequence[RobotPod]]
"""The pods of each robot."""


def is_present(robot: RobotStatus) -> bool:
    """Whether a presence is recorded: it registered (pods always give an endpoint), and did not withdraw since."""
    return bool(robot.endpoint)


def hosts(robot: RobotStatus, pod: RobotPod) -> bool:
    """Whether a robot's presence comes from a pod's address."""
    return bool(pod.ip) and f"//{pod.ip}:" in robot.endpoint.replace("[", "").replace("]", "")


def remember_hosts(known: Mapping[str, Host], status: GroupStatus, pods: Pods) -> dict[str, Host]:
    """Ties each live incarnation to the container that it runs in; what is tied stays until the incarnation changes."""
    tied = {}
    for robot in status.robots:
        host = known.get(robot.name)
        if host is not None and host.incarnation == robot.incarnation:
            tied[robot.name] = host
        elif robot.incarnation is not None and (pod := pod_of(robot, pods)) is not None:
            tied[robot.name] = Host(robot.incarnation, pod.uid, pod.container_id)
    return tied


def pod_of(robot: RobotStatus, pods: Pods) -> RobotPod | None:
    """The pod that a live robot runs in; None when that is not known."""
    if not robot.live:
        return None
    running = [pod for pod in pods.get(robot.name, ()) if pod.running and hosts(robot, pod)]
    return running[0] if len(running) == 1 else None


def find_suspects(
    status: GroupStatus, pods: Pods, known: Mapping[str, Host], absent: frozenset[str] = frozenset()
) -> list[Suspect]:
    """The robots whose process has ended or cannot start, as the cluster shows. `absent`: those away for too long."""
    if status.suspended:
        return []
    # one that never came has lost nothing: it is replaced when there is somebody to replace it
    replaceable = any(robot.role is Role.PASSIVE and robot.live and robot.warm for robot in status.robots)
    suspects = []
    for robot in status.robots:
        if robot.role is Role.FAILED:
            continue
        mine = pods.get(robot.name, ())
        if is_present(robot):
            found = _ended(robot, mine, known.get(robot.name))
        elif robot.role is Role.ACTIVE and replaceable:
            found = _never_came(robot, mine, away=robot.name in absent)
        else:
            found = None
        if found is not None:
            evidence, reason = found
            suspects.append(Suspect(robot.name, robot.incarnation, evidence, reason))
    return suspects


def lease_suspect(expired: Expired) -> Suspect:
    """A robot whose heartbeat's counter stood still for a lease: its process hangs, or its node is cut off."""
    reason = f"its heartbeat stood still for {expired.stood_still_s:.1f} s"
    return Suspect(expired.robot, expired.incarnation, Evidence.LEASE_EXPIRED, reason, expired.heartbeat)


def _ended(robot: RobotStatus, pods: Sequence[RobotPod], host: Host | None) -> tuple[Evidence, str] | None:
    if host is not None and host.incarnation == robot.incarnation:
        pod = next((pod for pod in pods if pod.uid == host.pod_uid), None)
        if pod is None:
            return Evidence.POD_GONE, "its pod is gone"
        if pod.container_id not in ("", host.container_id):
            return Evidence.CONTAINER_REPLACED, "its container was restarted"
        return _container_ended(pod)
    candidates = [pod for pod in pods if not pod.ip or hosts(robot, pod)]
    if not candidates:
        return Evidence.POD_GONE, "its pod is gone"
    if any(pod.running or not pod.ip for pod in candidates):
        return None
    return next((found for pod in candidates if (found := _container_ended(pod))), None)


def _container_ended(pod: RobotPod) -> tuple[Evidence, str] | None:
    if pod.state is ContainerState.TERMINATED or pod.phase in ("Failed", "Succeeded"):
        detail = ", ".join(part for part in (pod.problem, pod.problem_message) if part)
        return Evidence.CONTAINER_ENDED, f"its container ended ({detail})" if detail else "its container ended"
    if pod.state is ContainerState.WAITING and pod.problem:
        return Evidence.CONTAINER_ENDED, f"its container does not run ({pod.problem})"
    return None


def _never_came(robot: RobotStatus, pods: Sequence[RobotPod], *, away: bool) -> tuple[Evidence, str] | None:
    stuck = [pod for pod in pods if pod.cannot_start]
    if stuck and len(stuck) == len(pods):
        return Evidence.CANNOT_START, f"its pod cannot start ({stuck[0].problem})"
    if away and not robot.live:
        return Evidence.ABSENT, "it has not been there for too long"
    return None
