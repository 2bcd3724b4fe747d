"""What becomes of a group's roles, by the book: a pure model of the SQL functions that change them (docs/failover.md).

A robot is its role and how it is present. All have applied the same revision and nobody has failed lately, so that the
declared order decides who is promoted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial


class Presence(StrEnum):
    """How a robot is present. DEAD: its presence is recorded, its session has ended."""

    ABSENT = "absent"
    DEAD = "dead"
    COLD = "cold"
    WARM = "warm"


ACTIVE, PASSIVE, FAILED = "active", "passive", "failed"
LIVE = (Presence.COLD, Presence.WARM)


@dataclass(frozen=True)
class Robot:
    """One robot."""

    role: str
    presence: Presence

    @property
    def live(self) -> bool:
        return self.presence in LIVE


@dataclass(frozen=True)
class State:
    """A group, its robots in declared order; `target` is how many are to be active."""

    robots: tuple[Robot, ...]
    target: int

    @property
    def active(self) -> int:
        return sum(robot.role == ACTIVE for robot in self.robots)

    def put(self, changes: Mapping[int, Robot]) -> "State":
        return replace(self, robots=tuple(changes.get(i, robot) for i, robot in enumerate(self.robots)))

    def candidate(self, but: int | None = None) -> int | None:
        """Who would be promoted."""
        warm = Robot(PASSIVE, Presence.WARM)
        return next((i for i, robot in enumerate(self.robots) if robot == warm and i != but), None)


@dataclass(frozen=True)
class Step:
    """What an event leads to: `answer` is what the function says, `epochs` and `rows` how many epochs and failovers."""

    state: State
    answer: str
    epochs: int = 0
    rows: int = 0


def _replaced(state: State, i: int, old: Robot) -> tuple[State, int | None]:
    """The state after `i` became `old` and a candidate took its place, and who that is."""
    heir = state.candidate(i)
    changes = {i: old} if heir is None else {i: old, heir: Robot(ACTIVE, Presence.WARM)}
    return state.put(changes), heir


def declare(state: State, i: int, *, hung: bool) -> Step:
    """It is declared failed; `hung`: its counter was seen to stand still."""
    robot = state.robots[i]
    if robot.role == FAILED:
        return Step(state, "stale")
    if robot.live and not hung:
        return Step(state, "alive")
    gone = Robot(FAILED, Presence.ABSENT)
    if robot.role == PASSIVE:
        return Step(state.put({i: gone}), "failed", 1)
    after, heir = _replaced(state, i, gone)
    return Step(after, "vacant", 1) if heir is None else Step(after, "promoted", 1, 1)


def register(state: State, i: int, *, same: bool) -> Step:
    """It registers: the `same` process again, or a new one that pushes the old one aside."""
    robot = state.robots[i]
    known = robot.presence is not Presence.ABSENT
    warm = same and robot.presence in (Presence.WARM, Presence.DEAD)  # who is dead was warm
    here = Presence.WARM if warm else Presence.COLD
    if robot.role == FAILED:
        role = ACTIVE if state.active < state.target else PASSIVE
        return Step(state.put({i: Robot(role, here)}), role, 1)
    if robot.role == PASSIVE or same:
        return Step(state.put({i: Robot(robot.role, here)}), robot.role)
    if known and state.candidate(i) is not None:
        after, _ = _replaced(state, i, Robot(PASSIVE, here))
        return Step(after, PASSIVE, 1, 1)
    return Step(state.put({i: Robot(ACTIVE, here)}), ACTIVE, 1)


def hand_over(state: State, i: int) -> Step:
    """It is about to stop."""
    robot = state.robots[i]
    if robot.presence is Presence.ABSENT:
        return Step(state, "nobody")
    here = Presence.COLD if robot.presence is Presence.WARM else robot.presence
    leaving = state.put({i: Robot(robot.role, here)})
    if robot.role != ACTIVE or state.candidate(i) is None:
        return Step(leaving, "nobody")
    after, heir = _replaced(leaving, i, Robot(PASSIVE, here))
    return Step(after, str(heir), 1, 1)


def failover(state: State, i: int | None) -> Step:
    """A person asks for it."""
    actives = [n for n, robot in enumerate(state.robots) if robot.role == ACTIVE and i in (None, n)]
    if not actives:
        return Step(state, "RG010" if i is None else "RG012")
    victim = min(actives, key=lambda n: state.robots[n].live)
    after, heir = _replaced(state, victim, Robot(FAILED, Presence.ABSENT))
    return Step(state, "RG004") if heir is None else Step(after, str(heir), 1, 1)


def switchover(state: State, source: int | None, target: int | None) -> Step:
    """A person asks for it; the answer is who was promoted."""
    if target is not None and state.robots[target].role == ACTIVE:
        return Step(state, "RG012")
    actives = [n for n, robot in enumerate(state.robots) if robot.role == ACTIVE and source in (None, n)]
    if not actives:
        return Step(state, "RG010" if source is None else "RG012")
    heir = state.candidate() if target is None else target
    if heir is None:
        return Step(state, "RG004")
    if state.robots[heir].role != PASSIVE:
        return Step(state, "RG012")
    if state.robots[heir].presence is not Presence.WARM:
        return Step(state, "RG013")
    replaced = Robot(PASSIVE, state.robots[actives[0]].presence)
    return Step(state.put({actives[0]: replaced, heir: Robot(ACTIVE, Presence.WARM)}), str(heir), 1, 1)


def promote(state: State, i: int) -> Step:
    """A person adds an active robot."""
    if state.robots[i].role != PASSIVE:
        return Step(state, "RG012")
    if state.robots[i].presence is not Presence.WARM:
        return Step(state, "RG013")
    return Step(replace(state.put({i: Robot(ACTIVE, Presence.WARM)}), target=state.target + 1), "done", 1)


def demote(state: State, i: int) -> Step:
    """A person takes an active robot away."""
    if state.robots[i].role != ACTIVE:
        return Step(state, "RG012")
    if state.active == 1:
        return Step(state, "RG005")
    passive = Robot(PASSIVE, state.robots[i].presence)
    return Step(replace(state.put({i: passive}), target=max(state.target - 1, 1)), "done", 1)


def withdraw(state: State, i: int) -> Step:
    """It ends cleanly."""
    robot = state.robots[i]
    return Step(state.put({i: Robot(robot.role, Presence.ABSENT)}), str(robot.presence is not Presence.ABSENT).lower())


def beat(state: State, i: int, *, warm: bool) -> Step:
    """A heartbeat; a warm passive one finds vacancies, and all of them are filled."""
    robot = state.robots[i]
    if not robot.live:
        return Step(state, "false")
    after = state.put({i: Robot(robot.role, Presence.WARM if warm else Presence.COLD)})
    if robot.role != PASSIVE or not warm:
        return Step(after, "true")
    filled = 0
    while after.active < after.target and (heir := after.candidate()) is not None:
        after = after.put({heir: Robot(ACTIVE, Presence.WARM)})
        filled += 1
    failed = sum(robot.role == FAILED for robot in after.robots)
    return Step(after, "true", filled, min(filled, failed))


Event = tuple[str, Callable[[State], Step]]


def events(state: State) -> list[Event]:
    """Everything that can happen in a state, as (name, model); the name's last word is the robot's number, or none."""
    found: list[Event] = [
        ("failover", partial(failover, i=None)),
        ("switch-from", partial(switchover, source=None, target=None)),
    ]
    for i, robot in enumerate(state.robots):
        found += [
            (f"declare {i}", partial(declare, i=i, hung=False)),
            (f"register-new {i}", partial(register, i=i, same=False)),
            (f"register-same {i}", partial(register, i=i, same=True)),
            (f"hand-over {i}", partial(hand_over, i=i)),
            (f"failover {i}", partial(failover, i=i)),
            (f"switch-from {i}", partial(switchover, source=i, target=None)),
            (f"switch-to {i}", partial(switchover, source=None, target=i)),
            (f"promote {i}", partial(promote, i=i)),
            (f"demote {i}", partial(demote, i=i)),
            (f"withdraw {i}", partial(withdraw, i=i)),
            (f"beat-warm {i}", partial(beat, i=i, warm=True)),
            (f"beat-cold {i}", partial(beat, i=i, warm=False)),
        ]
        if robot.live:
            found.append((f"declare-hung {i}", partial(declare, i=i, hung=True)))
    return found
