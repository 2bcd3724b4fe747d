"""Who leaves a full working set first: the same choice as ``least_valuable`` in sql/, in Python. Pure.

Postgres decides, once for all robots: its evictions are events that every cache applies. This is the definition that
a test holds it to, and what a person can ask beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from robotgroups.models import Eviction

HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Place:
    """A memory's place in the working set, as far as eviction goes by it."""

    memory_id: int
    tokens: int
    added_at: datetime
    last_accessed_at: datetime
    access_count: int = 0
    pinned: bool = False


def balanced_value(access_count: int, last_accessed_at: datetime, now: datetime) -> float:
    """HTM's value of a memory with its sign right: accesses count, and what was just used is worth most.

    ln(1 + accesses) + 1 / (1 + hours since the last access)
    """
    seconds = max((now - last_accessed_at).total_seconds(), 0.0)
    return math.log(1 + access_count) + HOUR_S / (HOUR_S + seconds)


def order(place: Place, policy: Eviction, now: datetime) -> tuple[float, float, int]:
    """Sort key of a place: the lowest leaves first, of equal ones the older memory."""
    accessed = place.last_accessed_at.timestamp()
    match policy:
        case Eviction.BALANCED:
            return balanced_value(place.access_count, place.last_accessed_at, now), 0, place.memory_id
        case Eviction.LRU:
            return accessed, 0, place.memory_id
        case Eviction.LFU:
            return place.access_count, accessed, place.memory_id
        case Eviction.FIFO:
            return place.added_at.timestamp(), 0, place.memory_id


def least_valuable(
    places: Iterable[Place], policy: Eviction, need: int, now: datetime, spare: Collection[int] = ()
) -> list[int]:
    """Ids of the memories that leave, in their order, until ``need`` tokens are free.

    Neither pinned ones nor those in ``spare`` leave, though that may free less than is needed.
    """
    leaving: list[int] = []
    candidates = (p for p in places if not p.pinned and p.tokens > 0 and p.memory_id not in spare)
    for place in sorted(candidates, key=lambda p: order(p, policy, now)):
        if need <= 0:
            break
        leaving.append(place.memory_id)
        need -= place.tokens
    return leaving
