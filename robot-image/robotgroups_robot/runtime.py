"""The robot's life in its pod: finds its group, registers, serves; told to stop, hands over, drains and withdraws."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import uuid4

import anyio
import structlog

from robotgroups import tokens
from robotgroups.errors import HostedElsewhereError, RobotGroupsError
from robotgroups.models import FailoverResult, GroupKey, SwitchoverResult
from robotgroups.presence import application_name
from robotgroups.robot import HostedRobot
from robotgroups.store import Store
from robotgroups_robot import health
from robotgroups_robot.forwarding import Forwarder, Writer
from robotgroups_robot.health import Health, Phase
from robotgroups_robot.metrics import Metrics, RobotSample
from robotgroups_robot.problems import Problem, ProblemError, ProblemType
from robotgroups_robot.settings import RobotSettings, SettingsError

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
SUPERVISION_S = 0.5
# An older process that is told to stop hands over, drains (3 s) and withdraws within that.
GIVE_WAY_S = 10.0
GIVE_WAY_PAUSE_S = 0.1
# Of the grace period (30 s): what is not over by then would only be killed later.
HAND_OVER_LIMIT_S = 5.0
WITHDRAW_LIMIT_S = 3.0

T = TypeVar("T")

logger = structlog.get_logger(__name__)


class Runtime:
    """What the process runs beside its HTTP server, and what the routes work on."""

    def __init__(self, settings: RobotSettings) -> None:
        self.settings = settings
        self.phase = Phase.STARTING
        self.waiting_for = "it has not connected to Postgres yet"
        self.ending = anyio.Event()
        self.metrics = Metrics(self.standing)
        self._forwarder = Forwarder(settings.robot, self.metrics.count_forwarded)
        self._store: Store | None = None
        self._robot: HostedRobot | None = None
        self._writer: Writer | None = None
        self._group_id = 0
        self._incarnation = uuid4()

    # -- start and stop ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps the robot in its group, until cancelled; ends when the robot has ended by a bug (see `liveness`).

        What keeps it out (Postgres away, not declared yet, alive elsewhere) is told in `waiting_for` and tried again.
        """
        store, group_id = await self._persist(self._find_group)
        self._store, self._group_id = store, group_id
        # This process is newer than whatever held the robot's name. Once pushed aside itself, it is the older one.
        take_place = partial(self._take_place, store, group_id)
        while True:
            robot = await self._persist(take_place)
            self._began(robot)
            await anyio.to_thread.run_sync(tokens.encoding, tokens.DEFAULT)  # 0.3 s: not in the first write's time
            while robot.ended is None:  # noqa: ASYNC110  the robot tells it by this attribute
                await anyio.sleep(SUPERVISION_S)
            if not isinstance(robot.ended, RobotGroupsError):
                return
            logger.warning("lost its place; trying to return", error=str(robot.ended))
            self._robot, self._writer, self.waiting_for = None, None, str(robot.ended)
            take_place = partial(self._start_robot, store, group_id, replace=False)

    async def _take_place(self, store: Store, group_id: int) -> HostedRobot:
        """Waits for an older process that lives (a deleted pod that drains) to hand over; then pushes it aside."""
        patience = time.monotonic() + GIVE_WAY_S
        while time.monotonic() < patience:
            try:
                return await self._start_robot(store, group_id, replace=False)
            except HostedElsewhereError as error:
                if str(error) != self.waiting_for:
                    logger.info("waiting for the older process to hand over", error=str(error))
                self.waiting_for = str(error)
            await anyio.sleep(GIVE_WAY_PAUSE_S)
        return await self._start_robot(store, group_id, replace=True)

    async def _start_robot(self, store: Store, group_id: int, *, replace: bool) -> HostedRobot:
        robot = HostedRobot(
            store,
            group_id,
            self.settings.robot,
            endpoint=self.settings.endpoint,
            replace=replace,
            incarnation=self._incarnation,
            keys=self.settings.api_keys(),
            doorbell=self.settings.doorbell,
            link=self.settings.link,
            deathwatch=True,
            on_phase=self.metrics.observe_phase,
        )
        await robot.start()
        return robot

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await attempt()
            except (RobotGroupsError, SettingsError) as error:
                if str(error) != self.waiting_for:
                    logger.warning("cannot join yet; trying again", error=str(error), kind=type(error).__name__)
                self.waiting_for = str(error)
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _find_group(self) -> tuple[Store, int]:
        s = self.settings
        store = await Store.open(s.read_dsn(), application_name=application_name(self._incarnation))
        try:
            return store, await store.find_group(GroupKey(s.cluster, s.namespace_uid, s.group))
        except BaseException:
            await store.close()
            raise

    def _began(self, robot: HostedRobot) -> None:
        self._robot, self._writer = robot, Writer(robot, self._forwarder)
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING
        logger.info("registered", role=robot.role, tenure=robot.tenure, epoch=robot.epoch, revision=robot.revision)

    async def hand_over(self) -> None:
        """Stops being ready and, when it is active, gives the role to a warm passive robot: the planned switchover.

        A passive one says so too: nobody is to hand over to it any more.
        """
        self.phase = Phase.DRAINING
        if self._robot is None:
            return
        with anyio.move_on_after(HAND_OVER_LIMIT_S) as limit:
            try:
                promoted = await self._robot.hand_over("the robot was told to stop")
            except RobotGroupsError as error:
                logger.warning("could not hand over", error=str(error))
                return
            logger.info("handed over", promoted=promoted)
        if limit.cancelled_caught:
            logger.warning("could not hand over", error=f"no answer within {HAND_OVER_LIMIT_S:g} s")

    async def stop(self) -> None:
        """Withdraws: the role stays, and coming back is no dead man's return. To be called after the last request."""
        with anyio.move_on_after(WITHDRAW_LIMIT_S) as limit:
            if self._robot is not None:
                try:
                    await self._robot.stop()
                except RobotGroupsError as error:
                    logger.warning("could not withdraw", error=str(error))
            await self._forwarder.aclose()
            if self._store is not None:
                await self._store.close()
        if limit.cancelled_caught:
            logger.warning("could not withdraw", error=f"no answer within {WITHDRAW_LIMIT_S:g} s")

    # -- what the routes ask -----------------------------------------------------------------------------------------

    @property
    def robot(self) -> HostedRobot:
        """The robot, once it has registered. Raises ProblemError (503) before."""
        if self._robot is None:
            raise ProblemError(Problem(ProblemType.NOT_SERVING, self.waiting_for))
        return self._robot

    @property
    def writer(self) -> Writer:
        """Carries out writes, once the robot has registered. Raises ProblemError (503) before."""
        if self._writer is None:
            raise ProblemError(Problem(ProblemType.NOT_SERVING, self.waiting_for))
        return self._writer

    def serving_robot(self) -> HostedRobot:
        """The robot for a read. Raises ProblemError (503) when it may not serve: what it holds could be stale."""
        serving = self.robot.serving(time.monotonic())
        if not serving.ok:
            raise ProblemError(Problem(ProblemType.NOT_SERVING, serving.reason))
        return self.robot

    def startup(self) -> Health:
        """What /startupz answers."""
        return health.startup(self.phase, self.waiting_for)

    def readiness(self) -> Health:
        """What /readyz answers."""
        serving = None
        if self._robot is not None:
            judged = self._robot.serving(time.monotonic())
            serving = Health(judged.ok, judged.reason)
        return health.readiness(self.phase, self.waiting_for, serving)

    def liveness(self) -> Health:
        """What /healthz answers."""
        ended = self._robot.ended if self._robot is not None else None
        # what the library raises on purpose is a reason to try again, not to restart the process
        return health.liveness(None if ended is None or isinstance(ended, RobotGroupsError) else repr(ended))

    def standing(self) -> RobotSample | None:
        """How the robot stands now; None before it has registered."""
        robot = self._robot
        if robot is None:
            return None
        now = time.monotonic()
        return RobotSample(
            role=robot.role,
            tenure=robot.tenure,
            epoch=robot.epoch,
            revision=robot.revision,
            lag=robot.lag,
            heartbeat_age=robot.heartbeat_age(now),
            warm=robot.warm,
            serving=self.readiness().ok,
            memories=len(robot.cache.memories),
            tokens=robot.cache.tokens,
            max_tokens=robot.cache.max_tokens,
            nodes_synced=robot.stats.nodes_synced,
            evictions_synced=robot.stats.evictions_synced,
            notifications_received=robot.stats.notifications_received,
        )

    async def failover(self, failed: str | None) -> FailoverResult:
        """Failover on request. Raises NoPassiveRobotError, NoActiveRobotError, ArgumentError."""
        if self._store is None:
            raise ProblemError(Problem(ProblemType.NOT_SERVING, self.waiting_for))
        return await self._store.failover(self._group_id, failed, detected_by=self.settings.robot)

    async def switchover(self, source: str | None, target: str | None) -> SwitchoverResult:
        """Switchover on request. Raises NoPassiveRobotError, NotWarmError, NoActiveRobotError, ArgumentError."""
        if self._store is None:
            raise ProblemError(Problem(ProblemType.NOT_SERVING, self.waiting_for))
        return await self._store.switchover(self._group_id, source, target, asked_by=self.settings.robot)
