"""A robot in this process: its presence, heartbeats and replica, kept up in the background.

It LISTENs first and reads changes after its revision then (M5); it asks again with every heartbeat. Postgres being away
is normal life: it tries again for ever and fences itself meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from uuid import UUID, uuid4

from robotgroups.api_keys import ApiKeys
from robotgroups.background import Background
from robotgroups.cancelling import cancelled
from robotgroups.claims import Claims
from robotgroups.embedding_chore import EmbeddingChore
from robotgroups.errors import (
    MemoryUnavailableError,
    ReplacedError,
    RobotGroupsError,
    UnknownGroupError,
)
from robotgroups.extraction_chore import ExtractionChore
from robotgroups.group_models import GroupModels
from robotgroups.jobs import Claimant
from robotgroups.member import Member
from robotgroups.models import Registration, Role
from robotgroups.presence import PresenceSession
from robotgroups.relating_chore import RelatingChore
from robotgroups.remembering import Item
from robotgroups.replica import SyncStats
from robotgroups.serving import Serving, Standing, may_serve
from robotgroups.store import Store
from robotgroups.tending import Tending

__all__ = ["HostedRobot", "OnReplaced", "SyncStats"]

# A robot tells soon, but not after every single change, how far its cache is.
REPORT_EVERY_S = 0.05
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

logger = logging.getLogger(__name__)


class OnReplaced(StrEnum):
    """What a robot does when its place was taken from it while it lived."""

    REJOIN = "rejoin"
    STOP = "stop"


class HostedRobot(Member):
    """One incarnation of one robot. ``start`` it and ``stop`` it, or use it as an asynchronous context manager.

    A store of its own is best opened as ``presence.application_name(incarnation)``: a failover ends its sessions too.
    ``keys`` are those of the group's models (None: the environment's); robots of one process share ``models`` instead.
    """

    def __init__(
        self,
        store: Store,
        group_id: int,
        name: str,
        *,
        endpoint: str = "",
        replace: bool = False,
        on_replaced: OnReplaced = OnReplaced.REJOIN,
        incarnation: UUID | None = None,
        keys: ApiKeys | None = None,
        models: GroupModels | None = None,
    ) -> None:
        own = models or GroupModels(partial(store.background_work, group_id), keys or ApiKeys.of())
        super().__init__(store, group_id, name, own)
        self._own_models = own if models is None else None
        self.incarnation: UUID = incarnation or uuid4()
        self.ended: BaseException | None = None  # why the background work ended, when it did
        self._endpoint = endpoint
        self._replica.locates = endpoint != ""  # who is not called does not forward
        self._replace = replace
        self._on_replaced = on_replaced
        self._registration: Registration | None = None
        self._present = False
        self._leaving = False  # nobody hands over to it any more
        self._stopping = False
        self._fenced = False  # it knows that its place was taken, or that its role is another one than its cache says
        self._asked = False  # something other than memory has changed: the next beat tells what
        self._renewed_at = -1e9
        self._trouble = self._noted = ""
        self._task: asyncio.Task[None] | None = None
        claims = Claims(store, group_id)
        chores = (EmbeddingChore(claims, own), ExtractionChore(claims, own), RelatingChore(store, group_id))
        self._background = Background(self._claimant, own, claims, chores)
        self._tending = Tending(store, group_id, self._tends)

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Register, fill the cache, and go on in the background.

        Raises:
            HostedElsewhereError: another process hosts the robot (unless ``replace`` was given).
            UnknownRobotError, MemoryUnavailableError.

        """
        session = await self._register()
        try:
            await self._session.open()
            await self._replica.catch_up()
            self._fenced = False
            await self._beat(session)
        except BaseException:
            await self._session.close()
            await session.close()
            raise
        self._task = asyncio.create_task(self._run(session), name=f"robot {self.name}")
        await asyncio.sleep(0)  # cancelled before its first step, it would not close the session
        self._background.start()
        self._tending.start()

    async def stop(self) -> None:
        """Withdraw: presence ends, the role stays. Safe to call twice.

        Raises:
            MemoryUnavailableError: Postgres could not be told; the presence has ended all the same.

        """
        self._leaving = self._stopping = True
        try:
            await self._withdraw()  # while the session stands: without it, it would look like a death
        finally:
            if self._task is not None:
                await cancelled([self._task])
                self._task = None
            await self._background.stop()
            await self._tending.stop()
            if self._own_models is not None:
                await self._own_models.aclose()
            await self._close_writer()
            await self._replica.close(f"robot {self.name} has stopped")
        await self._withdraw()  # it had just come back

    async def _withdraw(self) -> None:
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
            await self._replica.catch_up()
        return promoted

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def registered(self) -> bool:
        """Whether its presence stands, as far as it knows."""
        return self._present

    def heartbeat_age(self, now: float) -> float:
        """Seconds (monotonic) since the last acknowledged heartbeat was sent."""
        return now - self._renewed_at

    def serving(self, now: float) -> Serving:
        """Whether it may serve at ``now`` (seconds, monotonic), and why not."""
        if self.ended is not None:
            return Serving(False, f"its background work ended: {self.ended}")
        if self._stopping:
            return Serving(False, "it has been stopped")
        settings = self._registration
        return may_serve(
            Standing(
                registered=settings is not None and not self._fenced,
                warm=self.warm,
                renewed_at=self._renewed_at,
                lease_s=settings.lease_ms / 1000 if settings else 0.0,
                heartbeat_s=self._heartbeat_s,
                trouble=self._trouble,
            ),
            now,
        )

    # -- background --------------------------------------------------------------------------------------------------

    async def _run(self, session: PresenceSession) -> None:
        try:
            while True:
                try:
                    async with session:
                        await self._live(session)
                except (MemoryUnavailableError, ReplacedError) as error:
                    if self._stopping:
                        return
                    self._lost(error)
                session = await self._return()
        except RobotGroupsError as error:  # its place is another one's, or nobody's: it was told so, and gives up
            level = logging.WARNING if self._on_replaced is OnReplaced.REJOIN else logging.INFO
            logger.log(level, "robot %s ended: %s", self.name, error)
            await self._end(error)
        except Exception as error:
            logger.exception("robot %s ended", self.name)
            await self._end(error)

    async def _end(self, error: Exception) -> None:
        self.ended = error
        self._present = False
        await self._background.stop()
        await self._tending.stop()
        await self._replica.close(f"robot {self.name} has ended: {error}")

    async def _live(self, session: PresenceSession) -> None:
        """Hear, catch up and beat, until the session is lost or the place is taken. Raises ReplacedError."""
        while True:
            now = time.monotonic()
            soon = self._asked or self.cache.revision > self._replica.reported
            due = self._renewed_at + (REPORT_EVERY_S if soon else self._heartbeat_s)
            if now >= due:
                await self._beat(session)
                continue
            heard = await session.notifications(due - now)
            if heard:
                others, again = self._replica.hear(heard)
                self._asked = self._asked or again
                if self._asked or (others and self.role is Role.ACTIVE):
                    self._background.wake()
            if self._replica.behind:
                await self._replica.follow()

    async def _beat(self, session: PresenceSession) -> None:
        sent, applied, self._asked = time.monotonic(), self.cache.revision, False
        beat = await session.beat(self.name, applied=applied, warm=self.warm and not self._leaving)
        if not beat.current:
            self._fenced = True
            raise ReplacedError(f"{self.name}'s presence was ended")
        assert self._registration is not None
        self._registration = replace(self._registration, heartbeat_ms=beat.heartbeat_ms, lease_ms=beat.lease_ms)
        self._renewed_at, self._trouble, self._noted = sent, "", ""
        self.cache.max_tokens = beat.max_tokens
        self._replica.beaten(beat.revision, applied)
        if self._replica.behind or not self._replica.knows_the_active:
            await self._replica.catch_up()
        else:
            await self._replica.wake()

    async def _return(self) -> PresenceSession:
        """Register again, however long it takes. What another process took over is left to it."""
        pause = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                session = await self._register(rejoin=self._on_replaced is OnReplaced.REJOIN)
            except (MemoryUnavailableError, UnknownGroupError) as error:
                self._note(error)
                continue
            try:
                await self._replica.catch_up()
            except BaseException as error:
                await session.close()
                if not isinstance(error, MemoryUnavailableError):
                    raise
                self._note(error)
                continue
            self._fenced = False
            logger.info("robot %s is back as %s", self.name, self.role)
            return session

    async def _register(self, *, rejoin: bool = True) -> PresenceSession:
        session = await PresenceSession.open(self._store.dsn, self._group_id, self.incarnation)
        sent, applied = time.monotonic(), self.cache.revision
        try:
            registration = await session.register(self.name, self._endpoint, replace=self._replace, rejoin=rejoin)
        except BaseException:
            await session.close()
            raise
        # Only the first registration may push another process aside: later, the other one is the newer.
        self._replace = False
        # M6: another role than the cache's is served when the cache has it
        self._fenced = (registration.role, registration.tenure) != (self.role, self.tenure)
        self._registration, self._present, self._tokenizer = registration, True, registration.tokenizer
        self._renewed_at, self._trouble, self._noted = sent, "", ""
        self._replica.beaten(registration.revision, applied)
        self._replica.reported = 0
        return session

    def _remembered(self, items: Sequence[Item]) -> None:
        self._background.remembered(tagged=any(item.tagged for item in items))

    def _claimant(self) -> Claimant | None:
        """Who claims background work: nobody, while it may not serve."""
        serves = self._present and self.serving(time.monotonic()).ok
        return Claimant(self.name, self.incarnation) if serves else None

    def _tends(self) -> bool:
        """Whether it is this robot that sees to the group's tables: the first active one, while it may serve."""
        return self.cache.named(Role.ACTIVE)[:1] == (self.name,) and self._claimant() is not None

    # -- small ones --------------------------------------------------------------------------------------------------

    @property
    def _heartbeat_s(self) -> float:
        return self._registration.heartbeat_ms / 1000 if self._registration else 0.5

    def _lost(self, error: RobotGroupsError) -> None:
        """Its session has ended; mostly it is back in a moment."""
        logger.info("robot %s: %s; coming back", self.name, error)
        self._trouble, self._present = str(error), False

    def _note(self, error: RobotGroupsError) -> None:
        """It cannot come back yet."""
        if str(error) != self._noted:
            logger.warning("robot %s: %s", self.name, error)
        self._noted = self._trouble = str(error)
        self._present = False
