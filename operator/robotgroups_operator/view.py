"""Puts together what one look at a group saw. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from robotgroups.models import GroupStatus, Role
from robotgroups_operator.apply import Applied
from robotgroups_operator.deaths import Suspect
from robotgroups_operator.manifests.identity import Group
from robotgroups_operator.names import LABEL_GENERATED, LABEL_GROUP, deployment_name
from robotgroups_operator.observation import Observation, Problem, RobotView, choose_pod
from robotgroups_operator.pods import RobotPod
from robotgroups_operator.spec import GroupSpec
from robotgroups_operator.status_types import SyncStats


def robot_views(
    spec: GroupSpec, memory: GroupStatus | None, pods: Mapping[str, Sequence[RobotPod]]
) -> tuple[RobotView, ...]:
    """Every declared robot with what is known of it."""
    known = {robot.name: robot for robot in memory.robots} if memory else {}
    declared = [(robot.name, Role.ACTIVE) for robot in spec.active_robots]
    declared += [(robot.name, Role.PASSIVE) for robot in spec.passive]
    return tuple(
        RobotView(name, role, known.get(name), choose_pod(pods.get(name, ()), known.get(name)))
        for name, role in declared
    )


def look_at(
    body: Mapping[str, Any],
    group: Group,
    memory: GroupStatus | None,
    memory_problem: Problem | None,
    *,
    pods: Mapping[str, Sequence[RobotPod]],
    applied: Applied,
    suspects: tuple[Suspect, ...],
    deployments: Sequence[Mapping[str, Any]],
    sync: SyncStats | None,
    now: datetime,
) -> Observation:
    """The observation from which the status is computed."""
    spec, name = group.spec, group.identity.name
    running = {deployment["metadata"]["name"] for deployment in deployments}
    return Observation(
        group=name,
        generation=body["metadata"]["generation"],
        deleting="deletionTimestamp" in body["metadata"],
        suspend=spec.suspend,
        mode=spec.failover.mode,
        passive_declared=len(spec.passive),
        active_declared=len(spec.active_robots),
        generated=sum(deployment_name(name, robot.name) in running for robot in spec.generated),
        selector=f"{LABEL_GROUP}={name},{LABEL_GENERATED}=true",
        robots=robot_views(spec, memory, pods),
        memory=memory,
        memory_problem=memory_problem,
        problems=applied.problems,
        pending=applied.pending,
        suspects=suspects,
        sync=sync,
        previous=body.get("status") or {},
        now=now,
        delayed=bool(spec.failover.delay),
    )
