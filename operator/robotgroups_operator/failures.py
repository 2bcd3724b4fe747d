"""Watches one group for deaths and declares them: evidence, heartbeats, retries. `deaths` decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from robotgroups.models import GroupStatus, Outcome, Role
from robotgroups.store import Store
from robotgroups_operator.deaths import Evidence, Host, Pods, Suspect, find_suspects, is_present, remember_hosts
from robotgroups_operator.metrics import DECLARED

log = structlog.get_logger(__name__)

DETECTED_BY = "operator"
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class _Attempt:
    incarnation: UUID | None
    delay: float
    due: float


class FailureDetector:
    """Remembers which incarnation runs in which container, since when robots are away, and when to try again."""

    def __init__(self, absence_seconds: float) -> None:
        self._absence_seconds = absence_seconds
        self._hosts: dict[str, Host] = {}
        self._away_since: dict[str, float] = {}
        self._attempts: dict[str, _Attempt] = {}
        self.suspects: tuple[Suspect, ...] = ()

    def interrupted(self) -> None:
        """Postgres was away: nobody could be seen, so nobody was missed. Clocks begin again."""
        self._away_since.clear()
        self._attempts.clear()
        self.suspects = ()

    def look(self, status: GroupStatus, pods: Pods, now: float) -> tuple[Suspect, ...]:
        """The robots that are held to be dead. `now` is of a monotonic clock, in seconds."""
        self._hosts = remember_hosts(self._hosts, status, pods)
        away = {robot.name for robot in status.robots if robot.role is Role.ACTIVE and not is_present(robot)}
        self._away_since = {name: self._away_since.get(name, now) for name in away}
        absent = frozenset(name for name, since in self._away_since.items() if now - since >= self._absence_seconds)
        self.suspects = tuple(find_suspects(status, pods, self._hosts, absent))
        names = {suspect.robot for suspect in self.suspects}
        self._attempts = {name: attempt for name, attempt in self._attempts.items() if name in names}
        return self.suspects

    def due(self, suspects: Sequence[Suspect], now: float) -> list[Suspect]:
        """Those that are to be declared now: new ones, and refused ones after their delay."""
        found = []
        for suspect in suspects:
            attempt = self._attempts.get(suspect.robot)
            if attempt is not None and attempt.incarnation == suspect.incarnation:
                if now < attempt.due:
                    continue
                delay = min(attempt.delay * 2, LAST_RETRY_SECONDS)
            else:
                delay = FIRST_RETRY_SECONDS
            self._attempts[suspect.robot] = _Attempt(suspect.incarnation, delay, now + delay)
            found.append(suspect)
        return found

    async def declare(self, store: Store, group_id: int, suspects: Sequence[Suspect]) -> float | None:
        """Declares them; returns in how many seconds to try again, None when all is settled. RobotGroupsError."""
        retry: float | None = None
        for suspect in suspects:
            verdict = await store.declare_failed(
                group_id,
                suspect.robot,
                suspect.incarnation,
                observed_heartbeat=suspect.observed_heartbeat,
                reason=suspect.reason,
                detected_by=DETECTED_BY,
            )
            DECLARED.labels(outcome=str(verdict.outcome)).inc()
            log.info(
                "declared failed",
                group_id=group_id,
                robot=suspect.robot,
                evidence=str(suspect.evidence),
                because=suspect.reason,
                outcome=str(verdict.outcome),
                promoted=verdict.promoted,
                epoch=verdict.epoch,
                answer=verdict.reason,
            )
            if verdict.outcome in (Outcome.ALIVE, Outcome.GRACE):
                delay = self._attempts[suspect.robot].delay
                retry = delay if retry is None else min(retry, delay)
        return retry


def lease_suspect(robot: str, incarnation: UUID, heartbeat: int, lease_ms: int, pods: tuple[str, ...]) -> Suspect:
    """A robot whose heartbeat's counter stood still for a lease."""
    reason = f"its heartbeat stood still for {lease_ms} ms"
    return Suspect(robot, incarnation, Evidence.LEASE_EXPIRED, reason, heartbeat, pods)
