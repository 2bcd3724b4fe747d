"""The conditions of a group: one pure function each, from what was observed to whether it holds, and why."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from robotgroups.models import FailoverMode, Role
from robotgroups_operator.observation import Observation, RobotView
from robotgroups_operator.pods import UNSCHEDULABLE, RobotPod
from robotgroups_operator.status_types import ConditionType, Phase, Truth


@dataclass(frozen=True)
class Finding:
    """Whether a condition holds, and why."""

    status: Truth
    reason: str
    message: str


def names(robots: tuple[RobotView, ...]) -> str:
    """The robots' names, for a message."""
    return ", ".join(robot.name for robot in robots) or "none"


def group_phase(seen: Observation) -> Phase:
    """One word for all."""
    if seen.deleting:
        return Phase.TERMINATING
    if seen.suspend and (seen.memory.suspended if seen.memory else seen.previous.get("phase") == Phase.SUSPENDED):
        return Phase.SUSPENDED
    if seen.all_well:
        return Phase.READY
    if _is_failing_over(seen):
        return Phase.FAILING_OVER
    if seen.serving:
        return Phase.DEGRADED
    return Phase.UNAVAILABLE if seen.was_up else Phase.PENDING


def _is_failing_over(seen: Observation) -> bool:
    """Whether an active robot is missing that a warm standby is about to replace."""
    if not (seen.standing_by and seen.was_up and seen.mode is FailoverMode.AUTOMATIC):
        return False
    live = [robot for robot in seen.robots if robot.known and robot.known.role is Role.ACTIVE and robot.known.live]
    suspected = {suspect.robot for suspect in seen.suspects}
    return len(live) < seen.active_declared or any(robot.name in suspected for robot in live)


def robot_message(robot: RobotView) -> str | None:
    """What is wrong with a robot, and what to do; None when nothing is."""
    if robot.well:
        return None
    return _pod_complaint(robot.name, robot.pod) or _role_complaint(robot)


def _pod_complaint(name: str, pod: RobotPod | None) -> str | None:
    if pod is None:
        return "it has no pod yet"
    if pod.image_error:
        return f"{pod.problem}: {pod.problem_message}: correct template.image of robot {name} or of the group"
    if pod.problem == UNSCHEDULABLE:
        return f"{pod.problem}: {pod.problem_message}: add a node, or change its resources, nodeSelector or tolerations"
    if pod.problem:
        return f"{pod.problem}: {pod.problem_message}: see kubectl logs {pod.name} -c robot --previous"
    return "its pod is being deleted" if pod.deleting else None


def _role_complaint(robot: RobotView) -> str:
    known = robot.known
    if known is None:
        return "it has not joined the group yet"
    if known.role is Role.FAILED:
        return "it failed and has not come back yet"
    if not known.live:
        running = robot.pod is not None and robot.pod.running
        return "it has not registered with Postgres" if running else "its container has not started yet"
    return "its pod is not ready yet" if known.warm else "it is loading the working memory"


def _worst(seen: Observation) -> tuple[str, str]:
    """The reason and message of the first robot that is not well: those whose pod has a problem first."""
    ailing = sorted((r for r in seen.robots if not r.well), key=lambda r: not (r.pod is not None and r.pod.problem))
    if not ailing:
        return "RolesNotSettled", f"{len(seen.serving)} of {seen.active_declared} active robots serve"
    message = "; ".join(f"robot {robot.name}: {robot_message(robot)}" for robot in ailing[:3])
    if len(ailing) > 3:  # noqa: PLR2004  as many as are worth reading
        message += f"; and {len(ailing) - 3} more"
    pod = ailing[0].pod
    if pod is not None and pod.problem:
        return pod.problem, message
    return "RobotsNotReady", message


def ready(seen: Observation) -> Finding:
    """Every declared robot is there and does its duty."""
    return next(_readiness(seen, group_phase(seen)))


def _readiness(seen: Observation, phase: Phase) -> Iterator[Finding]:
    """What there is to say, the most important first."""
    if phase is Phase.READY:
        standby = f"; standing by: {names(seen.standing_by)}" if seen.standing_by else ""
        yield Finding(Truth.TRUE, "RobotsReady", f"serving: {names(seen.serving)}{standby}")
    if phase is Phase.TERMINATING:
        yield Finding(Truth.FALSE, "Terminating", "the group is being deleted")
    if seen.problems:
        yield Finding(Truth.FALSE, seen.problems[0].reason, "; ".join(problem.message for problem in seen.problems))
    if seen.memory_problem:
        yield Finding(Truth.FALSE, seen.memory_problem.reason, seen.memory_problem.message)
    if phase is Phase.SUSPENDED:
        yield Finding(Truth.FALSE, "Suspended", "the group is suspended: set spec.suspend to false to start its robots")
    reason, message = _worst(seen)
    if phase is Phase.FAILING_OVER:
        waits = (
            "spec.failover.delay is waited out before a standby takes over"
            if seen.delayed
            else "a standby is taking over"
        )
        yield Finding(Truth.FALSE, "FailingOver", f"{waits}; {message}")
    prefix = f"serving: {names(seen.serving)}; but " if seen.serving else "no robot serves: "
    yield Finding(Truth.FALSE, reason, prefix + message)


