"""Which robots may be restarted now by a change of their pods' template: one at a time, active ones last. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from robotgroups.models import Role
from robotgroups_operator.children import Apply, Step
from robotgroups_operator.drift import differences
from robotgroups_operator.names import ANNOTATION_TEMPLATE, LABEL_ROBOT, Kind
from robotgroups_operator.observation import RobotView


def admit(
    steps: Sequence[Step], robots: Sequence[RobotView], deployments: Sequence[Mapping[str, Any]], *, roles_known: bool
) -> tuple[list[Step], list[str]]:
    """The steps to carry out now, and what is put off, for people.

    A robot that is not well is restarted at once: it costs nothing. One that is well waits until all others are well
    and no Deployment is still rolling out; of several the passive ones come first, so that an active one can hand over.
    While Postgres is away (`roles_known` false) nobody is restarted: nobody could take over.
    """
    restarts = [step for step in steps if _restarts(step)]
    now = [step for step in steps if step not in restarts]
    if not roles_known:
        return now, [_put_off(step) for step in restarts]
    views = {robot.name: robot for robot in robots}
    waiting: list[Step] = []
    for step in restarts:
        view = views.get(_robot(step))
        (waiting if view is not None and view.well else now).append(step)
    waiting.sort(key=lambda step: _is_active(views[_robot(step)]))
    quiet = len(waiting) == len(restarts) and all(robot.well for robot in robots) and all(map(_rolled_out, deployments))
    if waiting and quiet:
        now.append(waiting.pop(0))
    return now, [_put_off(step) for step in waiting]


def _restarts(step: Step) -> bool:
    if not isinstance(step, Apply) or step.kind is not Kind.DEPLOYMENT or step.found is None:
        return False
    wanted, found = step.manifest["metadata"], step.found["metadata"]
    # what is wanted no more shows in the digest alone
    another = (found.get("annotations") or {}).get(ANNOTATION_TEMPLATE) != wanted["annotations"][ANNOTATION_TEMPLATE]
    return another or bool(differences(step.manifest["spec"]["template"], step.found["spec"]["template"]))


def _put_off(step: Step) -> str:
    return f"robot {_robot(step)} is restarted with its new template once the others are ready"


def _robot(step: Step) -> str:
    assert isinstance(step, Apply)
    return str(step.manifest["metadata"]["labels"][LABEL_ROBOT])


def _is_active(view: RobotView) -> bool:
    return view.known is not None and view.known.role is Role.ACTIVE


def _rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Whether the Deployment's controller has done all that was asked of it."""
    wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status") or {}
    observed = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"]["generation"])
    done = (status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    return observed and done == (wanted, wanted)
