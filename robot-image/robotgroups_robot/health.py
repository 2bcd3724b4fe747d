"""What the probes answer: pure decisions on the runtime's phase and the robot's own judgement."""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The life of the process."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


@dataclass(frozen=True)
class Health:
    """A probe's answer and, when it is no, why."""

    ok: bool
    reason: str = ""


def startup(phase: Phase, waiting_for: str) -> Health:
    """Started: registered with the group. `waiting_for` says what has kept it so far."""
    return Health(False, waiting_for) if phase is Phase.STARTING else Health(True)


def readiness(phase: Phase, waiting_for: str, serving: Health | None) -> Health:
    """Ready: registered, warm (M6), lease renewed, not about to stop. `serving` is None before it has registered."""
    if phase is Phase.DRAINING:
        return Health(False, "the robot is draining: it has been told to stop")
    if phase is Phase.STARTING or serving is None:
        return Health(False, waiting_for)
    return serving


def liveness(ended: str | None) -> Health:
    """Alive: the event loop answers, and what keeps the robot in its group still runs. `ended` says what has not."""
    return Health(True) if ended is None else Health(False, ended)
