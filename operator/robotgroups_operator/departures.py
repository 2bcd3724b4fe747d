"""Active robots that live, and whose pods or nodes are going: their roles are handed over before anything breaks.

A robot that hears SIGTERM hands over by itself; the operator sees the deletion before its kubelet acts on it, and when
that never does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import structlog

from robotgroups.models import FailoverMode, GroupStatus, RobotStatus, Role
from robotgroups.store import Store
from robotgroups_operator.deaths import Pods, pod_of
from robotgroups_operator.metrics import HANDED_OVER

log = structlog.get_logger(__name__)

ASKED_BY = "operator"


@dataclass(frozen=True)
class Departure:
    """A robot whose role is to be handed over."""

    robot: str
    incarnation: UUID
    pod_uid: str
    reason: str


def find_departures(status: GroupStatus, pods: Pods, mode: FailoverMode) -> list[Departure]:
    """Active robots in pods that are going, while a warm standby is in one that stays. Pure.

    With mode Manual only a deletion counts: that is what a person asked for.
    """
    if status.suspended:
        return []
    found = []
    for robot in status.robots:
        pod = pod_of(robot, pods)
        if robot.role is not Role.ACTIVE or robot.incarnation is None or pod is None or not pod.going:
            continue
        if mode is FailoverMode.AUTOMATIC or pod.deleting:
            found.append(Departure(robot.name, robot.incarnation, pod.uid, pod.going))
    return found if found and any(_stays(robot, pods) for robot in status.robots) else []


def _stays(robot: RobotStatus, pods: Pods) -> bool:
    pod = pod_of(robot, pods)
    return robot.role is Role.PASSIVE and robot.warm and pod is not None and not pod.going


class Departures:
    """Has each robot handed over once from the same pod: one that gets its role back there is meant to have it."""

    def __init__(self) -> None:
        self._done: set[tuple[UUID, str]] = set()

    def due(self, status: GroupStatus, pods: Pods, mode: FailoverMode) -> list[Departure]:
        """Those to be handed over now."""
        return [
            going
            for going in find_departures(status, pods, mode)
            if (going.incarnation, going.pod_uid) not in self._done
        ]

    async def hand_over(self, store: Store, group_id: int, departures: Iterable[Departure]) -> None:
        """Hands their roles over. RobotGroupsError: the rest is due again."""
        for going in departures:
            promoted = await store.hand_over(group_id, going.robot, going.incarnation, going.reason, asked_by=ASKED_BY)
            HANDED_OVER.labels(outcome="promoted" if promoted else "nobody").inc()
            log.info("handed over", group_id=group_id, robot=going.robot, because=going.reason, promoted=promoted)
            if promoted:
                self._done.add((going.incarnation, going.pod_uid))
