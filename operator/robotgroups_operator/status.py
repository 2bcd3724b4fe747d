"""A group's whole status, computed from one observation. Pure."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from robotgroups.models import Failover
from robotgroups_operator.conditions import CONDITIONS, group_phase, robot_message
from robotgroups_operator.observation import Observation, RobotView
from robotgroups_operator.status_types import Condition, LastFailover, RobotState, Status, timestamp, to_json

FROM_MEMORY = (
    "active",
    "passive",
    "failed",
    "activeNames",
    "passiveNames",
    "epoch",
    "revision",
    "workingMemoryNodes",
    "workingMemoryTokens",
    "maxTokens",
    "tokenUtilization",
    "unembedded",
    "inSync",
    "syncStats",
    "lastFailover",
    "failovers",
)
"""Fields that keep their last known value while Postgres is away."""
FROM_MEMORY_OF_ROBOT = ("role", "appliedRevision")


def compute_status(seen: Observation) -> dict[str, Any]:
    """The status as JSON."""
    memory = seen.memory
    status = Status(
        phase=group_phase(seen),
        robots=tuple(_robot(robot) for robot in seen.robots),
        replicas=seen.generated,
        selector=seen.selector,
        observed_generation=seen.generation,
        observed_switchover=seen.previous.get("observedSwitchover"),
        conditions=_conditions(seen),
    )
    result: dict[str, Any] = to_json(status)
    if memory is None:
        return _with_last_known(result, seen.previous)
    known = Status(
        phase=status.phase,
        active=memory.active,
        passive=memory.passive,
        failed=memory.failed,
        active_names=",".join(memory.active),
        passive_names=",".join(memory.passive),
        epoch=memory.epoch,
        revision=memory.revision,
        working_memory_nodes=memory.working_memory_nodes,
        working_memory_tokens=memory.working_memory_tokens,
        max_tokens=memory.max_tokens,
        token_utilization=memory.token_utilization,
        unembedded=memory.unembedded,
        in_sync=memory.in_sync,
        sync_stats=seen.sync,
        last_failover=_last_failover(memory.last_failover) if memory.last_failover else None,
        failovers=memory.failovers,
    )
    values: dict[str, Any] = to_json(known)
    return result | {key: values[key] for key in FROM_MEMORY if key in values}


def _with_last_known(status: dict[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    robots = {robot["name"]: robot for robot in previous.get("robots") or ()}
    for robot in status["robots"]:
        last = robots.get(robot["name"], {})
        robot.update({key: last[key] for key in FROM_MEMORY_OF_ROBOT if key in last})
    return status | {key: previous[key] for key in FROM_MEMORY if key in previous}


def _robot(robot: RobotView) -> RobotState:
    known, pod = robot.known, robot.pod
    return RobotState(
        name=robot.name,
        role=str(known.role) if known else None,
        pod=pod.name if pod else None,
        node=(pod.node or None) if pod else None,
        ready=pod.ready if pod else False,
        live=known.live if known else None,
        applied_revision=known.applied_revision if known else None,
        message=robot_message(robot),
    )


def _last_failover(failover: Failover) -> LastFailover:
    return LastFailover(
        kind=str(failover.kind),
        from_=failover.source,
        to=failover.target,
        reason=failover.reason,
        detected_by=failover.detected_by,
        detected_at=timestamp(failover.detected_at, micro=True),
        promoted_at=timestamp(failover.promoted_at, micro=True),
        duration_ms=round((failover.promoted_at - failover.detected_at) / timedelta(milliseconds=1)),
        epoch=failover.epoch,
    )


def _conditions(seen: Observation) -> tuple[Condition, ...]:
    previous = {condition["type"]: condition for condition in seen.previous.get("conditions") or ()}
    conditions = []
    for kind, judge in CONDITIONS.items():
        finding = judge(seen)
        last = previous.get(kind)
        since = last["lastTransitionTime"] if last and last["status"] == finding.status else timestamp(seen.now)
        conditions.append(
            Condition(str(kind), str(finding.status), seen.generation, since, finding.reason, finding.message[:32768])
        )
    return tuple(conditions)
