"""A robot's presence session: the one connection that LISTENs, holds the incarnation's lock and carries its heartbeats.

Its end, however it comes about, is what proves a robot's death (design §3); so nothing else runs on it.
"""

from __future__ import annotations

from types import TracebackType
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from robotgroups.connection import Connection, checked_dsn, our_errors, refuse_pooler
from robotgroups.models import Beat, Registration, Role

REVISION_DIGITS = 18  # what fits into Postgres' bigint whatever the digits are


def channel(group_id: int) -> str:
    """Name of the group's LISTEN channel: by id, so that no two share one and none exceeds Postgres' 63 bytes."""
    return f"rg_{group_id}"


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
                await connection.execute(f"LISTEN {channel(group_id)}".encode())
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

    async def beat(self, robot: str, *, applied: int, warm: bool) -> Beat:
        """Send one heartbeat with the revision that the cache has applied."""
        async with our_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                "SELECT * FROM robotgroups.beat(%s, %s, %s, %s, %s)",
                (self._group_id, robot, self._incarnation, applied, warm),
            )
            row = await cursor.fetchone()
            assert row is not None
            return Beat(**row | {"role": Role(row["role"]) if row["role"] else None})

    async def withdraw(self, robot: str) -> bool:
        """End presence cleanly; the role stays."""
        async with our_errors():
            cursor = await self._connection.execute(
                "SELECT robotgroups.withdraw(%s, %s, %s)", (self._group_id, robot, self._incarnation)
            )
            row = await cursor.fetchone()
            return bool(row and row[0])

    async def notifications(self, timeout_s: float) -> list[int]:
        """Wait up to ``timeout_s`` seconds; returns the revisions announced, empty at the limit."""
        async with our_errors():
            notes = [n async for n in self._connection.notifies(timeout=timeout_s, stop_after=1)]
        return [revision for n in notes if (revision := announced_revision(n.payload)) is not None]

    async def close(self) -> None:
        """Close the session; Postgres lets go of its lock."""
        await self._connection.close()

    async def __aenter__(self) -> PresenceSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
