"""Watching leases, without clocks or I/O: whose heartbeat's counter has stood still for a lease?

The clock is the observer's own monotonic one. No clock is compared with another's: only how long *this* observer has
seen the same counter counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

NOBODYS = 0  # the counter of a robot that is not present: to register is its first beat


class Beating(Protocol):
    """A robot as an observer reads it; ``incarnation`` None: it is not present."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def incarnation(self) -> UUID | None:
        """Its process."""

    @property
    def heartbeat(self) -> int:
        """Its counter."""


@dataclass(frozen=True, slots=True)
class Expired:
    """A lease that has run out: what ``declare_failed`` wants to know, and how long the counter stood still."""

    robot: str
    incarnation: UUID
    heartbeat: int
    stood_still_s: float


@dataclass(frozen=True, slots=True)
class _Seen:
    incarnation: UUID | None
    heartbeat: int
    since: float


class LeaseWatch:
    """What one observer has seen of one group's heartbeats."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._lease_s = math.inf
        self._looked_at = -math.inf

    def look(self, robots: Iterable[Beating], *, lease_s: float, now: float) -> list[Expired]:
        """Observe, as who looks often: after half a lease without a look the observer slept, and has seen nothing."""
        if now - self._looked_at > lease_s / 2:
            self.forget()
        self._looked_at = now
        return self.observe(robots, lease_s=lease_s, now=now)

    def observe(self, robots: Iterable[Beating], *, lease_s: float, now: float) -> list[Expired]:
        """Take in one reading (``now``: seconds, monotonic) and return the leases that have run out.

        Robots that are not present have no lease; those that are failed already are not to be given. A lease that was
        made shorter counts from now: its robots have yet to hear of it.
        """
        if lease_s < self._lease_s:
            self.forget()
        self._lease_s = lease_s
        fresh: dict[str, _Seen] = {}
        expired = []
        for robot in robots:
            if robot.incarnation is None or robot.heartbeat == NOBODYS:
                continue
            before = self._seen.get(robot.name)
            if before and (before.incarnation, before.heartbeat) == (robot.incarnation, robot.heartbeat):
                fresh[robot.name] = before
                if now - before.since >= lease_s:
                    expired.append(Expired(robot.name, robot.incarnation, robot.heartbeat, now - before.since))
            else:
                fresh[robot.name] = _Seen(robot.incarnation, robot.heartbeat, now)
        self._seen = fresh
        return expired

    def moved_at(self, robot: str, incarnation: UUID) -> float | None:
        """When a robot's counter was first seen where it stands (seconds, monotonic): it lived until then at least."""
        seen = self._seen.get(robot)
        return seen.since if seen is not None and seen.incarnation == incarnation else None

    @property
    def next_expiry(self) -> float:
        """When the next lease runs out (seconds, monotonic) unless there is a beat; infinite when nobody is watched."""
        return min((seen.since for seen in self._seen.values()), default=math.inf) + self._lease_s

    def forget(self) -> None:
        """Start anew: after a gap in the observer's own reading nothing has been seen to stand still."""
        self._seen = {}
