"""When a robot does what in the background: decided of plain data and the time. ``background`` carries it out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from robotgroups.errors import ModelFailure

# How often a robot looks for work of which nobody told it.
POLL_S = 5.0
# After it has looked it waits so long before it looks again: what is remembered meanwhile is done together.
GATHER_S = 0.1
# A chore that found nothing to do, although something was due, rests: somebody else is at it.
OTHERS_S = 1.0
# A text that has failed so often is asked for by itself; a change of model does without what was refused as often
# (is_embedded in sql/0012_jobs.sql).
SUSPECT_FROM = 3
# What one text can bring on as well as an endpoint that is away.
_TEXT_OR_ENDPOINT = {
    ModelFailure.SERVER_ERROR,
    ModelFailure.MALFORMED_ANSWER,
    ModelFailure.TIMEOUT,
    ModelFailure.UNREACHABLE,
}


class Trouble(Enum):
    """Why a chore has stopped before its work was done."""

    MODEL_AWAY = auto()
    """The endpoint is away, busy or answers nonsense."""
    SETTINGS = auto()
    """Nothing can be done until settings or a key are put right."""
    DATABASE = auto()
    """Postgres is away."""
    UNEXPECTED = auto()
    """A mistake of ours."""


# The first pause and the longest, in seconds; each is twice the one before. Settings that change end it.
_PAUSES: dict[Trouble, tuple[float, float]] = {
    Trouble.MODEL_AWAY: (1.0, 60.0),
    Trouble.SETTINGS: (10.0, 60.0),
    Trouble.DATABASE: (0.25, 5.0),
    Trouble.UNEXPECTED: (5.0, 60.0),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a chore stands: ``failures`` in a row, and until when it rests (seconds, monotonic)."""

    running: bool = False
    failures: int = 0
    rests_until: float = -math.inf


@dataclass(frozen=True, slots=True)
class Plan:
    """Which chores begin now, and when to look again at the latest (seconds, monotonic)."""

    start: tuple[str, ...]
    look_at: float


def plan(due: Mapping[str, bool], standing: Mapping[str, Standing], now: float) -> Plan:
    """Decide what begins: every chore that has work due, is not at it and does not rest."""
    waiting = {name: standing[name] for name, has_work in due.items() if has_work and not standing[name].running}
    start = tuple(name for name, state in waiting.items() if state.rests_until <= now)
    ends = [state.rests_until for state in waiting.values() if state.rests_until > now]
    return Plan(start, min([now + POLL_S, *ends]))


def finished(done: int, now: float) -> Standing:
    """How a chore stands that went well and did so many jobs."""
    return Standing() if done else Standing(rests_until=now + OTHERS_S)


def failed(standing: Standing, trouble: Trouble, now: float, *, wanted_s: float = 0.0, luck: float) -> Standing:
    """How a chore stands that has failed.

    ``wanted_s`` is how long an endpoint wants to be left alone; ``luck`` of 0..1 spreads the robots of a group: they
    come back after three quarters of the pause to all of it.
    """
    first, longest = _PAUSES[trouble]
    pause = min(first * 2.0 ** min(standing.failures, 32), longest) * (0.75 + 0.25 * luck)
    return Standing(failures=standing.failures + 1, rests_until=now + max(pause, wanted_s))


def batch(most: int, last: int, *, failed: bool) -> int:
    """How many jobs to take at a time, after ``last`` at a time went well or failed.

    One text can make an endpoint fail with all that it is sent: a quarter after a failure finds it, twice as many after
    a success is soon back at ``most``.
    """
    return max(last // 4, 1) if failed else min(2 * last, most)


def suspect(jobs: int, attempts: int) -> bool:
    """Whether a text may be what makes the endpoint fail: it is alone at last, and has failed before.

    Then another text goes first: what fails right behind one that went well is ``blamed``.
    """
    return jobs == 1 and attempts >= SUSPECT_FROM


def blamed(reason: ModelFailure) -> bool:
    """Whether a suspect's failure is its own, the endpoint having answered for another text a moment before."""
    return reason in _TEXT_OR_ENDPOINT
