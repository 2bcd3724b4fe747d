"""A robot in this process: its presence, heartbeats and cache, kept up in the background, and its use of memory.

It LISTENs first and reads changes after its revision then (M5); it asks again with every heartbeat. Postgres being away
is normal life: it tries again for ever and fences itself meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from robotgroups import context as contexts
from robotgroups import timeframe as timeframes
from robotgroups import tokens
from robotgroups.cache import Cache, GapError
from robotgroups.errors import (
    MemoryUnavailableError,
    NotActiveError,
    ReplacedError,
    RobotGroupsError,
    UnknownGroupError,
    UnknownRobotError,
)
from robotgroups.models import Change, ChangeKind, GroupStatus, Memory, Registration, Remembered, Revised, Role
from robotgroups.presence import PresenceSession
from robotgroups.recall import check_recall
from robotgroups.serving import Serving, Standing, may_serve
from robotgroups.store import Store

PAGE = 1000
# A robot tells soon, but not after every single change, how far its cache is.
REPORT_EVERY_S = 0.05
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
READ_YOUR_WRITES_S = 5.0

logger = logging.getLogger(__name__)


class OnReplaced(StrEnum):
    """What a robot does when its place was taken from it while it lived."""

    REJOIN = "rejoin"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class SyncStats:
    """What this robot's cache has taken in since it started."""

    nodes_synced: int = 0
    evictions_synced: int = 0
    notifications_received: int = 0


