"""The one connection on which a robot remembers, and reads snapshots and the feed: kept open, checked before use.

Its statements are prepared. A pool would ask Postgres whether the connection stands each time it is lent, which costs
a round trip. Here a look at the socket does: an idle connection on which something can be read has been ended by the
other side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from robotgroups import errors, feed, snapshots
from robotgroups.connection import Connection, error_of, our_errors, refuse_pooler, spoken_to
from robotgroups.feed import changes_of_rows
from robotgroups.group_commit import Outcome
from robotgroups.models import Change, Remembered, Snapshot
from robotgroups.remembering import Item, Kept, changes_of
from robotgroups.snapshots import snapshot_of_rows

_CHANGES, _SNAPSHOT = feed.READ.encode(), snapshots.READ.encode()
_REMEMBER = b"SELECT * FROM robotgroups.remember_batch(%s, %s, %s, %s::jsonb)"
_REMEMBER_ONE = b"SELECT * FROM robotgroups.remember_one(%s, %s, %s, %s::jsonb)"
# What one of many has brought upon all of them: a value that cannot be stored as it is.
_OF_ONE = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
_HUSH = b"SELECT set_config('robotgroups.quiet', %s, false)"


@dataclass(frozen=True, slots=True)
class Written:
    """An outcome for each item, in order; and what the feed tells of them, from the first revision on.

    ``revision`` is the group's after them, 0 when there is none. ``changes`` end before it when the feed tells more
    than is known here. ``kept``: what became of those that were not refused. ``quiet``: Postgres announced nothing.
    """

    outcomes: Sequence[Outcome]
    changes: Sequence[Change]
    revision: int
    kept: Sequence[Kept]
    quiet: bool


class MemorySession:
    """Remembers batches for one group, and reads its state and its feed, one at a time; ``close`` it."""

    def __init__(self, conninfo: str, group_id: int) -> None:
        self._conninfo = conninfo
        self._group_id = group_id
        self._connection: Connection | None = None
        self._quiet = False  # whether this connection announces nothing
        self._free = asyncio.Lock()

    async def remember(
        self, robot: str | None, tenure: int | None, items: Sequence[Item], *, quiet: bool = False
    ) -> Written:
        """Remember items in one transaction, durable at return (M1).

        ``tenure`` None is for the owner, and writes for the first active robot. ``quiet``: the caller sees to it that
        others hear of it. When one of them is nothing that Postgres can store, though it was checked, each is
        remembered in a transaction of its own: it hinders no other.

        Raises:
            NotActiveError: the fence (R2); NoActiveRobotError, NotPermittedError.
            MemoryUnavailableError: nobody knows whether it was done.

        """
        outcomes: list[Outcome] = [errors.MemoryUnavailableError("Postgres gave no outcome")] * len(items)
        async with self._free, our_errors():
            await self._hush(quiet)
            try:
                rows = await self._sent(robot, tenure, items)
            except _OF_ONE:
                if len(items) == 1:
                    raise
                rows = await self._sent_alone(robot, tenure, items, outcomes)
            quiet = self._quiet  # not on a connection that is newer
        kept = []
        for place, memory_id, revision, epoch, created, in_working_memory, code, message, at, evicted in rows:
            if code is not None:
                outcomes[place - 1] = error_of(code, message)
                continue
            item = items[place - 1]
            done = Remembered(memory_id, revision, epoch, created, in_working_memory, item.tokens)
            outcomes[place - 1] = done
            kept.append(Kept(item, done, at, evicted or ()))
        revision = max((k.done.revision for k in kept), default=0)
        return Written(outcomes, changes_of(kept, robot), revision, kept, quiet)

    async def _sent(self, robot: str | None, tenure: int | None, items: Sequence[Item]) -> list[TupleRow]:
        if len(items) == 1 and tenure is not None:
            return await self._fetch(_REMEMBER_ONE, (self._group_id, robot, tenure, items[0].json))
        text = f"[{','.join(item.json for item in items)}]"
        return await self._fetch(_REMEMBER, (self._group_id, robot, tenure, text))

    async def _sent_alone(
        self, robot: str | None, tenure: int | None, items: Sequence[Item], outcomes: list[Outcome]
    ) -> list[TupleRow]:
        """Send each by itself, and note in ``outcomes`` what is refused; what ends one ends those after it, too.

        The rows tell no time: others may have written in between, which only the feed tells.
        """
        rows: list[TupleRow] = []
        for place, item in enumerate(items):
            try:
                async with our_errors():
                    rows += [(place + 1, *row[1:8], None, row[9]) for row in await self._sent(robot, tenure, [item])]
            except errors.ArgumentError as error:
                outcomes[place] = error
            except errors.RobotGroupsError as error:
                outcomes[place:] = [error] * (len(items) - place)
                break
        return rows

    async def idle(self) -> None:
        """Wait for what is under way; not for the connection."""
        async with self._free:
            pass

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Events after a revision, in order, at most ``limit``.

        Raises:
            PrunedError, UnknownGroupError, NotPermittedError; MemoryUnavailableError: also by another connection.

        """
        return changes_of_rows(await self._read(_CHANGES, (self._group_id, after, limit)), after, limit)

    async def snapshot(self) -> Snapshot:
        """The group at this moment. UnknownGroupError, NotPermittedError, MemoryUnavailableError as ``changes``."""
        return snapshot_of_rows(await self._read(_SNAPSHOT, (self._group_id,)), self._group_id)

    async def _read(self, statement: bytes, arguments: Sequence[object]) -> list[TupleRow]:
        async with self._free, our_errors():
            try:
                return await self._fetch(statement, arguments)
            except psycopg.OperationalError:  # ended just now; to read again does no harm
                return await self._fetch(statement, arguments)

    async def _hush(self, quiet: bool) -> None:
        # a connection that turns out to be a new one is not quiet: what it writes is announced, which does no harm
        if self._quiet != quiet:
            await self._fetch(_HUSH, (str(self._group_id) if quiet else "",))
            self._quiet = quiet

    async def _fetch(self, statement: bytes, arguments: Sequence[object]) -> list[TupleRow]:
        connection = await self._connected()
        try:
            cursor = await connection.execute(statement, arguments, prepare=True)
            return await cursor.fetchall()
        except BaseException:
            # cancelled in the middle, or broken: its state is not known
            if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
                await self.close()
            raise

    async def close(self) -> None:
        """Close the connection; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        if self._connection is not None and (self._connection.closed or spoken_to(self._connection)):
            await self.close()
        if self._connection is None:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            try:
                await refuse_pooler(connection)
            except BaseException:
                await connection.close()
                raise
            self._connection, self._quiet = connection, False
        return self._connection
