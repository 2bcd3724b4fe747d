"""The switchover that a group's annotation asks for: done once for each value, whatever moves the role afterwards.

`status.observedSwitchover` holds the value that is done with, so that no restart does it again.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog

from robotgroups.errors import ArgumentError, RoleError
from robotgroups.models import GroupStatus, RobotStatus, Role
from robotgroups.store import Store
from robotgroups_operator.names import ANNOTATION_SWITCHOVER
from robotgroups_operator.reporter import Reporter

log = structlog.get_logger(__name__)

JsonObject = dict[str, Any]
ASKED_BY = "annotation"
LONGEST = 64
"""Characters of the annotation that are looked at: one more than a robot's name can have."""


class Action(StrEnum):
    """What is done about the annotation."""

    NOTHING = "nothing"
    """Nothing is asked, or what is asked is done with."""
    FORGET = "forget"
    """The annotation is gone: the same value is a new request next time."""
    PERFORM = "perform"
    WAIT = "wait"
    """It cannot be done yet; the next look may find that it can."""
    DONE = "done"
    REFUSE = "refuse"
    """It will never be possible: another value is needed."""


EVENTS = {Action.WAIT: "SwitchoverWaits", Action.DONE: "SwitchoverDone", Action.REFUSE: "SwitchoverRefused"}


@dataclass(frozen=True)
class Step:
    """What to do, and why, for people."""

    action: Action
    why: str = ""


def requested_switchover(body: Mapping[str, Any]) -> str | None:
    """The robot that is to be active by the resource's annotation; None: nothing is asked."""
    value = (body["metadata"].get("annotations") or {}).get(ANNOTATION_SWITCHOVER) or ""
    return value.strip()[:LONGEST] or None


def handled_switchover(body: Mapping[str, Any]) -> str | None:
    """The value of the annotation that is done with."""
    return (body.get("status") or {}).get("observedSwitchover") or None


def next_step(wanted: str | None, handled: str | None, memory: GroupStatus, declared: Collection[str]) -> Step:
    """What to do about the annotation `wanted` when `handled` is done with; `declared`: the robots of the spec. Pure.

    The failover mode does not matter: a person asked for it.
    """
    if wanted == handled:
        return Step(Action.NOTHING)
    if wanted is None:
        return Step(Action.FORGET)
    robot = next((robot for robot in memory.robots if robot.name == wanted), None)
    if robot is None and wanted not in declared:
        known = ", ".join(robot.name for robot in memory.robots) or "none"
        return Step(Action.REFUSE, f"the group has no robot {wanted}: name one of its robots ({known})")
    if robot is not None and robot.role is Role.ACTIVE:
        return Step(Action.DONE, f"{wanted} is active already")
    obstacle = _obstacle(wanted, robot, memory)
    return Step(Action.WAIT, obstacle) if obstacle else Step(Action.PERFORM)


def _obstacle(name: str, robot: RobotStatus | None, memory: GroupStatus) -> str | None:
    """Why it cannot be done now."""
    if robot is None:
        return f"{name} has not joined yet"
    if memory.suspended:
        return "the group is suspended"
    if not memory.active:
        return "no robot is active that could hand over"
    if robot.role is Role.FAILED:
        return f"{name} has failed and has not come back"
    if not (robot.live and robot.warm):
        return f"{name} is not warm: it has not caught up with the group, or is not running"
    return None


class Switchovers:
    """One group's."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._told: tuple[str, Step] | None = None

    async def look(
        self, body: JsonObject, memory: GroupStatus, declared: Collection[str], store: Store
    ) -> tuple[JsonObject, bool]:
        """Does what is asked for and tells of it. Returns the resource as it is then, and whether roles have moved.

        Whoever is interrupted before the status is written finds the robot active the next time.
        Raises MemoryUnavailableError, ApiError.
        """
        wanted, epoch, moved = requested_switchover(body), memory.epoch, False
        step = next_step(wanted, handled_switchover(body), memory, declared)
        if step.action is Action.NOTHING:
            return body, False
        if wanted is not None:
            if step.action is Action.PERFORM:
                step, epoch = await self._perform(store, memory, wanted)
                moved = step.action is Action.DONE
            await self._tell(body, wanted, step, epoch)
        if step.action is Action.WAIT:
            return body, False
        return await self._reporter.note_switchover(wanted), moved

    async def _perform(self, store: Store, memory: GroupStatus, wanted: str) -> tuple[Step, int]:
        try:
            done = await store.switchover(memory.id, target=wanted, asked_by=ASKED_BY)
        except (RoleError, ArgumentError) as error:  # roles have moved since the look
            return Step(Action.WAIT, str(error)), memory.epoch
        log.info("switched over", group_id=memory.id, replaced=done.replaced, promoted=done.promoted)
        return Step(Action.DONE, f"{done.replaced} handed over to {done.promoted}"), done.epoch

    async def _tell(self, body: JsonObject, wanted: str, step: Step, epoch: int) -> None:
        """Once for each outcome: a wait is found again in every look."""
        if (wanted, step) == self._told:
            return
        about = f"{wanted} {step.why}" if step.action is Action.WAIT else wanted
        key = f"switchover-{epoch}-{step.action}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"
        message = f"{ANNOTATION_SWITCHOVER}={wanted}: {step.why}"
        await self._reporter.tell(body, key, EVENTS[step.action], message, warning=step.action is Action.REFUSE)
        self._told = wanted, step
