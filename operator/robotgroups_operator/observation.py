"""All that one look at a group saw: the only input of its status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from robotgroups.models import FailoverMode, GroupStatus, RobotStatus, Role
from robotgroups_operator.deaths import Suspect
from robotgroups_operator.pods import RobotPod
from robotgroups_operator.status_types import Phase, SyncStats


@dataclass(frozen=True)
class Problem:
    """Something that keeps the operator from doing what the resource says."""

    reason: str
    message: str


@dataclass(frozen=True)
class RobotView:
    """A declared robot with what is known of it."""

    name: str
    declared: Role
    known: RobotStatus | None
    pod: RobotPod | None

    @property
    def serves(self) -> bool:
        """Whether it is active and takes requests."""
        known, pod = self.known, self.pod
        return (
            known is not None
            and known.role is Role.ACTIVE
            and known.live
            and pod is not None
            and pod.ready
            and not pod.deleting
        )

    @property
    def stands_by(self) -> bool:
        """Whether it could be promoted now."""
        return self.known is not None and self.known.role is Role.PASSIVE and self.known.live and self.known.warm

    @property
    def well(self) -> bool:
        """Whether it does what its role asks of it, with a ready pod."""
        return self.serves or (self.stands_by and self.pod is not None and self.pod.ready and not self.pod.deleting)


@dataclass(frozen=True)
class Observation:
    """One look at a group."""

    group: str
    generation: int
    deleting: bool
    suspend: bool
    mode: FailoverMode
    passive_declared: int
    active_declared: int
    generated: int
    """Generated robots that have a Deployment."""
    selector: str
    robots: tuple[RobotView, ...]
    memory: GroupStatus | None
    """None: Postgres does not answer, for the reason in `memory_problem`."""
    memory_problem: Problem | None
    problems: tuple[Problem, ...]
    pending: tuple[str, ...]
    """What is still being written to the cluster."""
    suspects: tuple[Suspect, ...]
    sync: SyncStats | None
    previous: Mapping[str, Any]
    """The status that the resource has now."""
    now: datetime
    delayed: bool = False
    """Whether a dead robot is given time to come back."""

    @property
    def serving(self) -> tuple[RobotView, ...]:
        """Robots that serve."""
        return tuple(robot for robot in self.robots if robot.serves) if self.memory else ()

    @property
    def standing_by(self) -> tuple[RobotView, ...]:
        """Warm standbys."""
        return tuple(robot for robot in self.robots if robot.stands_by) if self.memory else ()

    @property
    def all_well(self) -> bool:
        """Whether every declared robot does its duty, in the declared number of roles, and nothing is left to write."""
        return (
            self.memory is not None
            and all(robot.well for robot in self.robots)
            and len(self.serving) == self.active_declared
            and not self.problems
            and not self.pending
        )

    @property
    def was_up(self) -> bool:
        """Whether the group has served since it was made or resumed."""
        return self.previous.get("phase") not in (None, Phase.PENDING, Phase.SUSPENDED)


def choose_pod(pods: Sequence[RobotPod], known: RobotStatus | None) -> RobotPod | None:
    """The pod to show for a robot: the one that its presence comes from, else a running one, else the newest named."""
    if not pods:
        return None
    endpoint = known.endpoint if known is not None else ""

    def rank(pod: RobotPod) -> tuple[bool, bool, bool, bool]:
        return (bool(pod.ip) and f"//{pod.ip}:" in endpoint and pod.running, pod.running, not pod.deleting, pod.ready)

    return max(pods, key=rank)
