"""Connections to Postgres: what a DSN must allow, and how Postgres' errors become ours.

A pool serves statements; presence has a session of its own. Neither works through a transaction-mode pooler, which
``refuse_pooler`` finds out before anything else is done.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from robotgroups import errors

Connection = psycopg.AsyncConnection[TupleRow]

CONNECT_TIMEOUT_S = 5
# A lost node ends a session in seconds, on both ends (design §3).
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 4000,
}
SESSION_SETTINGS = (
    "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 -c tcp_user_timeout=4000 "
    "-c client_connection_check_interval=1000"
)
# How times are told, whatever the DSN says; libpq puts PGTZ and PGDATESTYLE above it.
TIMES = "-c timezone=UTC -c datestyle=ISO"

# Errors of the SQL functions (sql/*.sql) by their SQLSTATE.
_RAISED: dict[str, Callable[[str, str], errors.RobotGroupsError]] = {
    "RG001": lambda m, d: errors.NotActiveError(_with_active(m, d), tuple(json.loads(d or "[]"))),
    "RG002": lambda m, _: errors.UnknownGroupError(m),
    "RG003": lambda m, _: errors.UnknownRobotError(m),
    "RG004": lambda m, _: errors.NoPassiveRobotError(m),
    "RG005": lambda m, _: errors.LastActiveRobotError(m),
    "RG006": lambda m, _: errors.AlreadyMemberError(m),
    "RG007": lambda m, d: errors.HostedElsewhereError(f"{m} ({d or 'it told no endpoint'})", d),
    "RG008": lambda m, _: errors.IdempotencyConflictError(m),
    "RG010": lambda m, _: errors.NoActiveRobotError(m),
    "RG011": lambda m, _: errors.UnknownMemoryError(m),
    "RG012": lambda m, _: errors.ArgumentError(m),
    "RG013": lambda m, _: errors.NotWarmError(m),
    "RG014": lambda m, _: errors.ReplacedError(m),
    "RG015": lambda m, d: errors.PrunedError(m, int(d)),
    "42501": lambda m, _: errors.NotPermittedError(m),
}
_POOLER = (
    "a connection pooler stands between us and Postgres; sessions, LISTEN and advisory locks do not survive one "
    "in transaction mode: point the DSN at Postgres itself"
)
# How PgBouncer refuses settings that Postgres takes at start.
_POOLER_SAYS = "unsupported startup parameter"
_MISSING_SCHEMA = {"3F000", "42883", "42P01"}


def checked_dsn(dsn: str, *, application_name: str, **extra: Any) -> str:
    """Return ``dsn`` with keepalives, a time limit to connect and our session settings.

    TLS is libpq's: ``sslmode``, ``sslrootcert``, ``sslcert`` and ``sslkey`` of the DSN are used as they stand.

    Raises:
        DatabaseConfigError: the DSN cannot be parsed. The message does not repeat it: it may hold a password.

    """
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise errors.DatabaseConfigError(
            "the DSN cannot be read: give a postgresql:// address or libpq's key=value pairs"
        ) from error
    settings: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVES, **given}
    settings["options"] = f"{SESSION_SETTINGS} {given.get('options', '') or ''} {TIMES}"
    settings["application_name"] = application_name
    return make_conninfo("", **settings | extra)


async def readable(connection: Connection, timeout_s: float, event: asyncio.Event | None = None) -> None:
    """Wait until something comes in on an idle connection, ``event`` is set (it is by either), or the time is over.

    psycopg waits for notifications too, but holds the connection meanwhile; broken off, it asks Postgres to cancel.
    """
    event, loop, where = event or asyncio.Event(), asyncio.get_running_loop(), connection.fileno()
    loop.add_reader(where, event.set)
    try:
        async with asyncio.timeout(max(timeout_s, 0)):
            await event.wait()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(where)


async def refuse_pooler(connection: Connection) -> None:
    """Raise PoolerError when the backend that answers is not the one that greeted us.

    A pooler greets clients with a process number of its own. In transaction mode it may serve every transaction by
    another backend, which breaks LISTEN, session advisory locks and so presence; the modes cannot be told apart from
    outside while the pool is idle, so any pooler is refused.
    """
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    if row is None or row[0] != connection.info.backend_pid:
        raise errors.PoolerError(_POOLER)


def spoken_to(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the other side has said something to an idle connection: mostly that is its end.

    A look at the socket, which costs no round trip.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def local_host(descriptor: int) -> str:
    """The address at which the other end of a connection sees this process; the loopback when they share a machine."""
    with socket.socket(fileno=os.dup(descriptor)) as own:
        return own.getsockname()[0] if own.family in (socket.AF_INET, socket.AF_INET6) else "127.0.0.1"


def error_of(state: str, message: str) -> errors.RobotGroupsError:
    """The library's error for one that an SQL function tells of a single item, by its SQLSTATE."""
    return _RAISED[state](message, "")


def raise_ours(error: psycopg.Error) -> NoReturn:
    """Raise the library's error for one of psycopg's."""
    state, diagnosis = error.sqlstate or "", error.diag
    message = diagnosis.message_primary or str(error)
    if state in _RAISED:
        raise _RAISED[state](message, diagnosis.message_detail or "") from error
    if state in _MISSING_SCHEMA:
        raise errors.SchemaVersionError(f"this database has not our schema: migrate it first ({message})") from error
    if isinstance(error, pg.ProgramLimitExceeded):
        raise errors.ArgumentError(f"too large for Postgres: {message}") from error
    if isinstance(error, pg.ReadOnlySqlTransaction):
        raise errors.MemoryUnavailableError(
            f"this Postgres takes no writes, it may be a standby: point the DSN at the primary ({message})"
        ) from error
    if isinstance(error, (pg.DataError, pg.IntegrityError)):
        raise errors.ArgumentError(message) from error
    if _POOLER_SAYS in str(error):
        raise errors.PoolerError(_POOLER) from error
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        raise errors.MemoryUnavailableError(f"Postgres is not available: {message}") from error
    raise error


@asynccontextmanager
async def our_errors() -> AsyncIterator[None]:
    """Turn psycopg's errors inside the block into the library's."""
    try:
        yield
    except psycopg.Error as error:
        raise_ours(error)
    except UnicodeEncodeError as error:
        raise errors.ArgumentError(
            f"text holds a lone surrogate at character {error.start}: give whole characters"
        ) from error


def _with_active(message: str, detail: str) -> str:
    active = json.loads(detail or "[]")
    return f"{message}; active now: {', '.join(active) or 'nobody'}"
