"""Watches one group for deaths and declares them: evidence, heartbeats, retries. `deaths` decides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from robotgroups.detection import LeaseWatch
from robotgroups.models import GroupStatus, Outcome, RobotStatus, Role, Verdict
from robotgroups.store import Store
from robotgroups_operator.deaths import Host, Pods, Suspect, find_suspects, is_present, lease_suspect, remember_hosts
from robotgroups_operator.metrics import DECLARED

log = structlog.get_logger(__name__)

DETECTED_BY = "operator"
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class _Attempt:
    incarnation: UUID | None
    heartbeat: int
    delay: float
    due: float


class FailureDetector:
    """Remembers which incarnation runs in which container, since when robots are away, and when to try again."""

    def __init__(self, absence_seconds: float) -> None:
        self._absence_seconds = absence_seconds
        self._hosts: dict[str, Host] = {}
        self._away_since: dict[str, float] = {}
        self._attempts: dict[str, _Attempt] = {}
        self._leases = LeaseWatch()
        self.suspects: tuple[Suspect, ...] = ()

    def interrupted(self) -> None:
        """Postgres was away: nobody could be seen, so nobody was missed. Clocks begin again."""
        self._away_since.clear()
        self._leases.forget()
        self._attempts.clear()
        self.suspects = ()

    def look(self, status: GroupStatus, pods: Pods, now: float) -> tuple[Suspect, ...]:
        """The robots that are held to be dead. `now` is of a monotonic clock, in seconds."""
        refuted = {robot.name for robot in status.robots if self._beats_on(robot)}
        known = {name: host for name, host in self._hosts.items() if name not in refuted}
        self._hosts = remember_hosts(known, status, pods)
        away = {robot.name for robot in status.robots if robot.role is Role.ACTIVE and not is_present(robot)}
        self._away_since = {name: self._away_since.get(name, now) for name in away}
        absent = frozenset(name for name, since in self._away_since.items() if now - since >= self._absence_seconds)
        suspects = find_suspects(status, pods, self._hosts, absent)
        names = {suspect.robot for suspect in suspects}
        if not status.suspended:
            suspects += [suspect for suspect in self._expired(status, now) if suspect.robot not in names]
            names = {suspect.robot for suspect in suspects}
        self.suspects = tuple(suspects)
        self._attempts = {name: attempt for name, attempt in self._attempts.items() if name in names}
        return self.suspects

    def _expired(self, status: GroupStatus, now: float) -> list[Suspect]:
        """The robots whose heartbeat stood still for a lease, while this observer looked on."""
        standing = [robot for robot in status.robots if robot.role is not Role.FAILED]
        expired = self._leases.look(standing, lease_s=status.lease_ms / 1000, now=now)
        return [lease_suspect(found) for found in expired]

    def _beats_on(self, robot: RobotStatus) -> bool:
        """Whether a robot has beaten since it was declared failed: what is held of its container is wrong."""
        attempt = self._attempts.get(robot.name)
        # one beat may have been on its way
        return (
            attempt is not None
            and attempt.incarnation == robot.incarnation
            and robot.live
            and robot.heartbeat > attempt.heartbeat + 1
        )

    def due(self, status: GroupStatus, suspects: Sequence[Suspect], now: float) -> list[Suspect]:
        """Those that are to be declared now: new ones, and refused ones after their delay."""
        found = []
        beats = {robot.name: robot.heartbeat for robot in status.robots}
        for suspect in suspects:
            attempt = self._attempts.get(suspect.robot)
            if attempt is not None and attempt.incarnation == suspect.incarnation:
                if now < attempt.due:
                    continue
                delay = min(attempt.delay * 2, LAST_RETRY_SECONDS)
            else:
                delay = FIRST_RETRY_SECONDS
            self._attempts[suspect.robot] = _Attempt(suspect.incarnation, beats[suspect.robot], delay, now + delay)
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
            if verdict.outcome in (Outcome.ALIVE, Outcome.GRACE, Outcome.DELAYED):
                delay = self._put_off(suspect.robot, verdict)
                retry = delay if retry is None else min(retry, delay)
        return retry

    def _put_off(self, robot: str, verdict: Verdict) -> float:
        """In how many seconds to say it again: when Postgres may agree, or what is known may have changed."""
        attempt = self._attempts[robot]
        if verdict.retry_ms is None:
            return attempt.delay
        delay = min(verdict.retry_ms / 1000, LAST_RETRY_SECONDS)
        self._attempts[robot] = replace(attempt, due=attempt.due - attempt.delay + delay)
        return delay
