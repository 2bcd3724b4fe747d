"""A robot in this process: its heart, and its replica of the group, kept up in the background.

It LISTENs first and reads changes after its revision then (M5); each heartbeat's answer tells it whether it is behind.
Postgres being away is normal life: it tries again for ever and fences itself meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from robotgroups.api_keys import ApiKeys
from robotgroups.background import Background
from robotgroups.cancelling import cancelled
from robotgroups.claims import Claims
from robotgroups.doorbell import DoorbellPlace
from robotgroups.embedding_chore import EmbeddingChore
from robotgroups.errors import MemoryUnavailableError, ReplacedError, UnknownGroupError
from robotgroups.extraction_chore import ExtractionChore
from robotgroups.group_models import GroupModels
from robotgroups.heart import FIRST_PAUSE_S, Heart, Identity, rested
from robotgroups.jobs import Claimant
from robotgroups.links import Links
from robotgroups.listener import Listener
from robotgroups.member import Member
from robotgroups.models import Beat, Registration, Role
from robotgroups.presence import application_name
from robotgroups.relating_chore import RelatingChore
from robotgroups.remembering import Item
from robotgroups.replica import SyncStats
from robotgroups.serving import Serving, Standing, may_serve
from robotgroups.store import Store
from robotgroups.tending import Tending

__all__ = ["HostedRobot", "OnReplaced", "SyncStats"]

logger = logging.getLogger(__name__)


class OnReplaced(StrEnum):
    """What a robot does when its place was taken from it while it lived."""

    REJOIN = "rejoin"
    STOP = "stop"


class HostedRobot(Member):
    """One incarnation of one robot. ``start`` it and ``stop`` it, or use it as an asynchronous context manager.

    A store of its own is best opened as ``presence.application_name(incarnation)``: a failover ends its sessions too.
    ``keys`` are those of the group's models (None: the environment's); robots of one process share ``models`` instead.
    ``on_phase(name, seconds)`` is called, in any thread, with what a failover took here: ``detect`` from the dead
    robot's last heartbeat to its suspicion, ``promote`` from that to the promotion, ``first_write`` from the role event
    in its cache to its first acknowledged memory.
    ``doorbell``: where it listens for the robot that watches it (None: any port, where Postgres sees this process).
    ``link``: where it listens for the robots that follow what it writes (None: likewise).
    ``deathwatch``: whether a small process of its own makes the death of this one known before its memory is freed.
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
        doorbell: DoorbellPlace | None = None,
        link: DoorbellPlace | None = None,
        deathwatch: bool = False,
        on_phase: Callable[[str, float], None] | None = None,
    ) -> None:
        own = models or GroupModels(partial(store.background_work, group_id), keys or ApiKeys.of())
        super().__init__(store, group_id, name, own)
        self._own_models = own if models is None else None
        self.incarnation: UUID = incarnation or uuid4()
        self.ended: BaseException | None = None  # why the background work ended, when it did
        self._replica.locates = endpoint != ""  # who is not called does not forward
        self._replace = replace
        self._on_replaced = on_replaced
        rejoins = on_replaced is OnReplaced.REJOIN
        identity = Identity(group_id, name, self.incarnation, endpoint, rejoins, deathwatch)
        self._heart = Heart(store.dsn, identity, self, doorbell)
        self._link = link
        self._links = Links(store, group_id, name, self.incarnation, self._replica, heard=self._told)
        self._on_phase = on_phase
        self._first_written = 0  # the tenure under which it has remembered something
        self._leaving = False  # nobody hands over to it any more
        self._stopping = False
        self._served_from = 0  # the revision that its cache must have reached before it serves (M6)
        self._answered_at = time.monotonic()  # when its event loop last heard of a heartbeat
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
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
        self._loop = asyncio.get_running_loop()
        try:
            await self._heart.start(replace=self._replace)
            filling = asyncio.create_task(self._replica.fill(), name=f"first snapshot of {self.name}")
            try:
                listener = await self._listen()  # meanwhile
            except BaseException:
                await cancelled([filling])
                if not filling.cancelled():
                    filling.exception()  # what is raised here came first
                raise
            try:
                await filling
                await self._replica.catch_up()
                host = listener.local_host
                await self._links.open(self._link or DoorbellPlace(host, 0, host))
            except BaseException:
                await listener.close()
                raise
            await self._heart.beat()
        except BaseException:
            await self._links.close()
            await self._session.close()
            await self._heart.stop()
            raise
        self._tasks = [
            asyncio.create_task(self._or_end(self._hear(listener)), name=f"robot {self.name} listens"),
            asyncio.create_task(self._or_end(self._keep_up()), name=f"robot {self.name} keeps up"),
        ]
        await asyncio.sleep(0)  # cancelled before its first step, it would not close the listener
        self._background.start()
        self._tending.start()

    async def stop(self) -> None:
        """Withdraw: presence ends, the role stays. Safe to call twice.

        Raises:
            MemoryUnavailableError: Postgres could not be told; the presence has ended all the same.

        """
        self._leaving = self._stopping = True
        here = self._heart.present
        try:
            if not await self._heart.stop() and here:  # the session was lost in that moment
                await self._store.withdraw(self._group_id, self.name, self.incarnation)
        finally:
            await self._rest()
            if self._own_models is not None:
                await self._own_models.aclose()
            await self._close_writer()
            await self._links.close()
            await self._replica.close(f"robot {self.name} has stopped")

    async def _rest(self) -> None:
        """End what runs in the background."""
        tasks, self._tasks = self._tasks, []
        await cancelled(tasks)
        await self._background.stop()
        await self._tending.stop()

    async def __aenter__(self) -> HostedRobot:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait_reported(self, revision: int) -> None:
        """Wait until Postgres knows that this robot has applied a revision, which it is told now; or until it ends."""
        with contextlib.suppress(ReplacedError):
            await self.wait_revision(revision)
            self._heart.soon()
            await super().wait_reported(revision)

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
        return self._heart.present

    def heartbeat_age(self, now: float) -> float:
        """Seconds (monotonic) since the last acknowledged heartbeat was sent."""
        return now - self._heart.renewed_at

    def serving(self, now: float) -> Serving:
        """Whether it may serve at ``now`` (seconds, monotonic), and why not."""
        if self.ended is not None:
            return Serving(False, f"its background work ended: {self.ended}")
        if self._stopping:
            return Serving(False, "it has been stopped")
        heart, settings = self._heart, self._heart.registration
        return may_serve(
            Standing(
                # M6: another role than the cache's is served when the cache has it
                registered=settings is not None and not heart.fenced and self.cache.revision >= self._served_from,
                warm=self.warm,
                renewed_at=heart.renewed_at,
                lease_s=settings.lease_ms / 1000 if settings else 0.0,
                heartbeat_s=settings.heartbeat_ms / 1000 if settings else 0.5,
                trouble=heart.trouble,
            ),
            now,
        )

    # -- what its heart calls, in the heart's thread -----------------------------------------------------------------

    def progress(self) -> tuple[int, bool]:
        """The revision that its cache has applied, and whether it may be promoted: warm, staying, and not blocked."""
        settings = self._heart.registration
        # on a busy machine an event loop waits for its turn: who has not answered for a lease could not serve
        blocked = settings is not None and time.monotonic() - self._answered_at > settings.lease_ms / 1000
        return self.cache.revision, self.warm and not self._leaving and not blocked

    def registered_as(self, registration: Registration, applied: int) -> None:
        """It has its place. Until its cache has the role that it has now, it does not serve."""
        if (registration.role, registration.tenure) != (self.role, self.tenure):
            self._served_from = registration.revision
        self._post(self._registered, registration, applied)

    def beaten(self, beat: Beat, applied: int) -> None:
        """A heartbeat has been answered."""
        self._post(self._beaten, beat, applied)

    def phase(self, name: str, seconds: float) -> None:
        """A phase of a failover is over."""
        if self._on_phase is not None:
            self._on_phase(name, seconds)

    def gave_up(self, error: Exception) -> None:
        """It is not to come back."""
        self._post(self._end, error)

    def _post(self, call: Callable[..., object], *arguments: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # its event loop was closed without stopping it
            self._loop.call_soon_threadsafe(call, *arguments)

    # -- in the robot's own event loop -------------------------------------------------------------------------------

    def _registered(self, registration: Registration, applied: int) -> None:
        self._tokenizer = registration.tokenizer
        self._replica.beaten(registration.revision, applied)
        self._replica.reported = 0
        self._links.registered()
        self._beat.set()

    def _beaten(self, beat: Beat, applied: int) -> None:
        self._answered_at = time.monotonic()
        self.cache.max_tokens = beat.max_tokens
        self._replica.beaten(beat.revision, applied)
        self._links.present(beat.peers)
        self._beat.set()

    async def _or_end(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            logger.exception("robot %s", self.name)
            await self._heart.stop()
            self._end(error)

    def _end(self, error: Exception) -> None:
        if self._stopping or self.ended is not None:
            return
        level = logging.WARNING if self._on_replaced is OnReplaced.REJOIN else logging.INFO
        logger.log(level, "robot %s ended: %s", self.name, error)
        self.ended = error
        self._tasks.append(asyncio.create_task(self._ended(error), name=f"robot {self.name} ends"))

    async def _ended(self, error: Exception) -> None:
        self._tasks.remove(asyncio.current_task())  # type: ignore[arg-type]  # it is in a task
        await self._rest()
        await self._links.close()
        await self._replica.close(f"robot {self.name} has ended: {error}")

    async def _keep_up(self) -> None:
        """After each heartbeat's answer: read what the cache lacks, tell those who wait, report what was read."""
        told = ""
        while True:
            await self._beat.wait()
            self._beat.clear()
            try:
                if self._replica.behind or not self._replica.knows_the_active:
                    await self._replica.catch_up()
                    self._report()
                else:
                    await self._replica.wake()
                await self._links.keep()
                told = ""
            except (MemoryUnavailableError, UnknownGroupError) as error:
                if str(error) != told:
                    logger.info("robot %s cannot read what it lacks: %s; trying again", self.name, error)
                told = str(error)

    async def _hear(self, listener: Listener) -> None:
        """Take in what is announced, and read it."""
        while True:
            try:
                async with listener:
                    while True:
                        async for note in listener.notifications():
                            await self._heard(note.revision)
            except MemoryUnavailableError as error:
                logger.info("robot %s hears nothing: %s; listening again", self.name, error)
            listener = await self._listen_again()

    async def _listen_again(self) -> Listener:
        pause = FIRST_PAUSE_S
        while True:
            pause = await rested(pause)
            try:
                listener = await self._listen()
            except MemoryUnavailableError:
                continue
            try:
                await self._replica.catch_up()  # LISTEN first, then read (M5)
            except BaseException as error:
                await listener.close()
                if isinstance(error, MemoryUnavailableError | UnknownGroupError):
                    continue
                raise
            return listener

    async def _heard(self, revision: int) -> None:
        others, asked = self._replica.hear(revision)
        if asked or (others and self.role is Role.ACTIVE):
            self._background.wake()
        if self._replica.behind:
            await self._replica.follow()
        if asked:
            self._heart.soon()
        self._links.follow()
        self._report()

    def _told(self) -> None:
        """Another robot has told what it has written, and the cache has it."""
        if self.role is Role.ACTIVE:
            self._background.wake()
        self._links.follow()
        self._report()

    def _report(self) -> None:
        if self.cache.revision > self._replica.reported:
            self._heart.report()

    async def _listen(self) -> Listener:
        listener = await Listener.open(self._store.dsn, application_name(self.incarnation))
        try:
            await listener.listen([self._group_id])
        except BaseException:
            await listener.close()
            raise
        return listener

    def _remembered(self, items: Sequence[Item]) -> None:
        if self.tenure != self._first_written:
            self._first_written = self.tenure
            self.phase("first_write", time.monotonic() - self._replica.roles_at)
        self._background.remembered(tagged=any(item.tagged for item in items))

    def _claimant(self) -> Claimant | None:
        """Who claims background work: nobody, while it may not serve."""
        serves = self.registered and self.serving(time.monotonic()).ok
        return Claimant(self.name, self.incarnation) if serves else None

    def _tends(self) -> bool:
        """Whether it is this robot that sees to the group's tables: the first active one, while it may serve."""
        return self.cache.named(Role.ACTIVE)[:1] == (self.name,) and self._claimant() is not None
