"""Whom a robot holds to be dead, and when it says so: without clocks or I/O.

A doorbell that broke proves nothing: Postgres looks for itself. The kernel closes all that a dead process held within
moments, so Postgres is asked again for a while when it still sees the dead one's session; then the doorbell is taken to
have broken by itself, and the lease is left to find out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from robotgroups.detection import Expired
from robotgroups.models import Outcome, Peer

# A backend sees the end of its client, and lets go of its lock, in 1 to 3 ms on an idle machine.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.1
RINGS_FOR_S = 1.0
# Who cannot be declared now (too early, switched off): asked again with some heartbeat.
LATER_S = 0.5


@dataclass(frozen=True, slots=True)
class Suspect:
    """Who is to be declared failed, and why; ``heartbeat``: the counter that stood still, None after a ring.

    ``since``: when that was noticed (seconds, monotonic).
    """

    robot: str
    incarnation: UUID
    heartbeat: int | None
    reason: str
    since: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class _Case:
    suspect: Suspect
    due: float
    pause: float
    until: float


class Suspects:
    """The suspects of one robot. All times are seconds of its monotonic clock."""

    def __init__(self) -> None:
        self._cases: dict[str, _Case] = {}

    def rang(self, peer: Peer, *, held: bool, now: float) -> None:
        """A doorbell fell silent that was ``held``, or else could not be reached: that is said once."""
        suspect = Suspect(peer.name, peer.incarnation, None, "its doorbell fell silent", now)
        known = self._cases.get(peer.name)
        if known is None or known.suspect.incarnation != peer.incarnation:
            self._cases[peer.name] = _Case(suspect, now, FIRST_PAUSE_S, now + (RINGS_FOR_S if held else 0.0))

    def expired(self, leases: Iterable[Expired], now: float) -> None:
        """These leases have run out, by the newest reading. Those of the reading before are forgotten."""
        found = {lease.robot: lease for lease in leases}
        for name, case in list(self._cases.items()):
            if case.suspect.heartbeat is not None and name not in found:
                del self._cases[name]
        for name, lease in found.items():
            seen = "its heartbeat stood still" if lease.heartbeat > 0 else "it has not been seen"
            reason = f"{seen} for {lease.stood_still_s:.1f} s"
            known = self._cases.get(name)
            since = known.suspect.since if known else now
            suspect = Suspect(name, lease.incarnation, lease.heartbeat, reason, since)
            if known is None or known.suspect.heartbeat is None:
                self._cases[name] = _Case(suspect, now, FIRST_PAUSE_S, math.inf)
            else:
                self._cases[name] = replace(known, suspect=suspect)

    def due(self, now: float) -> list[Suspect]:
        """Whom to declare now, by name."""
        return [case.suspect for _, case in sorted(self._cases.items()) if case.due <= now]

    def answered(self, suspect: Suspect, outcome: Outcome | None, now: float, *, retry_s: float | None = None) -> bool:
        """Take note of what Postgres said (None: it could not say); whether the matter is settled.

        ``retry_s``: in how many seconds the answer may be another one.
        """
        case = self._cases.get(suspect.robot)
        if case is None or case.suspect != suspect:
            return True
        if outcome in (Outcome.PROMOTED, Outcome.VACANT, Outcome.FAILED, Outcome.STALE):
            del self._cases[suspect.robot]
            return True
        if outcome in (Outcome.MANUAL, Outcome.SUSPENDED) and suspect.heartbeat is None:
            del self._cases[suspect.robot]  # nobody looked whether it lives: its lease tells
            return True
        if outcome in (None, Outcome.ALIVE):
            if now >= case.until:
                del self._cases[suspect.robot]
                return True
            self._cases[suspect.robot] = replace(case, due=now + case.pause, pause=min(2 * case.pause, LONGEST_PAUSE_S))
            return False
        self._cases[suspect.robot] = replace(case, due=now + (LATER_S if retry_s is None else retry_s))
        return False

    def keep(self, present: Iterable[Peer]) -> None:
        """Forget those that are present no more, or are there anew."""
        here = {peer.name: peer.incarnation for peer in present}
        self._cases = {n: c for n, c in self._cases.items() if here.get(n) == c.suspect.incarnation}

    @property
    def next_due(self) -> float:
        """When the next one is to be declared; infinite when there is none."""
        return min((case.due for case in self._cases.values()), default=math.inf)
