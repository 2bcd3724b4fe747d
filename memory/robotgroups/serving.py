"""May this robot serve now? A pure decision: what it knows of itself, and the time on its own monotonic clock.

Self-fencing (design §3): observers declare a robot failed when its heartbeat's counter has stood still for a lease on
*their* clocks. They cannot have begun to count before the last beat was sent; so who stops one heartbeat before its own
lease is over has stopped before anybody can replace it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Serving:
    """Whether a robot may serve, and why not."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a robot knows of itself.

    Times are seconds of its monotonic clock; ``renewed_at`` is when the last acknowledged beat was *sent*.
    """

    registered: bool
    warm: bool
    renewed_at: float
    lease_s: float
    heartbeat_s: float
    trouble: str = ""


def may_serve(standing: Standing, now: float) -> Serving:
    """Decide whether a robot may serve at ``now`` (seconds, monotonic)."""
    if not standing.registered:
        return Serving(False, standing.trouble or "it has not registered yet")
    age = now - standing.renewed_at
    limit = standing.lease_s - standing.heartbeat_s
    if age >= limit:
        why = f": {standing.trouble}" if standing.trouble else ""
        return Serving(False, f"its heartbeat was last renewed {age:.1f} s ago, it stops after {limit:.1f} s{why}")
    if not standing.warm:
        return Serving(False, "its cache has not caught up with the group yet")
    return Serving(True)
