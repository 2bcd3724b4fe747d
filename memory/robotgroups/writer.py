"""The one connection on which a robot remembers: kept open, its statement prepared, checked before it is used.

A pool would ask Postgres whether the connection stands each time it is lent, which doubles the time of a lone remember.
Here a look at the socket does: an idle connection on which something can be read has been ended by the other side.
"""

from __future__ import annotations

import select
from collections.abc import Sequence

import psycopg

from robotgroups import errors
from robotgroups.connection import Connection, error_of, our_errors, refuse_pooler
from robotgroups.models import Remembered
from robotgroups.remembering import Item

Outcome = Remembered | Exception
_REMEMBER = b"SELECT * FROM robotgroups.remember_batch(%s, %s, %s, %s::jsonb)"


class Writer:
    """Remembers batches for one group, one at a time; ``close`` it."""

    def __init__(self, conninfo: str, group_id: int) -> None:
        self._conninfo = conninfo
        self._group_id = group_id
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Connect, before the first batch has to wait for it. MemoryUnavailableError, PoolerError."""
        async with our_errors():
            await self._connected()

    async def remember(self, robot: str | None, tenure: int | None, items: Sequence[Item]) -> list[Outcome]:
        """Remember items in one transaction, durable at return (M1); an outcome for each, in order.

        ``tenure`` None is for the owner, and writes for the first active robot.

        Raises:
            NotActiveError: the fence (R2); NoActiveRobotError, NotPermittedError.
            MemoryUnavailableError: nobody knows whether it was done.

        """
        text = f"[{','.join(item.json for item in items)}]"
        async with our_errors():
            connection = await self._connected()
            try:
                cursor = await connection.execute(_REMEMBER, (self._group_id, robot, tenure, text), prepare=True)
                rows = await cursor.fetchall()
            except BaseException:
                # cancelled in the middle, or broken: its state is not known
                if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
                    await self.close()
                raise
        outcomes: list[Outcome] = [errors.MemoryUnavailableError("Postgres gave no outcome")] * len(items)
        for place, memory_id, revision, epoch, created, in_working_memory, code, message in rows:
            outcomes[place - 1] = (
                Remembered(memory_id, revision, epoch, created, in_working_memory, items[place - 1].tokens)
                if code is None
                else error_of(code, message)
            )
        return outcomes

    async def close(self) -> None:
        """Close the connection; the next batch opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        if self._connection is not None and (self._connection.closed or _ended(self._connection)):
            await self.close()
        if self._connection is None:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            try:
                await refuse_pooler(connection)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
        return self._connection


def _ended(connection: Connection) -> bool:
    """Whether the other side has said something to an idle connection: that is its end."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
