"""Groups' logins: made, rotated and taken away by the functions' owner (the operator), and the DSNs that robots get.

A rotation makes a second login, so that robots can come over one by one: both may use the group until it is finished.
A login is called after its group, the database (logins belong to the server) and, from the second one on, its number.
"""

from __future__ import annotations

import logging
import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier, Literal

from robotgroups import errors
from robotgroups.models import RotationEnd
from robotgroups.pool import Pool

Connection = psycopg.AsyncConnection[DictRow]

SETTINGS = {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "10s"}
END_MS = 5000
"""How long a session that is ended is waited for: what it holds would keep its login."""
logger = logging.getLogger(__name__)
_LOGIN = re.compile(r"(rg_\d+_\d+)(?:_(\d+))?")


class Logins(Pool):
    """What makes and unmakes logins (owner only)."""

    async def logins(self, group_id: int) -> tuple[str | None, str | None]:
        """The group's login, and the previous one while it is being rotated; None: there is none."""
        async with self._connection() as connection, connection.transaction():
            _, login, previous = await _lock(connection, group_id)
            return login, previous

    async def ensure_login(self, group_id: int, password: str) -> str:
        """Make the group's login, or give it this password; returns its name.

        What is sent is the password's SCRAM verifier, so that no log of Postgres can hold the password.
        """
        async with self._connection() as connection, connection.transaction():
            first, login, _ = await _lock(connection, group_id)
            return await _make(connection, group_id, login or first, password)

    async def rotate_login(self, group_id: int, old: str, password: str) -> str:
        """Make a second login beside ``old``, which works until ``finish_rotation``; returns the new one's name.

        Whoever was interrupted before it had stored what this returned calls it again with the same ``old``: then the
        second login gets this password.

        Raises:
            ArgumentError: ``old`` is itself the second login of a rotation that is not finished, or none of the
                group's.

        """
        async with self._connection() as connection, connection.transaction():
            first, login, previous = await _lock(connection, group_id)
            if login is None or previous == old:
                return await _make(connection, group_id, login or first, password)
            if login != old:
                raise errors.ArgumentError(f"group {group_id} has not the login {old} but {login}: read its DSN again")
            if previous is not None:
                raise errors.ArgumentError(f"the rotation from {previous} to {old} is not finished: finish it first")
            await connection.execute("UPDATE robotgroups.groups SET previous_login = %s WHERE id = %s", (old, group_id))
            return await _make(connection, group_id, f"{first}_{login_number(old) + 1}", password)

    async def finish_rotation(self, group_id: int) -> RotationEnd:
        """Take the previous login away and end its sessions, unless a robot is still present under it."""
        async with self._connection() as connection, connection.transaction():
            _, _, previous = await _lock(connection, group_id)
            if previous is None:
                return RotationEnd(None, ())
            present = await connection.execute(
                "SELECT p.robot FROM robotgroups.presence p JOIN pg_stat_activity a ON a.pid = p.backend_pid "
                "WHERE p.group_id = %s AND a.usename = %s AND robotgroups.is_live(p) ORDER BY p.robot",
                (group_id, previous),
            )
            if waiting := tuple(str(row["robot"]) for row in await present.fetchall()):
                return RotationEnd(None, waiting)
            await connection.execute("UPDATE robotgroups.groups SET previous_login = NULL WHERE id = %s", (group_id,))
            await _drop(connection, previous)
            return RotationEnd(previous, ())

    async def drop_login(self, group_id: int) -> None:
        """Take the group's logins away, and end their sessions."""
        async with self._connection() as connection, connection.transaction():
            try:
                _, *logins = await _lock(connection, group_id)
            except errors.UnknownGroupError:
                return
            await connection.execute(
                "UPDATE robotgroups.groups SET login = NULL, previous_login = NULL WHERE id = %s", (group_id,)
            )
            for login in filter(None, logins):
                await _drop(connection, login)


def login_number(login: str) -> int:
    """Which of its group's logins it is: 1 is the first, 2 follows from the first rotation."""
    match = _LOGIN.fullmatch(login)
    return int(match[2]) if match and match[2] else 1


