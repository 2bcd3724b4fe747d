"""What keeps a robot present and watches the others: heartbeats, doorbell and leases, in a thread apart.

Busy is not dead (design §3): an event loop that is blocked, or a call of a model that takes half a minute, delays no
heartbeat here. All hearts of a process share one thread. Postgres being away is normal life: it tries again for ever.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol, TypeVar
from uuid import UUID

from robotgroups.cancelling import cancelled
from robotgroups.deathwatch import Deathwatch, Guard, unguarded
from robotgroups.detection import LeaseWatch
from robotgroups.doorbell import Doorbell, DoorbellPlace, Watcher
from robotgroups.errors import (
    MemoryUnavailableError,
    ReplacedError,
    RobotGroupsError,
    UnknownGroupError,
    UnknownRobotError,
)
from robotgroups.loop import Loop
from robotgroups.models import Beat, Outcome, Peer, Registration
from robotgroups.presence import PresenceSession
from robotgroups.ring import neighbour
from robotgroups.suspects import Suspect, Suspects

# A beat that is asked for comes soon. How far its cache is a robot tells at once when that has just begun to move, then
# not after every change: a beat costs more than to take a change in.
ASKED_EVERY_S = 0.05
REPORT_EVERY_S = 0.25
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
_DECIDED = {Outcome.PROMOTED, Outcome.VACANT, Outcome.FAILED, Outcome.STALE}

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Body(Protocol):
    """The robot that a heart belongs to. It is called in the heart's thread."""

    def progress(self) -> tuple[int, bool]:
        """The revision that its cache has applied, and whether it is warm and may be promoted."""

    def registered_as(self, registration: Registration, applied: int) -> None:
        """It has its place, again; ``applied`` was its revision when it asked for it."""

    def beaten(self, beat: Beat, applied: int) -> None:
        """A heartbeat has been answered."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase of a failover is over: ``detect``, until the suspicion; ``promote``, from it to the promotion."""

    def gave_up(self, error: Exception) -> None:
        """The heart has stopped: its place is another one's, or nobody's; or by a bug."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose heart it is. ``rejoin``: whether it comes back when it was replaced while it lived.

    ``deathwatch``: whether a process of its own makes known at once that this one has died.
    """

    group_id: int
    robot: str
    incarnation: UUID
    endpoint: str
    rejoin: bool
    deathwatch: bool = False


@cache
def _thread() -> Loop:
    return Loop("heartbeats")


@cache
def _guard() -> Guard:
    """What guards the connections of all hearts; to be asked for in their thread, which it watches over."""
    try:
        deathwatch = Deathwatch()
    except OSError as error:
        logger.warning("no deathwatch: others learn of the end of this process a little later: %s", error)
        return unguarded
    atexit.register(deathwatch.close)
    return deathwatch.guard


