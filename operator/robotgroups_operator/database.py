"""The operator's link to Postgres: opens, migrates and listens when it can, and says why when it cannot."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from robotgroups.errors import DatabaseConfigError, MemoryUnavailableError, RobotGroupsError, SetupError
from robotgroups.listener import Listener
from robotgroups.migrations import migrate
from robotgroups.store import Store, with_ca
from robotgroups_operator.metrics import DATABASE_UP, NOTIFICATIONS
from robotgroups_operator.observation import Problem

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
AGAIN_SECONDS = 0.05
POOL_TIMEOUT_SECONDS = 1.5
"""How long one question waits for Postgres before the answer is that it is away."""
MEMORY_UNAVAILABLE = "MemoryUnavailable"


class Database:
    """Keeps a Store open and a session listening, for as long as `run` runs."""

    def __init__(
        self,
        dsn_file: Path,
        *,
        ca_file: Path | None = None,
        on_change: Callable[[int], None],
        on_open: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """`on_change(group_id)` is called for each notification, `on_open`, `on_lost` when the link comes and goes."""
        self._on_lost = on_lost
        self._dsn_file = dsn_file
        self._ca_file = ca_file
        self.ca: str | None = None
        """The certificates (PEM) that Postgres' own is checked against, for robots to do the same."""
        self._on_change = on_change
        self._on_open = on_open
        self._store: Store | None = None
        self._reached = False
        self.attempted = asyncio.Event()
        """Set once the first attempt has come to something: before it nothing is known of Postgres."""
        self._wanted: dict[int, int] = {}
        self._received: dict[int, int] = {}
        self._problem: Problem | None = Problem(MEMORY_UNAVAILABLE, "Postgres has not been reached yet")

    @property
    def problem(self) -> Problem | None:
        """Why there is no link; None when there is one."""
        return self._problem

    @property
    def store(self) -> Store:
        """The store; raises MemoryUnavailableError while the link is lost."""
        if self._problem is not None:
            raise MemoryUnavailableError(self._problem.message)
        return self._opened()

    def listen(self, group_id: int) -> None:
        """Wants notifications of a group from now on."""
        self._wanted[group_id] = self._wanted.get(group_id, 0) + 1
        self._received.setdefault(group_id, 0)

    def forget(self, group_id: int) -> None:
        """Wants them no more."""
        self._wanted[group_id] -= 1
        if not self._wanted[group_id]:
            del self._wanted[group_id]
            self._received.pop(group_id, None)

    def received(self, group_id: int) -> int:
        """Notifications of a group since the operator listens to it."""
        return self._received.get(group_id, 0)

    async def run(self) -> None:
        """Opens, listens, and begins again whenever the link is lost; ends only by cancellation."""
        try:
            while True:
                self._reached = False
                try:
                    await self._open()
                    await self._listen()
                except (RobotGroupsError, OSError) as error:
                    if not self._reached:
                        self._lost(error)
                # a link that stood is tried again at once: it may be that only its session was ended
                await asyncio.sleep(AGAIN_SECONDS if self._reached else RETRY_SECONDS)
        finally:
            if self._store is not None:
                await self._store.close()

    async def _open(self) -> None:
        """Migrates each time: the server may have come back empty, or another one may stand behind the DSN."""
        dsn = await asyncio.to_thread(self._read_dsn)
        applied = await migrate(dsn)
        if self._store is not None and self._store.dsn == dsn:
            return
        if self._store is not None:
            await self._store.close()
        self._store = await Store.open(
            dsn, application_name="robotgroups operator", pool_timeout_s=POOL_TIMEOUT_SECONDS
        )
        log.info("database opened", migrations=applied)

    def _read_dsn(self) -> str:
        dsn = self._dsn_file.read_text().strip()
        if not dsn:
            raise MemoryUnavailableError(
                f"{self._dsn_file} is empty: put the DSN of Postgres into the operator's Secret"
            )
        if self._ca_file is None:
            return dsn
        try:
            self.ca = self._ca_file.read_text()
        except OSError as error:
            raise DatabaseConfigError(f"{self._ca_file} cannot be read: {error.strerror}") from error
        return with_ca(dsn, str(self._ca_file))

    async def _listen(self) -> None:
        async with await Listener.open(self._opened().dsn) as listener:
            log.info("listening")
            self._reached, self._problem = True, None
            self.attempted.set()
            DATABASE_UP.set(1)
            self._on_open()
            while True:
                for group_id in await listener.listen(self._wanted):
                    self._on_change(group_id)
                async for note in listener.notifications():
                    NOTIFICATIONS.inc()
                    if note.group_id in self._received:
                        self._received[note.group_id] += 1
                    self._on_change(note.group_id)

    def _opened(self) -> Store:
        if self._store is None:
            raise MemoryUnavailableError("Postgres has not been reached yet")
        return self._store

    def _lost(self, error: Exception) -> None:
        reason = type(error).__name__.removesuffix("Error") if isinstance(error, SetupError) else MEMORY_UNAVAILABLE
        problem = Problem(reason, str(error))
        if problem != self._problem:
            log.warning("database link lost", reason=reason, error=str(error))
        self._problem = problem
        self.attempted.set()
        DATABASE_UP.set(0)
        self._on_lost()
