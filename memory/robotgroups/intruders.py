"""Locks that the database's owner waits for, and robots' logins that keep them: anybody may take an advisory one (S1).

Whoever is no owner has no business with such a lock, and is ended: to a robot, Postgres has been away for a moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import psycopg

from robotgroups.cancelling import cancelled
from robotgroups.connection import Connection, checked_dsn

EVERY_S = 1.0
# Before there is a schema, the owner is who is about to make it.
_END = """
SELECT a.usename::text, pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.pid = ANY (%s::integer[]) AND NOT pg_has_role(a.usesysid,
    coalesce((SELECT nspowner FROM pg_namespace WHERE nspname = 'robotgroups'), current_user::regrole), 'MEMBER')
"""
_OF_ROBOTS = """
AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'robotgroups_robot' AND pg_has_role(a.usesysid, r.oid, 'MEMBER'))
"""
_HOLDERS = """
SELECT l.pid FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
    AND ((l.classid::bigint << 32) | l.objid::bigint) = %s
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

logger = logging.getLogger(__name__)


async def end_holders(connection: Connection, key: int) -> None:
    """End the sessions of no owner that hold the advisory lock ``key``, or wait for it."""
    cursor = await connection.execute(_HOLDERS.encode(), (key,))
    await _end(connection, _END, {pid for (pid,) in await cursor.fetchall()})


@asynccontextmanager
async def unhindered(connection: Connection, dsn: str, name: str) -> AsyncIterator[None]:
    """For the length of the block, end robots' sessions that keep ``connection`` waiting for two looks in a row.

    Others that it waits for, such as a backup, have their time. It looks by a session called ``name``, which is opened
    only when the block takes long.
    """
    watch = asyncio.create_task(_watched(connection.info.backend_pid, dsn, name), name="intruders")
    try:
        yield
    finally:
        await cancelled([watch])


async def _watched(waiting: int, dsn: str, name: str) -> None:
    await asyncio.sleep(EVERY_S)
    try:
        connection = await psycopg.AsyncConnection.connect(checked_dsn(dsn, application_name=name), autocommit=True)
        async with connection:
            before: set[int] = set()
            while True:
                cursor = await connection.execute("SELECT unnest(pg_blocking_pids(%s))", (waiting,))
                now = {pid for (pid,) in await cursor.fetchall()}
                await _end(connection, _END + _OF_ROBOTS, now & before)
                before = now
                await asyncio.sleep(EVERY_S)
    except psycopg.Error as error:
        logger.warning("whoever keeps others from the database's locks is not ended: %s", error)


async def _end(connection: Connection, statement: str, pids: Collection[int]) -> None:
    if pids:
        cursor = await connection.execute(statement.encode(), (list(pids),))
        for login, _ in await cursor.fetchall():
            logger.warning("ended a session of %s: it kept a lock that the database's owner waits for", login)
