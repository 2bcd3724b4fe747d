"""What keeps a group's tables bounded: the feed is pruned, what has expired or is kept no longer is removed.

A group's first active robot sees to it every few seconds, with no operator; for a group of which no robot lives, the
upkeep of whoever owns the database does. All of it is safe to do twice, at once, and to interrupt anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from robotgroups.cancelling import cancelled
from robotgroups.connection import Connection
from robotgroups.erasing import BATCH
from robotgroups.errors import RobotGroupsError
from robotgroups.lifecycle_store import SWEEP, LifecycleStore

EVERY_S, SOON_S = 5.0, 0.1
# A policy by number has to count the memories: not with every round. What has expired is hidden at once in any case.
RETAIN_EVERY_S = 15.0
# Statements of one round: nobody waits long for its end.
SWEEPS, REMOVALS = 40, 20

# Groups that nobody tends, and that need it.
_UNATTENDED = b"""
SELECT g.id FROM robotgroups.groups g
WHERE NOT EXISTS (SELECT FROM robotgroups.presence p WHERE p.group_id = g.id
        AND p.heartbeat_at > now() - make_interval(secs => g.lease_ms / 1000.0))
    AND (g.revision > g.pruned_to + 1000 OR g.expire_after_s IS NOT NULL OR g.keep_memories IS NOT NULL OR EXISTS (
        SELECT FROM robotgroups.memories m WHERE m.space_id = g.space_id AND m.expires_at <= now()))
ORDER BY g.id
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tended:
    """What a round has done, and whether there is more to do at once.

    ``after``: retention by age has looked at the memories up to this id (0: at all), and goes on there.
    """

    swept: int
    removed: int
    after: int
    more: bool


async def tend(store: LifecycleStore, group_id: int, after: int = 0, *, retain: bool = True) -> Tended:
    """One round for a group, some 100,000 changes and 4,000 memories at most. Anybody who may use the group may do it.

    ``retain`` False: the feed alone.

    Raises:
        MemoryUnavailableError, UnknownGroupError, NotPermittedError.

    """
    removed = gone = 0
    for _ in range(REMOVALS if retain else 0):
        step = await store.enforce_retention(group_id, after=after)
        after, gone = step.next_after, step.removed
        removed += gone
        if gone < BATCH:
            break
    await store.prune(group_id)
    swept = last = 0
    for _ in range(SWEEPS):
        last = await store.sweep(group_id)
        swept += last
        if last < SWEEP:
            break
    return Tended(swept, removed, after, more=last >= SWEEP or gone >= BATCH)


async def tend_unattended(connection: Connection) -> int:
    """One round, as the owner, for every group of which no robot lives; how many rows went."""
    groups = await (await connection.execute(_UNATTENDED)).fetchall()
    total = 0
    for (group_id,) in groups:
        for _ in range(REMOVALS):
            removed = await _number(
                connection, "SELECT removed FROM robotgroups.enforce_retention(%s, %s, 0)", group_id, BATCH
            )
            total += removed
            if removed < BATCH:
                break
        await connection.execute("SELECT robotgroups.prune(%s)", (group_id,))
        for _ in range(SWEEPS):
            swept = await _number(connection, "SELECT robotgroups.sweep(%s, %s)", group_id, SWEEP)
            total += swept
            if swept < SWEEP:
                break
    return total


async def _number(connection: Connection, sql: str, *arguments: int) -> int:
    row = await (await connection.execute(sql.encode(), arguments)).fetchone()
    assert row is not None
    return int(row[0])


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
