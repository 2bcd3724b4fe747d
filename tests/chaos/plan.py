"""Which faults, in which order, at which robots: a pure function of the seed."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SLOW = 0.3  # of a small number of faults, so many are slow
MIXED = 0.15  # how many of the steps are two or three quick faults at once
MOST_AT_ONCE = 3
APART_S = 1.5
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 1.5


@dataclass(frozen=True)
class Weight:
    """How often a kind of fault is chosen; of the slow ones only a few are."""

    weight: float
    slow: bool = False


@dataclass(frozen=True)
class Choice:
    """One fault. `role`: of the robot that it prefers; `which` and `size`: 0.0 to 1.0, among what there is then."""

    kind: str
    role: str
    which: float
    size: float
    delay: float = 0.0
    """Seconds after the step's begin."""


@dataclass(frozen=True)
class Step:
    """One fault, or some at once; then the group recovers, and `pause` seconds pass."""

    choices: tuple[Choice, ...]
    pause: float


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    active: int
    """How many robots are active; two more are passive."""
    steps: tuple[Step, ...]

    def has(self, kind: str) -> bool:
        """Whether there is a fault of this kind."""
        return any(choice.kind == kind for step in self.steps for choice in step.choices)


def make(seed: int, count: int, weights: Mapping[str, Weight], most_slow: int) -> Plan:
    """So many faults, at most `most_slow` of them slow. Where there are enough, each kind is there."""
    dice = random.Random(seed)
    kinds = _kinds(dice, count, weights, most_slow)
    steps = tuple(_steps(dice, kinds, weights))
    return Plan(dice.choice((1, 2)), steps)


def _kinds(dice: random.Random, count: int, weights: Mapping[str, Weight], most_slow: int) -> list[str]:
    quick = {kind: weight.weight for kind, weight in weights.items() if not weight.slow}
    slow = {kind: weight.weight for kind, weight in weights.items() if weight.slow}
    number = min(most_slow, count if not quick else round(count * SLOW) if slow else 0)
    count = number if not quick else count
    chosen = _each_then_any(dice, slow, number) + _each_then_any(dice, quick, count - number)
    dice.shuffle(chosen)
    return chosen


def _each_then_any(dice: random.Random, weights: Mapping[str, float], count: int) -> list[str]:
    kinds = sorted(weights)
    first = dice.sample(kinds, min(count, len(kinds)))
    if count == len(first):
        return first
    return first + dice.choices(kinds, [weights[kind] for kind in kinds], k=count - len(first))


def _steps(dice: random.Random, kinds: list[str], weights: Mapping[str, Weight]) -> Iterator[Step]:
    waiting = list(kinds)
    while waiting:
        choices = [_choice(dice, waiting.pop(0), 0.0)]
        mixed = dice.random() < MIXED and not weights[choices[0].kind].slow
        wanted = dice.randint(2, MOST_AT_ONCE) if mixed else 1
        while len(choices) < wanted and waiting and not weights[waiting[0]].slow:
            choices.append(_choice(dice, waiting.pop(0), round(dice.uniform(0, APART_S), 3)))
        pause = dice.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        yield Step(tuple(sorted(choices, key=lambda choice: choice.delay)), round(pause, 3))


def _choice(dice: random.Random, kind: str, delay: float) -> Choice:
    role = dice.choices(("active", "passive", "any"), (0.7, 0.15, 0.15))[0]
    return Choice(kind, role, round(dice.random(), 6), round(dice.random(), 6), delay)
