"""A robot's copy of its group, brought up to date from Postgres: by snapshot first, then by the changes after it (M5).

Whoever wants it newer calls ``catch_up``; many may at once. It never guesses: what does not follow is read anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass

from robotgroups.cache import Cache, GapError
from robotgroups.errors import MemoryUnavailableError, PrunedError, ReplacedError
from robotgroups.memory_session import MemorySession
from robotgroups.models import Change, ChangeKind, Role
from robotgroups.store import Store

PAGE = 1000
READ_YOUR_WRITES_S = 5.0


@dataclass(frozen=True, slots=True)
class SyncStats:
    """What this robot's cache has taken in since it started."""

    nodes_synced: int = 0
    evictions_synced: int = 0
    notifications_received: int = 0


@dataclass(frozen=True, slots=True)
class Placing:
    """Who may be active where, by the cache: another one when roles or endpoints have changed."""

    epoch: int
    endpoints: tuple[tuple[str, str], ...]


class Replica:
    """The cache, how far it is behind, and who waits for it."""

    def __init__(
        self,
        store: Store,
        group_id: int,
        session: MemorySession,
        forget: Callable[[Collection[int]], None] = lambda _: None,
    ) -> None:
        self.cache = Cache.empty()
        self.warm = False
        self._filled = False  # whether the cache has started from a snapshot of this Postgres
        self._nodes_synced = self._evictions_synced = self._heard = 0
        self.announced = 0  # the highest revision that Postgres has told of
        self.acknowledged = 0  # the highest revision that a write through this robot was given
        self.reported = 0  # the revision that Postgres knows to be applied
        self.closed = ""  # why it is kept up no more
        self.locates = True  # whether anybody forwards to the active robots
        self._store = store
        self._group_id = group_id
        self._session = session  # snapshot and feed are read here; the rest through the store's pool
        # Told of memories of which nothing may be kept: at once of those that were forgotten or erased; with the next
        # heartbeat of those that left the cache otherwise, for nobody tells this robot when they are erased later.
        self._forget = forget
        self._evicted: set[int] = set()
        self.roles_at = time.monotonic()  # when the cache got the roles that it has
        self._own: set[int] = set()  # revisions that were taken in before their announcement came
        self._endpoints: dict[str, str] = {}
        self._located: tuple[str, ...] = ()
        self._changed = asyncio.Condition()
        self.placing = Placing(0, ())  # who is active, and where
        self._placed = True  # whether that is so by the snapshot and the endpoints as they are
        self._moved = asyncio.Condition()

    @property
    def stats(self) -> SyncStats:
        """What it has taken in so far."""
        return SyncStats(self._nodes_synced, self._evictions_synced, self._heard)

    @property
    def behind(self) -> bool:
        """Whether there is more to read: Postgres has told of more, or nothing was read yet."""
        return self.announced > self.cache.revision or not self.warm

    def active_endpoints(self) -> list[tuple[str, str]]:
        """(name, endpoint) of the active robots that told one, in declared order."""
        active = self.cache.named(Role.ACTIVE)
        return [(name, self._endpoints[name]) for name in active if self._endpoints.get(name)]

    @property
    def knows_the_active(self) -> bool:
        """Whether it knows the endpoint of every active robot, or needs none: the first registration is no event."""
        active = self.cache.named(Role.ACTIVE)
        return not self.locates or (active == self._located and len(self.active_endpoints()) == len(active))

    # -- going on ----------------------------------------------------------------------------------------------------

    def hear(self, revision: int) -> tuple[bool, bool]:
        """Take note of an announcement.

        Returns whether it is of something else than what this robot has written, and whether of something that has no
        revision (0), such as settings.
        """
        self.announced = max(self.announced, revision)
        self._heard += 1
        own = revision in self._own
        self._own = {later for later in self._own if later > revision}  # they come in order, and not each is announced
        return revision > 0 and not own, revision == 0

    async def take(self, changes: Sequence[Change], revision: int) -> None:
        """Go on by what this robot has written itself, up to ``revision``, unless others have come between.

        What is not taken is read: Postgres announces it.
        """
        if changes and changes[0].revision == self.cache.revision + 1:
            for change in changes:
                self._apply(change)
            self.announced = max(self.announced, self.cache.revision)
            if self.cache.revision == revision:
                self._own.add(revision)
            await self.wake()

    async def told(self, changes: Sequence[Change], revision: int) -> None:
        """Go on by what another robot says that it has written; what does not follow is read.

        Raises:
            MemoryUnavailableError, UnknownGroupError.

        """
        self.announced = max(self.announced, revision)
        if not self.warm:
            return
        for change in changes:
            if change.revision == self.cache.revision + 1:
                self._apply(change)
        if self.cache.revision < revision:
            await self._session.idle()  # what is being written here comes with its acknowledgement
        if self.cache.revision < revision:
            await self.catch_up()
        else:
            await self.wake()

    def beaten(self, revision: int, applied: int) -> None:
        """Take note of Postgres' answer: the group is at ``revision``, and it knows that ``applied`` is applied here.

        Less than was applied means that Postgres was set back to an older state: it starts anew from a snapshot.
        """
        self._let_go()
        if revision < applied:
            self.warm = self._filled = False
            self.announced = self.acknowledged = self.reported = 0
            self._own.clear()
        else:
            self.reported = applied
        self.announced = max(self.announced, revision)

    def acknowledge(self, revision: int) -> None:
        """Take note of a write's revision: ``caught_up`` waits for it."""
        self.acknowledged = max(self.acknowledged, revision)

    async def follow(self) -> None:
        """Read what was announced, unless it is what is being written here: that comes with its acknowledgement.

        Raises:
            MemoryUnavailableError, UnknownGroupError.

        """
        await self._session.idle()
        if self.behind:
            await self.catch_up()

    async def catch_up(self) -> int:
        """Read what the cache lacks; returns how many memories that brought in.

        Raises:
            MemoryUnavailableError, UnknownGroupError.

        """
        before = self._nodes_synced
        try:
            await self.fill()
            await self._from_changes()
        except (GapError, PrunedError):
            await self._from_snapshot()
        self.announced = self.cache.revision  # a forged announcement of more is forgotten (S1)
        self.warm = True
        await self.wake()
        if not self.knows_the_active:
            status = await self._store.status(self._group_id)
            self._endpoints = {r.name: r.endpoint for r in status.robots}
            self._located = self.cache.named(Role.ACTIVE)
            self._placed = False
            await self.wake()
        return self._nodes_synced - before

    async def _from_changes(self) -> None:
        while True:
            page = await self._session.changes(self.cache.revision, PAGE)
            for change in page:
                if change.revision > self.cache.revision:  # two readers at once: the other was faster
                    self._apply(change)
            if len(page) < PAGE:
                return

    async def fill(self) -> None:
        """Let the cache start from a snapshot; what comes after that is read by ``catch_up``.

        Raises:
            MemoryUnavailableError, UnknownGroupError, NotPermittedError, PoolerError.

        """
        if not self._filled:
            await self._from_snapshot()

    async def _from_snapshot(self) -> None:
        snapshot = await self._session.snapshot()
        self._own.clear()
        if snapshot.revision >= self.cache.revision or not self._filled:
            before, self.cache = self.cache, Cache(snapshot)
            self._forget(before.memories.keys() - self.cache.memories.keys())
            self._filled, self._placed = True, False

    def _apply(self, change: Change) -> None:
        if change.kind is ChangeKind.CLEARED:
            self._evicted.update(self.cache.memories)
        self.cache.apply(change)
        if change.kind is ChangeKind.ROLE:
            self.roles_at = time.monotonic()
        if change.kind in {ChangeKind.ADDED, ChangeKind.RESTORED}:
            self._nodes_synced += 1
        elif change.kind is ChangeKind.EVICTED:
            self._evictions_synced += 1
        if change.memory_id is not None and change.memory_id not in self.cache.memories:
            if change.kind is ChangeKind.FORGOTTEN or change.erased:
                self._forget([change.memory_id])
            else:
                self._evicted.add(change.memory_id)

    def _let_go(self) -> None:
        gone, self._evicted = self._evicted - self.cache.memories.keys(), set()
        if gone:
            self._forget(gone)

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def wake(self) -> None:
        """Let everybody who waits look again; those who wait for other roles only when there are."""
        async with self._changed:
            self._changed.notify_all()
        if self._placed and self.cache.epoch == self.placing.epoch:
            return
        self._placed = True
        placing = Placing(self.cache.epoch, tuple(self.active_endpoints()))
        if placing != self.placing:
            self.placing = placing
            async with self._moved:
                self._moved.notify_all()

    async def close(self, why: str) -> None:
        """Nobody keeps it up any more: who waits for more is told why."""
        self.closed = why
        self._let_go()
        await self.wake()

    async def moved(self, since: Placing, timeout_s: float) -> None:
        """Wait until the roles or the active robots' endpoints are others than ``since``; at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self.placing != since)

    async def wait_revision(self, revision: int) -> None:
        """Wait until the cache has reached a revision. ReplacedError when it is kept up no more."""
        await self._wait(lambda: self.cache.revision >= revision)
        if self.cache.revision < revision:
            raise ReplacedError(self.closed)

    async def wait_reported(self, revision: int) -> None:
        """Wait until Postgres knows that a revision is applied, or until it is kept up no more."""
        await self._wait(lambda: self.reported >= revision)

    async def _wait(self, reached: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: reached() or bool(self.closed))

    async def caught_up(self) -> None:
        """Bring the cache to what was acknowledged through this robot, at least.

        Raises:
            MemoryUnavailableError: it did not get there in 5 s.

        """
        if self.cache.revision >= self.acknowledged:
            return
        try:
            async with asyncio.timeout(READ_YOUR_WRITES_S):
                await self.wait_revision(self.acknowledged)
        except TimeoutError as error:
            raise MemoryUnavailableError(
                f"the cache is at revision {self.cache.revision} and could not be brought to {self.acknowledged}"
            ) from error

    async def events(self, after: int) -> AsyncGenerator[Change, None]:
        """Changes after a revision, until it is kept up no more (ReplacedError).

        PrunedError when the next ones are gone. Each reader reads the feed itself: a slow one hurts nobody.
        """
        while True:
            for change in await self._store.changes(self._group_id, after, PAGE):
                yield change
                after = change.revision
            await self.wait_revision(after + 1)
