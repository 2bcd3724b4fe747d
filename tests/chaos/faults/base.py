"""What a fault is: who it may make fail, how it is done, and how it is undone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from tests.chaos.ground import Ground, chosen
from tests.chaos.plan import Choice

LEASE_S = 3.0


@dataclass(frozen=True)
class Effect:
    """What a fault is going to do. `failing`, `handing_over`: robots for which a promotion is right, each once."""

    detail: str
    failing: tuple[str, ...] = ()
    handing_over: tuple[str, ...] = ()


class Fault(ABC):
    """One fault on a ground. `aim`, then `inject`, then after `hold_s` seconds `heal`. All raise ClusterError."""

    kind: ClassVar[str]
    weight: ClassVar[float] = 1.0
    slow: ClassVar[bool] = False
    limit_s: ClassVar[float] = 120.0
    """How long after `heal` the group may take until it is Ready."""

    def __init__(self, ground: Ground, choice: Choice) -> None:
        self.ground = ground
        self.choice = choice

    @property
    def hold_s(self) -> float:
        """How long it lasts, in seconds."""
        return 0.0

    @abstractmethod
    def aim(self) -> Effect:
        """Chooses what to hit; nothing is done yet."""

    @abstractmethod
    def inject(self) -> None:
        """Does it."""

    def heal(self) -> None:
        """Undoes it, where the cluster does not by itself; safe to call twice, and after an `inject` that failed."""
        return

    def between(self, least: float, most: float) -> float:
        """A number that the plan has chosen."""
        return least + (most - least) * self.choice.size


class RobotFault(Fault):
    """A fault of one robot, which is chosen by its role."""

    robot: str

    @override
    def aim(self) -> Effect:
        roles = self.ground.roles()
        wanted = [name for name, role in roles.items() if self.choice.role in ("any", role)]
        self.robot = chosen(wanted or sorted(roles), self.choice.which)
        return self.effect(f"{self.robot} ({roles[self.robot]})")

    def effect(self, detail: str) -> Effect:
        """By default, that robot fails."""
        return Effect(detail, failing=(self.robot,))
