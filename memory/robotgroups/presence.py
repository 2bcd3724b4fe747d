"""A robot's presence session: the one connection that holds the incarnation's lock and carries its heartbeats.

Its end, however it comes about, is what proves a robot's death (design §3); so nothing long runs on it. It LISTENs to
who comes and goes; what is remembered is heard elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg.rows import dict_row

from robotgroups.connection import (
    Connection,
    checked_dsn,
    local_host,
    our_errors,
    raise_ours,
    readable,
    refuse_pooler,
)
from robotgroups.models import Beat, Peer, Registration, Role, Verdict
from robotgroups.suspects import Suspect

# What holds the group's row longer is no reason to keep the heartbeat waiting.
_DECLARE = """
SELECT d.* FROM (SELECT set_config('lock_timeout', '500ms', true) IS NOT NULL AS limited) AS s CROSS JOIN LATERAL
    robotgroups.declare_failed(CASE WHEN s.limited THEN %s::bigint END, %s, %s, %s, %s, %s) AS d
"""
_REHEARSE = """
SELECT robotgroups.rehearse_failover(CASE WHEN s.limited THEN %s::bigint END)
    FROM (SELECT set_config('lock_timeout', '500ms', true) IS NOT NULL AS limited) AS s
"""
REVISION_DIGITS = 18  # what fits into Postgres' bigint whatever the digits are


def channel(group_id: int) -> str:
    """Name of the group's LISTEN channel: by id, so that no two share one and none exceeds Postgres' 63 bytes."""
    return f"rg_{group_id}"


def robots_channel(group_id: int) -> str:
    """Name of the channel that tells that robots have come or gone."""
    return f"rg_{group_id}_robots"


def announced_revision(payload: str) -> int | None:
    """The revision that a notification announces; None for what is none: anybody may NOTIFY (S1)."""
    return int(payload) if payload.isascii() and payload.isdecimal() and len(payload) <= REVISION_DIGITS else None


def application_name(incarnation: UUID) -> str:
    """What a robot's sessions are called: a replaced robot's are found, and ended, by it."""
    return f"robotgroups {incarnation}"


class PresenceSession:
    """One dedicated session of one incarnation of one robot."""

    def __init__(self, connection: Connection, group_id: int, incarnation: UUID) -> None:
        self._connection = connection
        self._group_id = group_id
        self._incarnation = incarnation

    @classmethod
    async def open(cls, dsn: str, group_id: int, incarnation: UUID) -> PresenceSession:
        """Connect and LISTEN, before anything is read (M5).

        Raises:
            MemoryUnavailableError: Postgres cannot be reached.
            PoolerError: the DSN leads to a pooler.

        """
        async with our_errors():
            connection = await psycopg.AsyncConnection.connect(
                checked_dsn(dsn, application_name=application_name(incarnation)), autocommit=True
            )
            try:
                await refuse_pooler(connection)
                await connection.execute(f"LISTEN {robots_channel(group_id)}".encode())
            except BaseException:
                await connection.close()
                raise
            return cls(connection, group_id, incarnation)

    async def register(self, robot: str, endpoint: str, *, replace: bool, rejoin: bool = True) -> Registration:
        """Take the robot's place in the group; a failed robot comes back by it, if ``rejoin``.

        Raises:
            UnknownRobotError: the group has no such robot.
            HostedElsewhereError: another incarnation lives, and ``replace`` is false.
            ReplacedError: it is failed, and ``rejoin`` is false.

        """
        async with our_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                "SELECT * FROM robotgroups.register(%s, %s, %s, %s, %s, %s)",
                (self._group_id, robot, self._incarnation, endpoint, replace, rejoin),
            )
            row = await cursor.fetchone()
            assert row is not None
            return Registration(**row | {"role": Role(row["role"])})

    async def hang_doorbell(self, robot: str, address: str) -> bool:
        """Tell the others where this process' doorbell is ("host:port"). False: the session is the robot's no more."""
        async with our_errors():
            cursor = await self._connection.execute(
                "SELECT robotgroups.hang_doorbell(%s, %s, %s, %s)",
                (self._group_id, robot, self._incarnation, address),
            )
            row = await cursor.fetchone()
            return bool(row and row[0])

    async def rehearse_failover(self) -> None:
        """Make this session ready to declare a robot failed at once, unless the group is busy; nothing comes of it."""
        async with our_errors():
            with contextlib.suppress(pg.LockNotAvailable):
                await self._connection.execute(_REHEARSE, (self._group_id,))

    async def beat(self, robot: str, *, applied: int, warm: bool) -> Beat:
        """Send one heartbeat with the revision that the cache has applied."""
        async with our_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                "SELECT * FROM robotgroups.heartbeat(%s, %s, %s, %s, %s)",
                (self._group_id, robot, self._incarnation, applied, warm),
            )
            row = await cursor.fetchone()
            assert row is not None
            peers = tuple(Peer(**peer | {"incarnation": UUID(peer["incarnation"])}) for peer in row["peers"])
            return Beat(**row | {"role": Role(row["role"]) if row["role"] else None, "peers": peers})

    async def declare_failed(self, suspect: Suspect, detected_by: str) -> Verdict | None:
        """Say that a robot is dead; Postgres looks for itself (R3). None: the group was busy, try again."""
        async with our_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            try:
                await cursor.execute(
                    _DECLARE,
                    (
                        self._group_id,
                        suspect.robot,
                        suspect.incarnation,
                        suspect.heartbeat,
                        suspect.reason,
                        detected_by,
                    ),
                )
            except pg.LockNotAvailable:
                return None
            row = await cursor.fetchone()
            assert row is not None
            return Verdict.from_row(row)

    async def withdraw(self, robot: str) -> bool:
        """End presence cleanly; the role stays."""
        async with our_errors():
            cursor = await self._connection.execute(
                "SELECT robotgroups.withdraw(%s, %s, %s)", (self._group_id, robot, self._incarnation)
            )
            row = await cursor.fetchone()
            return bool(row and row[0])

    async def heard(self, news: asyncio.Event, timeout_s: float) -> bool:
        """Wait for ``news``, at most ``timeout_s`` seconds; whether robots have come or gone, which sets it too.

        Raises:
            MemoryUnavailableError: the session has ended.

        """
        await readable(self._connection, timeout_s, news)
        async with our_errors():
            return [note async for note in self._connection.notifies(timeout=0)] != []

    @property
    def descriptor(self) -> int:
        """The connection's. MemoryUnavailableError: it has ended."""
        try:
            return self._connection.fileno()
        except psycopg.Error as error:
            raise_ours(error)

    @property
    def local_host(self) -> str:
        """The address at which Postgres sees this process; the loopback when they share a machine."""
        return local_host(self.descriptor)

    async def close(self) -> None:
        """Close the session; Postgres lets go of its lock."""
        await self._connection.close()

    async def __aenter__(self) -> PresenceSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