def failover_ready(seen: Observation) -> Finding:
    """A warm standby could take over now."""
    if seen.memory_problem:
        return Finding(Truth.FALSE, seen.memory_problem.reason, "no failover is possible while Postgres is away")
    if seen.suspend:
        return Finding(Truth.FALSE, "Suspended", "the group is suspended")
    if not seen.standing_by:
        return _no_standby(seen)
    if seen.mode is FailoverMode.MANUAL:
        message = f"spec.failover.mode is Manual: {names(seen.standing_by)} can take over when a person promotes it"
        return Finding(Truth.TRUE, "ManualFailover", message)
    return Finding(Truth.TRUE, "StandbyReady", f"{names(seen.standing_by)} can take over")


def _no_standby(seen: Observation) -> Finding:
    if not seen.passive_declared:
        return Finding(Truth.FALSE, "NoPassiveRobot", "no passive robot is declared: name one in spec.passive")
    failed = tuple(robot for robot in seen.robots if robot.known is not None and robot.known.role is Role.FAILED)
    passive = tuple(robot for robot in seen.robots if robot.known is not None and robot.known.role is Role.PASSIVE)
    if failed and not passive:
        message = f"{names(failed)} failed and must come back first: status.robots says what keeps it"
        return Finding(Truth.FALSE, "NoPassiveRobot", message)
    message = f"{names(passive)} cannot take over yet: status.robots says what is missing"
    return Finding(Truth.FALSE, "NoWarmPassiveRobot", message)


def in_sync(seen: Observation) -> Finding:
    """Every live robot has applied the group's revision."""
    if seen.memory is None:
        reason = seen.memory_problem.reason if seen.memory_problem else "Unknown"
        return Finding(Truth.UNKNOWN, reason, "Postgres was not asked")
    live = [robot for robot in seen.memory.robots if robot.live]
    if not live:
        return Finding(Truth.UNKNOWN, "NoLiveRobot", "no robot is live")
    if seen.memory.in_sync:
        return Finding(Truth.TRUE, "Applied", "every live robot has applied the group's revision")
    behind = ", ".join(robot.name for robot in live if robot.applied_revision < seen.memory.revision)
    return Finding(Truth.FALSE, "CatchingUp", f"behind the group's revision: {behind or 'none'}")


def memory_available(seen: Observation) -> Finding:
    """Postgres answers; with what waits in the background."""
    if seen.memory_problem:
        return Finding(Truth.FALSE, seen.memory_problem.reason, seen.memory_problem.message)
    message = "Postgres answers"
    if (memory := seen.memory) is not None:
        if memory.unembedded:
            message += f"; not embedded yet: {_memories(memory.unembedded)}"
        if memory.backfill:
            message += f"; still to be embedded by the new model: {_memories(memory.backfill)}"
        if memory.failing_jobs:
            message += f"; tried in vain, and tried again: {memory.job_error}"
        for conflict in (memory.embedding_conflict, memory.language_conflict):
            if conflict:
                message += f"; {conflict}"
    return Finding(Truth.TRUE, "Connected", message)


def _memories(count: int) -> str:
    return f"{count} {'memory' if count == 1 else 'memories'}"


def progressing(seen: Observation) -> Finding:
    """Something is on its way to what the resource says."""
    return next(_progress(seen))


def _progress(seen: Observation) -> Iterator[Finding]:
    """What there is to say, the most important first."""
    if seen.problems:
        yield Finding(Truth.FALSE, seen.problems[0].reason, "; ".join(problem.message for problem in seen.problems))
    if seen.deleting:
        yield Finding(Truth.TRUE, "Terminating", "the group is being deleted")
    if seen.pending:
        yield Finding(Truth.TRUE, "Applying", "; ".join(seen.pending[:5]))
    if seen.memory_problem:
        yield Finding(Truth.FALSE, seen.memory_problem.reason, "waiting for Postgres")
    if group_phase(seen) is Phase.SUSPENDED:
        left = tuple(robot for robot in seen.robots if robot.pod is not None)
        if left:
            yield Finding(Truth.TRUE, "Suspending", f"still stopping: {names(left)}")
        yield Finding(Truth.FALSE, "Suspended", "every robot is stopped")
    ailing = tuple(robot for robot in seen.robots if not robot.well)
    stuck = [(robot.name, robot.pod.problem) for robot in ailing if robot.pod is not None and robot.pod.problem]
    if stuck:
        yield Finding(Truth.FALSE, stuck[0][1], "stuck: " + ", ".join(name for name, _ in stuck))
    if ailing:
        yield Finding(Truth.TRUE, "RobotsStarting", f"not ready yet: {names(ailing)}")
    yield Finding(Truth.FALSE, "Settled", "everything is as the resource says")


CONDITIONS: dict[ConditionType, Callable[[Observation], Finding]] = {
    ConditionType.READY: ready,
    ConditionType.FAILOVER_READY: failover_ready,
    ConditionType.IN_SYNC: in_sync,
    ConditionType.MEMORY_AVAILABLE: memory_available,
    ConditionType.PROGRESSING: progressing,
}
