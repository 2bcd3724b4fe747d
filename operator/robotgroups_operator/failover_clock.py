"""How long a failover takes, as far as the operator can tell truly: no clock is compared with another one.

The time from detection to promotion is Postgres' own. What follows is counted on this process' monotonic clock, from
the moment in which it learnt of the promotion.
"""

from robotgroups.models import Failover, GroupStatus
from robotgroups_operator.metrics import FAILOVER_SECONDS


class FailoverClock:
    """Of one group. `now` is of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._kind = ""
        self._learnt_at = 0.0
        self._awaited: set[str] = set()

    def look(self, status: GroupStatus, now: float) -> None:
        """Takes in a status; what had happened before the first one is not counted."""
        newest = status.last_failover
        number = newest.id if newest else 0
        if self._last is not None and newest is not None and number > self._last:
            self._begin(newest, now)
        self._last = number

    def _begin(self, failover: Failover, now: float) -> None:
        self._kind, self._learnt_at = failover.kind, now
        self._awaited = {"relabel", "status"}
        FAILOVER_SECONDS.labels(kind=failover.kind, phase="promote").observe(failover.duration_ms / 1000)

    def reached(self, phase: str, now: float) -> None:
        """`relabel`: every label is as Postgres has the roles; `status`: the resource tells of it. Counts once."""
        if phase in self._awaited:
            self._awaited.discard(phase)
            FAILOVER_SECONDS.labels(kind=self._kind, phase=phase).observe(now - self._learnt_at)