class HostedRobot:
    """One incarnation of one robot. ``start`` it and ``stop`` it, or use it as an asynchronous context manager."""

    def __init__(
        self,
        store: Store,
        group_id: int,
        name: str,
        *,
        endpoint: str = "",
        replace: bool = False,
        on_replaced: OnReplaced = OnReplaced.REJOIN,
    ) -> None:
        self.name = name
        self.incarnation: UUID = uuid4()
        self.cache = Cache.empty()
        self.warm = False
        self.stats = SyncStats()
        self.ended: BaseException | None = None  # why the background work ended, when it did
        self._store = store
        self._group_id = group_id
        self._endpoint = endpoint
        self._replace = replace
        self._on_replaced = on_replaced
        self._registration: Registration | None = None
        self._present = False
        self._leaving = False
        self._renewed_at = -1e9
        self._trouble, self._noted = "", logging.NOTSET
        self._announced = 0
        self._acknowledged = 0
        self._endpoints: dict[str, str] = {}
        self._located: tuple[str, ...] = ()
        self._reported = 0
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Register, fill the cache, and go on in the background.

        Raises:
            HostedElsewhereError: another process hosts the robot (unless ``replace`` was given).
            UnknownRobotError, MemoryUnavailableError.

        """
        session = await self._register()
        try:
            await self._catch_up()
            await self._beat(session)
        except BaseException:
            await session.close()
            raise
        self._task = asyncio.create_task(self._run(session), name=f"robot {self.name}")

    async def stop(self) -> None:
        """Withdraw: presence ends, the role stays. Safe to call twice."""
        self._leaving = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._present:
            self._present = False
            await self._store.withdraw(self._group_id, self.name, self.incarnation)

    async def __aenter__(self) -> HostedRobot:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def hand_over(self, reason: str) -> str | None:
        """Planned switchover before a stop; returns who took over, None when nobody could.

        Nobody hands over to this robot afterwards.
        """
        self._leaving = True
        promoted = await self._store.hand_over(self._group_id, self.name, self.incarnation, reason)
        if promoted is not None:
            await self._catch_up()
        return promoted

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def registered(self) -> bool:
        """Whether its presence stands, as far as it knows."""
        return self._present

    @property
    def role(self) -> Role:
        """Its role, by the last role event that it has applied (M6)."""
        mine = self.cache.roles.get(self.name)
        return mine.role if mine else Role.FAILED

    @property
    def tenure(self) -> int:
        """Its tenure (the fencing token), 0 when it is not active."""
        mine = self.cache.roles.get(self.name)
        return mine.tenure if mine else 0

    @property
    def epoch(self) -> int:
        """The epoch that its cache has reached."""
        return self.cache.epoch

    @property
    def revision(self) -> int:
        """The revision that its cache has reached."""
        return self.cache.revision

    @property
    def lag(self) -> int:
        """Revisions that are announced and not applied yet."""
        return max(self._announced - self.cache.revision, 0)

    def heartbeat_age(self, now: float) -> float:
        """Seconds (monotonic) since the last acknowledged heartbeat was sent."""
        return now - self._renewed_at

    def serving(self, now: float) -> Serving:
        """Whether it may serve at ``now`` (seconds, monotonic), and why not."""
        if self.ended is not None:
            return Serving(False, f"its background work ended: {self.ended}")
        settings = self._registration
        return may_serve(
            Standing(
                registered=settings is not None,
                warm=self.warm,
                renewed_at=self._renewed_at,
                lease_s=settings.lease_ms / 1000 if settings else 0.0,
                heartbeat_s=settings.heartbeat_ms / 1000 if settings else 0.0,
                trouble=self._trouble,
            ),
            now,
        )

    def active_endpoints(self) -> list[tuple[str, str]]:
        """(name, endpoint) of the active robots that told one, in declared order."""
        active = self.cache.named(Role.ACTIVE)
        return [(name, self._endpoints[name]) for name in active if self._endpoints.get(name)]

    async def wait_revision(self, revision: int) -> None:
        """Wait until the cache has reached a revision."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.cache.revision >= revision)

    # -- memory ------------------------------------------------------------------------------------------------------

    async def remember(
        self,
        content: str,
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        originator: str | None = None,
        key: str | None = None,
    ) -> Remembered:
        """Remember under this robot's tenure; durable when it returns (M1), once (M2).

        Raises:
            NotActiveError: it is not active, here or in Postgres (R2).
            ArgumentError, IdempotencyConflictError, UnknownRobotError, MemoryUnavailableError.

        """
        done = await self._store.remember(
            self._group_id,
            robot=self.name,
            tenure=self._claim(),
            content=content,
            tokens=tokens.count(content, self._tokenizer),
            originator=originator,
            tags=tags,
            metadata=metadata,
            key=key,
        )
        self._acknowledged = max(self._acknowledged, done.revision)
        return done

    async def forget(self, memory_id: int) -> Revised:
        """Hide a memory. NotActiveError, UnknownMemoryError."""
        return self._done(
            await self._store.forget(self._group_id, robot=self.name, tenure=self._claim(), memory_id=memory_id)
        )

    async def restore(self, memory_id: int) -> Revised:
        """Bring a forgotten memory back. NotActiveError, UnknownMemoryError."""
        return self._done(
            await self._store.restore(self._group_id, robot=self.name, tenure=self._claim(), memory_id=memory_id)
        )

    async def clear_working_memory(self) -> int:
        """Empty the working set; returns how many left it. NotActiveError."""
        count = await self._store.clear_working_memory(self._group_id, robot=self.name, tenure=self._claim())
        await self._catch_up()
        return count

    async def transfer_working_memory(self, source: str, target: str) -> int:
        """Make ``target`` the keeper of ``source``'s working memories; returns how many. NotActiveError."""
        return await self._store.transfer_working_memory(
            self._group_id, robot=self.name, tenure=self._claim(), source=source, target=target
        )

    async def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        strategy: str = "fulltext",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        timeframe: timeframes.Timeframe | None = None,
    ) -> list[Memory]:
        """Search long-term memory, best match first. ArgumentError, UnknownStrategyError, MissingFeatureError."""
        check_recall(query, limit, strategy)
        since, until = timeframes.parse(timeframe)
        return await self._store.recall_fulltext(
            self._group_id, query, limit=limit, tags=tags, metadata=metadata, since=since, until=until
        )

    async def working_memory(self) -> list[Memory]:
        """The working set, oldest first, with at least everything that was acknowledged here."""
        await self.caught_up()
        return list(self.cache.memories.values())

    def context(self, *, strategy: str = "balanced", max_tokens: int | None = None) -> contexts.Context:
        """The working set as text for an LLM, from the cache alone. ``max_tokens`` None: the group's budget."""
        return contexts.assemble(
            self.cache.memories.values(),
            strategy=contexts.strategy_named(strategy),
            max_tokens=self.cache.max_tokens if max_tokens is None else max_tokens,
            revision=self.cache.revision,
            now=datetime.now(UTC),
            tokenizer=self._tokenizer,
        )

    async def status(self) -> GroupStatus:
        """The group as Postgres sees it."""
        return await self._store.status(self._group_id)

    async def catch_up(self) -> int:
        """Read what the cache lacks; returns how many memories that brought in."""
        before = self.stats.nodes_synced
        await self._catch_up()
        return self.stats.nodes_synced - before

    async def wait_reported(self, revision: int) -> None:
        """Wait until Postgres knows that this robot has applied a revision (in_sync counts what is reported)."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._reported >= revision or self.ended is not None)

    async def caught_up(self) -> None:
        """Bring the cache to what was acknowledged here, at least."""
        if self.cache.revision < self._acknowledged:
            async with asyncio.timeout(READ_YOUR_WRITES_S):
                await self.wait_revision(self._acknowledged)

    async def events(self, after: int) -> AsyncIterator[Change]:
        """Changes after a revision, without end. Each reader reads the feed itself: a slow one hurts nobody."""
        while True:
            for change in await self._store.changes(self._group_id, after, PAGE):
                yield change
                after = change.revision
            await self.wait_revision(after + 1)

    # -- background --------------------------------------------------------------------------------------------------

    async def _run(self, session: PresenceSession) -> None:
        try:
            while True:
                try:
                    async with session:
                        await self._live(session)
                except (MemoryUnavailableError, ReplacedError) as error:
                    self._note(error, logging.INFO)  # a warning when the first try to return fails too
                session = await self._return()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.ended = error
            self._present = False
            async with self._changed:
                self._changed.notify_all()
            if not isinstance(error, RobotGroupsError):
                logger.exception("robot %s ended", self.name)
                raise
            logger.warning("robot %s ended: %s", self.name, error)

    async def _live(self, session: PresenceSession) -> None:
        """Hear, catch up and beat, until the session is lost or the place is taken. Raises ReplacedError."""
        while True:
            now = time.monotonic()
            due = self._renewed_at + self._heartbeat_s
            if self.cache.revision > self._reported:
                due = min(due, self._renewed_at + REPORT_EVERY_S)
            if now >= due:
                await self._beat(session)
                continue
            heard = await session.notifications(due - now)
            if heard:
                self.stats = replace(self.stats, notifications_received=self.stats.notifications_received + len(heard))
                self._announced = max(self._announced, *heard)
            if self._announced > self.cache.revision:
                await self._catch_up()

    async def _beat(self, session: PresenceSession) -> None:
        sent, applied = time.monotonic(), self.cache.revision
        beat = await session.beat(self.name, applied=applied, warm=self.warm and not self._leaving)
        if not beat.current:
            self._present = False
            if beat.role is Role.FAILED and self._on_replaced is OnReplaced.STOP:
                raise UnknownRobotError(f"{self.name} was replaced by failover and stays out until it is added again")
            raise ReplacedError(f"{self.name}'s presence was ended")
        self._renewed_at, self._reported, self._trouble = sent, applied, ""
        self._announced = max(self._announced, beat.revision)
        self.cache.max_tokens = beat.max_tokens
        async with self._changed:
            self._changed.notify_all()
        if beat.revision > self.cache.revision or len(self.active_endpoints()) < len(self.cache.named(Role.ACTIVE)):
            await self._catch_up()

    async def _return(self) -> PresenceSession:
        """Register again, however long it takes. What another process took over is left to it."""
        pause = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                await self._refuse_to_rejoin_when_failed()
                session = await self._register()
            except (MemoryUnavailableError, UnknownGroupError) as error:
                self._note(error)
                continue
            try:
                await self._catch_up()
            except MemoryUnavailableError as error:
                self._note(error)
                await session.close()
                continue
            return session

    async def _refuse_to_rejoin_when_failed(self) -> None:
        if self._on_replaced is OnReplaced.REJOIN:
            return
        mine = [r for r in (await self.status()).robots if r.name == self.name]
        if not mine or mine[0].role is Role.FAILED:
            raise UnknownRobotError(f"{self.name} was replaced by failover and stays out until it is added again")

    async def _register(self) -> PresenceSession:
        session = await PresenceSession.open(self._store.dsn, self._group_id, self.incarnation)
        sent = time.monotonic()
        try:
            registration = await session.register(self.name, self._endpoint, replace=self._replace)
        except BaseException:
            await session.close()
            raise
        # Only the first registration may push another process aside: later, the other one is the newer.
        self._replace = False
        self._registration = registration
        self._renewed_at, self._reported, self._present, self._trouble = sent, 0, True, ""
        self._announced = max(self._announced, registration.revision)
        return session

    async def _catch_up(self) -> None:
        """Read changes after the cache's revision; from a snapshot when it has none, or they do not follow."""
        try:
            if not self.warm:
                await self._from_snapshot()
            while True:
                page = await self._store.changes(self._group_id, self.cache.revision, PAGE)
                for change in page:
                    if change.revision > self.cache.revision:  # two readers at once: the other was faster
                        self._apply(change)
                if len(page) < PAGE:
                    break
        except GapError:
            await self._from_snapshot()
        self._announced = self.cache.revision  # a forged announcement of more is forgotten (S1)
        self.warm = True
        active = self.cache.named(Role.ACTIVE)
        if active != self._located or not all(self._endpoints.get(name) for name in active):
            # a declared active robot's first registration is no event: look until every active one has told
            self._endpoints = {r.name: r.endpoint for r in (await self.status()).robots}
            self._located = active
        async with self._changed:
            self._changed.notify_all()

    def _apply(self, change: Change) -> None:
        self.cache.apply(change)
        if change.kind in {ChangeKind.ADDED, ChangeKind.RESTORED}:
            self.stats = replace(self.stats, nodes_synced=self.stats.nodes_synced + 1)
        elif change.kind is ChangeKind.EVICTED:
            self.stats = replace(self.stats, evictions_synced=self.stats.evictions_synced + 1)

    async def _from_snapshot(self) -> None:
        snapshot = await self._store.snapshot(self._group_id)
        if snapshot.revision >= self.cache.revision or not self.warm:
            self.cache = Cache(snapshot)

    # -- small ones --------------------------------------------------------------------------------------------------

    @property
    def _heartbeat_s(self) -> float:
        return self._registration.heartbeat_ms / 1000 if self._registration else 0.5

    @property
    def _tokenizer(self) -> str:
        return self._registration.tokenizer if self._registration else tokens.DEFAULT

    def _claim(self) -> int:
        if self.role is not Role.ACTIVE:
            active = self.cache.named(Role.ACTIVE)
            raise NotActiveError(
                f"{self.name} is {self.role.value}; active now: {', '.join(active) or 'nobody'}", active
            )
        return self.tenure

    def _done(self, revised: Revised) -> Revised:
        self._acknowledged = max(self._acknowledged, revised.revision)
        return revised

    def _note(self, error: RobotGroupsError, level: int = logging.WARNING) -> None:
        if (level, str(error)) != (self._noted, self._trouble):
            logger.log(level, "robot %s: %s", self.name, error)
        self._noted = level
        self._trouble = str(error)
        self._present = False
