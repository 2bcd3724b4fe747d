"""Watching leases, without clocks or I/O: whose heartbeat's counter has stood still for a lease?

The clock is the observer's own monotonic one. No clock is compared with another's: only how long *this* observer has
seen the same counter counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from robotgroups.models import RobotStatus, Role

NOBODYS = 0  # the counter of a robot that is not present: to register is its first beat


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

    def observe(self, robots: Iterable[RobotStatus], *, lease_s: float, now: float) -> list[Expired]:
        """Take in one reading (``now``: seconds, monotonic) and return the leases that have run out.

        Robots that are failed already, or that are not present, have no lease. A lease that was made shorter counts
        from now: its robots have yet to hear of it.
        """
        if lease_s < self._lease_s:
            self.forget()
        self._lease_s = lease_s
        fresh: dict[str, _Seen] = {}
        expired = []
        for robot in robots:
            if robot.incarnation is None or robot.role is Role.FAILED or robot.heartbeat == NOBODYS:
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

    def forget(self) -> None:
        """Start anew: after a gap in the observer's own reading nothing has been seen to stand still."""
        self._seen = {}
