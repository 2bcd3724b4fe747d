"""Which labels pods should have: the role as Postgres has it, and whether the Service may choose them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from robotgroups.models import GroupStatus, Role
from robotgroups_operator.deaths import Pods, Suspect
from robotgroups_operator.names import LABEL_ROLE, LABEL_SERVING


@dataclass(frozen=True)
class LabelPatch:
    """Labels to set on a pod."""

    pod: str
    labels: dict[str, str]
    reason: str


def plan_labels(status: GroupStatus, pods: Pods, suspects: Sequence[Suspect]) -> list[LabelPatch]:
    """Patches for the pods whose labels are not as they should be.

    A dead or failed robot's pods leave the Service at once; a pod comes back when it is Ready and its robot live.
    """
    dead = {suspect.robot for suspect in suspects}
    members = {robot.name for robot in status.robots}
    patches = [
        LabelPatch(pod.name, {LABEL_SERVING: "false"}, "its robot is no member any more")
        for name in sorted(pods.keys() - members)
        for pod in pods[name]
        if pod.serving_label != "false"
    ]
    for robot in status.robots:
        for pod in pods.get(robot.name, ()):
            labels, reasons = {}, []
            if pod.role_label != robot.role:
                labels[LABEL_ROLE] = str(robot.role)
                reasons.append(f"its role is {robot.role}")
            out = robot.role is Role.FAILED or robot.name in dead
            if out and pod.serving_label != "false":
                labels[LABEL_SERVING] = "false"
                reasons.append("it does not serve")
            elif not out and pod.serving_label != "true" and robot.live and pod.ready and not pod.deleting:
                labels[LABEL_SERVING] = "true"
                reasons.append("it serves again")
            if labels:
                patches.append(LabelPatch(pod.name, labels, " and ".join(reasons)))
    return patches