async def _lock(connection: Connection, group_id: int) -> tuple[str, str | None, str | None]:
    """The name of the group's first login, of its present one and of the previous one; UnknownGroupError.

    Those of another database of this server, which this one is a copy of, are not the group's.
    """
    row = await (
        await connection.execute(
            "SELECT g.login, g.previous_login, format('rg_%%s_%%s', g.id, d.oid) AS first "
            "FROM robotgroups.groups g, pg_database d "
            "WHERE g.id = %s AND d.datname = current_database() FOR NO KEY UPDATE OF g",
            (group_id,),
        )
    ).fetchone()
    if row is None:
        raise errors.UnknownGroupError(f"no group has id {group_id}")
    first = str(row["first"])
    if row["login"] is None:
        return first, None, None
    if _base(row["login"]) != first:
        await connection.execute(
            "UPDATE robotgroups.groups SET login = NULL, previous_login = NULL WHERE id = %s", (group_id,)
        )
        return first, None, None
    return first, row["login"], row["previous_login"]


def _base(login: str) -> str:
    match = _LOGIN.fullmatch(login)
    return match[1] if match else login


async def _make(connection: Connection, group_id: int, login: str, password: str) -> str:
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    for statement in _login_statements(login, verifier, exists=await _exists(connection, login)):
        await connection.execute(statement)
    await connection.execute(
        "UPDATE robotgroups.groups SET login = %s WHERE id = %s AND login IS DISTINCT FROM %s", (login, group_id, login)
    )
    return login


async def _drop(connection: Connection, login: str) -> None:
    """End the login's sessions and drop it.

    A login can make large objects and temporary tables, which keep it from being dropped; those of other databases are
    out of reach from here. Then it stays as a role that can neither log in nor do anything.
    """
    await connection.execute(
        "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE usename = %s", (END_MS, login)
    )
    if not await _exists(connection, login):
        return
    name = Identifier(login)
    await connection.execute(SQL("GRANT {} TO CURRENT_USER").format(name))
    await connection.execute(SQL("DROP OWNED BY {}").format(name))
    try:
        async with connection.transaction():
            await connection.execute(SQL("DROP ROLE {}").format(name))
    except psycopg.errors.DependentObjectsStillExist as error:
        logger.warning("login %s cannot be dropped, and is disabled: %s", login, error.diag.message_detail)
        await connection.execute(SQL("REVOKE robotgroups_robot FROM {}").format(name))
        await connection.execute(SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(name))


async def _exists(connection: Connection, login: str) -> bool:
    cursor = await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (login,))
    return await cursor.fetchone() is not None


def _login_statements(login: str, verifier: str, *, exists: bool) -> list[Composed]:
    name = Identifier(login)
    # a role's owner may not even repeat NOSUPERUSER on ALTER; on CREATE all of them are the default
    make = SQL("{} ROLE {} LOGIN PASSWORD {}").format(SQL("ALTER" if exists else "CREATE"), name, Literal(verifier))
    limits = [SQL("ALTER ROLE {} SET {} = {}").format(name, Identifier(k), Literal(v)) for k, v in SETTINGS.items()]
    return [make, SQL("GRANT robotgroups_robot TO {}").format(name), *limits]


def robot_dsn(owner_dsn: str, login: str, password: str, *, ca_file: str | None = None) -> str:
    """The DSN of a group's login on the owner's server: everything but the user and the password stays.

    ``ca_file``: where the robot finds the certificates that the server's own is checked against.
    """
    own = make_conninfo(owner_dsn, user=login, password=password)
    return with_ca(own, ca_file) if ca_file else own


def with_ca(dsn: str, ca_file: str) -> str:
    """The DSN with the server's certificate checked against those in ``ca_file``, and its name unless it says less."""
    return make_conninfo(dsn, **{"sslmode": "verify-full", **conninfo_to_dict(dsn), "sslrootcert": ca_file})


def login_of(dsn: str) -> str | None:
    """The login in a DSN that ``robot_dsn`` made; None when it has none or cannot be read."""
    return _part(dsn, "user")


def password_of(dsn: str) -> str | None:
    """The password in a DSN that ``robot_dsn`` made; None when it has none or cannot be read."""
    return _part(dsn, "password")


def _part(dsn: str, name: str) -> str | None:
    try:
        value = conninfo_to_dict(dsn).get(name)
    except psycopg.ProgrammingError:
        return None
    return str(value) if value else None
