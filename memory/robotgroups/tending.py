"""What keeps a group's tables bounded: the feed is pruned, what has expired or is kept no longer is removed.

A group's first active robot sees to it every few seconds, with no operator; for a group of which no robot lives, the
upkeep of whoever owns the database does. All of it is safe to do twice, at once, and to interrupt anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from robotgroups.cancelling import cancelled
from robotgroups.connection import Connection
from robotgroups.erasing import BATCH
from robotgroups.errors import RobotGroupsError
from robotgroups.lifecycle_store import SWEEP, LifecycleStore, Retained

EVERY_S, SOON_S = 5.0, 0.1
# A policy by number has to count the memories: not with every round. What has expired is hidden at once in any case.
RETAIN_EVERY_S = 15.0
# Statements of one round, and for how long it looks for what is too old: nobody waits long for its end.
SWEEPS, REMOVALS, LOOKING_S = 40, 20, 0.5

# Groups that nobody tends, and that need it.
_UNATTENDED = b"""
SELECT g.id FROM robotgroups.groups g
WHERE NOT EXISTS (SELECT FROM robotgroups.presence p WHERE p.group_id = g.id
        AND p.heartbeat_at > now() - make_interval(secs => g.lease_ms / 1000.0))
    AND (g.revision > g.pruned_to + 1000 OR g.expire_after_s IS NOT NULL OR g.keep_memories IS NOT NULL OR EXISTS (
        SELECT FROM robotgroups.memories m WHERE m.space_id = g.space_id AND m.expires_at <= now()))
ORDER BY g.id
"""

Cursor = psycopg.AsyncCursor[tuple[Any, ...]]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What retention has removed in a round, and whether there is more to remove at once.

    ``after``: by age, it has looked at the memories up to this id (0: at all), and goes on there.
    """

    removed: int
    after: int
    more: bool


@dataclass(frozen=True, slots=True)
class Tended:
    """What a round has done, and whether there is more to do at once. ``after`` as ``Kept``'s."""

    swept: int
    removed: int
    after: int
    more: bool


def goes_on(step: Retained, removals: int, seconds: float) -> bool:
    """Whether a round goes on with retention, after so many full steps and so long.

    There is more to remove; or, for a shorter time, more to look at.
    """
    if step.removed >= BATCH:
        return removals < REMOVALS
    return step.next_after > 0 and seconds < LOOKING_S


async def keep(step: Callable[[int], Awaitable[Retained]], after: int) -> Kept:
    """Retention's part of a round: ``step`` removes what it finds after an id."""
    began, removed, removals = time.monotonic(), 0, 0
    while True:
        done = await step(after)
        after = done.next_after
        removed += done.removed
        removals += done.removed >= BATCH
        if not goes_on(done, removals, time.monotonic() - began):
            return Kept(removed, after, done.removed >= BATCH)


async def tend(store: LifecycleStore, group_id: int, after: int = 0, *, retain: bool = True) -> Tended:
    """One round for a group, some 100,000 changes and 4,000 memories at most. Anybody who may use the group may do it.

    ``retain`` False: the feed alone.

    Raises:
        MemoryUnavailableError, UnknownGroupError, NotPermittedError.

    """
    kept = Kept(0, after, more=False)
    if retain:
        kept = await keep(lambda seen: store.enforce_retention(group_id, after=seen), after)
    await store.prune(group_id)
    swept = last = 0
    for _ in range(SWEEPS):
        last = await store.sweep(group_id)
        swept += last
        if last < SWEEP:
            break
    return Tended(swept, kept.removed, kept.after, more=last >= SWEEP or kept.more)


class Unattended:
    """Tends, as the owner, groups of which no robot lives; it remembers how far it has looked at each."""

    def __init__(self) -> None:
        self._after: dict[int, int] = {}

    async def tend(self, connection: Connection) -> int:
        """One round for all of them; how many rows went."""
        groups = [group_id for (group_id,) in await (await connection.execute(_UNATTENDED)).fetchall()]
        self._after = {group_id: after for group_id, after in self._after.items() if group_id in groups}
        return sum([await self._tend(connection, group_id) for group_id in groups])

    async def _tend(self, connection: Connection, group_id: int) -> int:
        async def step(after: int) -> Retained:
            cursor = await connection.execute(
                "SELECT removed, next_after FROM robotgroups.enforce_retention(%s, %s, %s::bigint)",
                (group_id, BATCH, after),
            )
            return Retained(*await _only(cursor))

        kept = await keep(step, self._after.get(group_id, 0))
        self._after[group_id] = kept.after
        await connection.execute("SELECT robotgroups.prune(%s)", (group_id,))
        total = kept.removed
        for _ in range(SWEEPS):
            (swept,) = await _only(await connection.execute("SELECT robotgroups.sweep(%s, %s)", (group_id, SWEEP)))
            total += swept
            if swept < SWEEP:
                break
        return total


async def _only(cursor: Cursor) -> tuple[Any, ...]:
    row = await cursor.fetchone()
    assert row is not None
    return row


class Tending:
    """Rounds for one group, between ``start`` and ``stop``, whenever ``mine`` says that it is this robot's turn."""

    def __init__(self, store: LifecycleStore, group_id: int, mine: Callable[[], bool]) -> None:
        self._store = store
        self._group_id = group_id
        self._mine = mine
        self._after = 0
        self._retain_at = 0.0
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="tending")

    async def stop(self) -> None:
        """End, in the middle of whatever is under way. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            await cancelled([task])

    async def _run(self) -> None:
        while True:
            more = False
            if self._mine():
                retain = time.monotonic() >= self._retain_at
                try:
                    done = await tend(self._store, self._group_id, self._after, retain=retain)
                    self._after, more, self._told = done.after, done.more, ""
                    if retain and not more:
                        self._retain_at = time.monotonic() + RETAIN_EVERY_S
                except RobotGroupsError as error:
                    self._note(error)
                except Exception:
                    logger.exception("tending")
            await asyncio.sleep(SOON_S if more else EVERY_S)

    def _note(self, error: RobotGroupsError) -> None:
        if str(error) != self._told:
            logger.info("tending: %s; trying again", error)
        self._told = str(error)