class Heart:
    """The presence of one robot. Its methods may be awaited in any event loop."""

    def __init__(self, dsn: str, identity: Identity, body: Body, place: DoorbellPlace | None) -> None:
        self.registration: Registration | None = None
        self.present = False  # whether its presence stands, as far as it knows
        self.fenced = False  # it knows that its place was taken
        self.renewed_at = -1e9  # when the last beat that was acknowledged had been sent; seconds, monotonic
        self.trouble = ""
        self._dsn = dsn
        self._identity = identity
        self._body = body
        self._place = place
        self._guard: Guard = unguarded
        self._doorbell = Doorbell()
        self._watcher = Watcher(self._rang)
        self._leases = LeaseWatch()
        self._suspects = Suspects()
        self._noted = ""
        self._reported = 0
        self._asked = self._moved = self._at_once = self._stopping = self._withdrawing = self._withdrawn = False
        self._news = self._answered = asyncio.Event()  # the thread's own, when it starts
        self._task: asyncio.Task[None] | None = None

    # -- called from any thread --------------------------------------------------------------------------------------

    async def start(self, *, replace: bool) -> None:
        """Take the robot's place in the group, and beat from then on.

        Raises:
            HostedElsewhereError: another process hosts it (unless ``replace``).
            UnknownRobotError, MemoryUnavailableError, PoolerError.

        """
        await _there(self._start(replace=replace))

    async def beat(self) -> None:
        """Beat now, and wait for the answer or for the loss of the session."""
        await _there(self._beat_now())

    async def stop(self, *, withdraw: bool = True) -> bool:
        """End presence; whether Postgres was told, while the session stood. Safe to call twice.

        Without ``withdraw`` it looks like a death.
        """
        return await _there(self._stop(withdraw))

    def soon(self) -> None:
        """Beat soon."""
        if not self._asked:
            self._asked = True
            self._call()

    def report(self) -> None:
        """Beat before long: the cache is further than was reported."""
        if not self._moved:
            self._moved = True
            self._call()

    def _call(self) -> None:
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            _thread().call_soon(self._wake)

    # -- in the heart's thread ---------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._news.set()

    async def _start(self, *, replace: bool) -> None:
        self._news, self._answered = asyncio.Event(), asyncio.Event()
        if self._identity.deathwatch:
            self._guard = _guard()
        session = await self._register(replace=replace, rejoin=True)
        self._task = asyncio.create_task(self._run(session), name=f"heart of {self._identity.robot}")
        await asyncio.sleep(0)  # cancelled before its first step, it would not close the session

    async def _beat_now(self) -> None:
        if self._task is not None and not self._task.done() and self.present:
            self._answered.clear()
            self._at_once = True
            self._news.set()
            await self._answered.wait()

    async def _stop(self, withdraw: bool) -> bool:
        task, self._task = self._task, None
        if task is None:
            return False
        self._stopping = True
        if withdraw and self.present:
            self._withdrawing = True
            self._news.set()
            await asyncio.wait([task])
        await cancelled([task])
        await self._doorbell.close()
        return self._withdrawn

    async def _run(self, session: PresenceSession) -> None:
        ended: Exception | None = None
        try:
            await self._persist(session)
        except RobotGroupsError as error:  # its place is another one's, or nobody's: it was told so, and gives up
            ended = error
        except Exception as error:
            logger.exception("heart of %s", self._identity.robot)
            ended = error
        finally:
            self.present = False
            await self._doorbell.close()
        if ended is not None:
            self._body.gave_up(ended)

    async def _persist(self, session: PresenceSession) -> None:
        """Live, and come back whenever the session is lost, until it is stopped."""
        while True:
            try:
                async with session:
                    with self._guard(session.descriptor):
                        await self._hang_doorbell(session)
                        await session.rehearse_failover()
                        await self._live(session)
            except (MemoryUnavailableError, ReplacedError) as error:
                if not self._stopping:
                    self._lost(error)
            finally:
                self._answered.set()
                await self._watcher.watch(None)
            if self._stopping:
                return
            session = await self._return()

    async def _live(self, session: PresenceSession) -> None:
        """Beat, watch and declare, until the session is lost or the place is taken. Raises ReplacedError."""
        beat_at = 0.0
        while True:
            if self._withdrawing:
                self.present = False
                self._withdrawn = await session.withdraw(self._identity.robot)
                return
            now = time.monotonic()
            if await self._declare(session, now) or self._at_once:
                beat_at = now  # the ring has changed
            if now >= beat_at:
                await self._beat(session)
                beat_at = self.renewed_at + self._heartbeat_s
                if now < self._leases.next_expiry < beat_at:
                    beat_at = self._leases.next_expiry  # to look exactly when a lease is over
                continue
            self._news.clear()
            self._moved = False  # before it is looked how far the cache is
            if self._asked or self._body.progress()[0] > self._reported:
                beat_at = min(beat_at, self.renewed_at + (ASKED_EVERY_S if self._asked else REPORT_EVERY_S))
                self._moved = True  # this beat tells of what is still to come: no change need wake this thread
            if await session.heard(self._news, min(beat_at, self._suspects.next_due) - time.monotonic()):
                beat_at = 0.0

    async def _beat(self, session: PresenceSession) -> None:
        me = self._identity.robot
        sent, self._asked, self._moved, self._at_once = time.monotonic(), False, False, False
        applied, warm = self._body.progress()
        beat = await session.beat(me, applied=applied, warm=warm)
        if not beat.current:
            self.fenced = True
            raise ReplacedError(f"{me}'s presence was ended")
        assert self.registration is not None
        self.registration = replace(self.registration, heartbeat_ms=beat.heartbeat_ms, lease_ms=beat.lease_ms)
        self.renewed_at, self._reported, self.trouble, self._noted = sent, applied, "", ""
        self._body.beaten(beat, applied)
        self._answered.set()
        now = time.monotonic()
        self._suspects.keep(beat.peers)
        self._suspects.expired(self._leases.look(beat.peers, lease_s=beat.lease_ms / 1000, now=now), now)
        await self._watcher.watch(neighbour(me, beat.peers))

    async def _declare(self, session: PresenceSession, now: float) -> bool:
        """Declare those that are due; whether the others are to be asked for anew, by a beat."""
        changed = False
        for suspect in self._suspects.due(now):
            try:
                verdict = await session.declare_failed(suspect, self._identity.robot)
                outcome = verdict.outcome if verdict else None
            except UnknownRobotError:  # it has just left the group
                verdict, outcome = None, Outcome.STALE
            logger.debug("%s holds %s to be dead: %s", self._identity.robot, suspect, verdict or outcome)
            retry_s = verdict.retry_ms / 1000 if verdict and verdict.retry_ms is not None else None
            self._suspects.answered(suspect, outcome, time.monotonic(), retry_s=retry_s)
            if verdict is not None and outcome in _DECIDED - {Outcome.STALE}:
                logger.info(
                    "%s: declared %s failed (%s): %s%s",
                    self._identity.robot,
                    suspect.robot,
                    suspect.reason,
                    verdict.outcome,
                    f", {verdict.promoted} is active now" if verdict.promoted else "",
                )
            if outcome is Outcome.PROMOTED:
                self._promoted(suspect)
            beats_on = outcome is Outcome.ALIVE and suspect.heartbeat is not None
            changed = changed or beats_on or outcome in _DECIDED
        return changed

    def _promoted(self, suspect: Suspect) -> None:
        """By its word another robot was promoted."""
        self._body.phase("promote", time.monotonic() - suspect.since)
        lived = self._leases.moved_at(suspect.robot, suspect.incarnation)
        if lived is not None:
            self._body.phase("detect", max(suspect.since - lived, 0.0))

    def _rang(self, peer: Peer, held: bool) -> None:
        logger.debug("%s: the doorbell of %s (held: %s)", self._identity.robot, peer, held)
        self._suspects.rang(peer, held=held, now=time.monotonic())
        self._wake()

    async def _return(self) -> PresenceSession:
        """Register again, however long it takes. What another process took over is left to it."""
        pause = FIRST_PAUSE_S
        while True:
            pause = await rested(pause)
            try:
                # Only the first registration may push another process aside: later, the other one is the newer.
                return await self._register(replace=False, rejoin=self._identity.rejoin)
            except (MemoryUnavailableError, UnknownGroupError) as error:
                self._note(error)

    async def _register(self, *, replace: bool, rejoin: bool) -> PresenceSession:
        me = self._identity
        session = await PresenceSession.open(self._dsn, me.group_id, me.incarnation)
        sent, (applied, _) = time.monotonic(), self._body.progress()
        try:
            registration = await session.register(me.robot, me.endpoint, replace=replace, rejoin=rejoin)
        except BaseException:
            await session.close()
            raise
        self._leases.forget()
        self._body.registered_as(registration, applied)
        self.fenced, self._reported = False, 0
        self.registration, self.renewed_at, self.trouble, self._noted = registration, sent, "", ""
        self.present = True
        return session

    async def _hang_doorbell(self, session: PresenceSession) -> None:
        if not self._doorbell.address:
            place = self._place or DoorbellPlace(session.local_host, 0, session.local_host)
            try:
                await self._doorbell.open(place, self._guard)
            except OSError as error:
                me = self._identity.robot
                logger.warning("robot %s has no doorbell at %s port %d: %s", me, place.bind, place.port, error)
                return
        await session.hang_doorbell(self._identity.robot, self._doorbell.address)

    # -- small ones --------------------------------------------------------------------------------------------------

    @property
    def _heartbeat_s(self) -> float:
        return self.registration.heartbeat_ms / 1000 if self.registration else 0.5

    def _lost(self, error: RobotGroupsError) -> None:
        """Its session has ended; mostly it is back in a moment."""
        logger.info("robot %s: %s; coming back", self._identity.robot, error)
        self.trouble, self.present = str(error), False

    def _note(self, error: RobotGroupsError) -> None:
        """It cannot come back yet."""
        if str(error) != self._noted:
            logger.warning("robot %s: %s", self._identity.robot, error)
        self._noted = self.trouble = str(error)
        self.present = False


async def rested(pause: float) -> float:
    """Sleep before the next try, about ``pause`` seconds so that retries spread; returns the pause after that."""
    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries
    return min(2 * pause, LONGEST_PAUSE_S)


async def _there(work: Coroutine[Any, Any, T]) -> T:
    """Run in the heart's thread, and wait for it in the caller's event loop."""
    return await asyncio.wrap_future(_thread().submit(work))
