"""Connections for statements: each is taken from a pool, checked, and given back.

Every call is one statement in autocommit: a caller that is stopped in the middle holds no lock of the group.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Self

import psycopg
from psycopg.rows import DictRow, TupleRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from robotgroups import errors, migrations
from robotgroups.connection import checked_dsn, our_errors, refuse_pooler, spoken_to

POOL_TIMEOUT_S = 5.0
# What was not needed for so long is closed, one connection at a time. They are lent in turn: each keeps a backend's
# caches of its own warm, and its memory in Postgres.
MAX_IDLE_S = 30.0
# A connection that is kept aside for reads goes through the pool as often, which replaces it when it is old.
KEPT_S = 60.0
# Whether a look at the socket is enough to lend a connection, instead of a round trip.
_TRUSTED = ContextVar("trusted", default=False)


class Pool:
    """A pool of connections to the schema ``robotgroups``; ``open`` it and ``close`` it."""

    def __init__(self, dsn: str, conninfo: str, pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]) -> None:
        self.dsn = dsn
        self.conninfo = conninfo  # with our session settings and the sessions' name
        self._pool = pool
        self._busy = 0  # calls that have a connection, or wait for one
        self._kept: psycopg.AsyncConnection[DictRow] | None = None
        self._kept_until = 0.0

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        max_size: int = 8,
        application_name: str = "robotgroups",
        pool_timeout_s: float = POOL_TIMEOUT_S,
    ) -> Self:
        """Connect, refuse a pooler and a schema of another version. A call waits ``pool_timeout_s`` for a connection.

        Raises:
            MemoryUnavailableError: Postgres cannot be reached.
            PoolerError, SchemaVersionError, DatabaseConfigError, NotPermittedError.

        """
        full = checked_dsn(dsn, application_name=application_name)
        async with our_errors():
            first = await psycopg.AsyncConnection.connect(full, autocommit=True)
            async with first:
                await refuse_pooler(first)

        async def check(connection: psycopg.AsyncConnection[DictRow]) -> None:
            if _TRUSTED.get() and not spoken_to(connection):
                return
            try:
                await AsyncConnectionPool.check_connection(connection)
            except psycopg.Error:
                # Postgres restarted, or a failover ended our sessions: the others are as lost. psycopg_pool would find
                # that out one by one, with growing pauses, while a robot's heartbeat waits.
                await pool.drain()
                raise

        pool = AsyncConnectionPool(
            full,
            min_size=1,
            max_size=max_size,
            timeout=pool_timeout_s,
            max_idle=MAX_IDLE_S,
            kwargs={"autocommit": True, "row_factory": dict_row},
            connection_class=psycopg.AsyncConnection[DictRow],
            check=check,
            reconnect_timeout=1,
            num_workers=max_size,  # attempts to connect that hang shall not hold up one that would succeed
            open=False,
        )
        opened = cls(dsn, full, pool)
        await pool.open()
        try:
            await opened.check_schema()
        except BaseException:
            await opened.close()
            raise
        return opened

    async def close(self) -> None:
        """Close every connection."""
        self._busy += 1  # nothing is kept aside any more
        await self._give_back()
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def one_moment(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """A connection on which everything is read as it is now, however long it takes, and nothing is written."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute("SET LOCAL statement_timeout = 0")
            yield connection

    async def check_schema(self) -> None:
        """Raise SchemaVersionError unless the database has this library's schema."""
        version = await self._value("SELECT robotgroups.schema_version()")
        if version != migrations.latest_version():
            raise errors.SchemaVersionError(
                f"the database has schema version {version}, this library needs {migrations.latest_version()}: "
                + ("migrate it" if version < migrations.latest_version() else "upgrade robotgroups")
            )

    # -- plumbing ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        self._busy += 1
        try:
            async with our_errors():
                try:
                    yield
                except PoolTimeout as error:
                    raise errors.MemoryUnavailableError(
                        f"Postgres is not available: no connection within {self._pool.timeout:g} s"
                    ) from error
        finally:
            self._busy -= 1

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        async with self._asked():
            await self._give_back()
            async with self._pool.connection() as connection:
                yield connection

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """The connection of the read before, kept aside while nothing else is asked: it is warm, and no work of the
        pool's is needed, which costs a tenth of a recall. Else one of the pool's."""
        async with self._asked():
            connection, self._kept = self._kept, None
            if connection is not None and spoken_to(connection):
                await self._pool.putconn(connection)
                connection = None
            if connection is None:
                connection = await self._pool.getconn()
                self._kept_until = time.monotonic() + KEPT_S
            keep = False
            try:
                yield connection
                keep = self._busy == 1 and time.monotonic() < self._kept_until
            finally:
                if keep:
                    self._kept = connection
                else:
                    await self._pool.putconn(connection)

    async def _give_back(self) -> None:
        if (connection := self._kept) is not None:
            self._kept = None
            await self._pool.putconn(connection)

    async def _rows(self, sql: str, arguments: Sequence[Any] = ()) -> list[DictRow]:
        async with self._connection() as connection:
            return await (await connection.execute(sql.encode(), arguments)).fetchall()

    async def _tuples(self, sql: str, arguments: Sequence[Any] = ()) -> list[TupleRow]:
        async with self._reader() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            return await (await cursor.execute(sql.encode(), arguments)).fetchall()

    async def _read(self, sql: str, arguments: Sequence[Any] = ()) -> list[TupleRow]:
        """As ``_tuples``, of what can be asked twice: a connection that has just ended costs another try, and no other
        call a round trip."""
        trusted = _TRUSTED.set(True)
        try:
            return await self._tuples(sql, arguments)
        except errors.MemoryUnavailableError as error:
            if isinstance(error.__cause__, PoolTimeout):
                raise
        finally:
            _TRUSTED.reset(trusted)
        return await self._tuples(sql, arguments)

    async def _row(self, sql: str, arguments: Sequence[Any] = ()) -> DictRow:
        (row,) = await self._rows(sql, arguments)
        return row

    async def _value(self, sql: str, arguments: Sequence[Any] = ()) -> Any:
        (value,) = (await self._row(sql, arguments)).values()
        return value
