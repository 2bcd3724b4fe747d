"""Ordered SQL migrations with a ledger, applied under an advisory lock.

The files sql/NNNN_name.sql are the schema; the ledger ``robotgroups.migrations`` records each with the hash of its
text. A file that was applied never changes: a difference is refused, as is a database that is newer than this library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import psycopg

from robotgroups.connection import Connection, checked_dsn, our_errors, refuse_pooler
from robotgroups.errors import DatabaseConfigError, SchemaVersionError
from robotgroups.intruders import unhindered

_NAME = "robotgroups migrate"
# Any constant: what matters is that all of us take the same one.
_LOCK = 5247_0001
_LEDGER = """
CREATE SCHEMA IF NOT EXISTS robotgroups;
CREATE TABLE IF NOT EXISTS robotgroups.migrations (
    version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now());
"""

# Sessions of the release before: a call of theirs that waits for us would go on with the functions as they were on the
# tables as they are now, and statements that they have prepared give rows of another shape. They are ended instead: to
# whoever called, Postgres has been away for a moment. Presence sessions (they hold an advisory lock) are left alone:
# their functions fit, and their end would be taken for a death; so is who waits to migrate.
_END_SESSIONS = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.application_name <> 'robotgroups migrate'
    AND (a.usename = current_user
        OR EXISTS (SELECT FROM robotgroups.groups g WHERE a.usename::text IN (g.login, g.previous_login)))
    AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, name and text."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Hash of the text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def known() -> tuple[Migration, ...]:
    """All migrations that this library carries, in order."""
    found = [f for f in (files("robotgroups") / "sql").iterdir() if f.name.endswith(".sql")]
    return tuple(
        Migration(int(f.name.split("_", 1)[0]), f.name.removesuffix(".sql"), f.read_text("utf-8"))
        for f in sorted(found, key=lambda f: f.name)
    )


def latest_version() -> int:
    """Version of the schema that this library needs."""
    return known()[-1].version


def pending(applied: dict[int, str]) -> list[Migration]:
    """Decide what is to be applied, given the ledger (version -> sha256).

    Raises:
        SchemaVersionError: the database is newer than this library, or an applied file is another one than ours.

    """
    ours = {m.version: m for m in known()}
    if newer := sorted(set(applied) - set(ours)):
        raise SchemaVersionError(
            f"the database has schema version {newer[-1]}, this library knows up to {latest_version()}: "
            "upgrade robotgroups"
        )
    for version, digest in applied.items():
        if ours[version].sha256 != digest:
            raise SchemaVersionError(
                f"migration {ours[version].name} was applied with another text: "
                "this database belongs to another build of robotgroups"
            )
    return [m for m in known() if m.version not in applied]


class Watcher:
    """Hears how a migration goes; this one does nothing with it."""

    def waiting(self) -> None:
        """Somebody else is migrating this database: it waits."""

    def applying(self, migration: Migration) -> None:
        """This one is being applied."""


async def migrate(dsn: str, watcher: Watcher | None = None) -> list[str]:
    """Bring the database at ``dsn`` to this library's schema; returns the names of what was applied.

    Safe when many do it at once: they wait for each other, and all but the first find nothing to do.

    Raises:
        SchemaVersionError: see ``pending``.
        DatabaseConfigError: the database lacks what the schema needs (pgvector); the message tells the remedy.
        PoolerError, MemoryUnavailableError, NotPermittedError.

    """
    async with our_errors():
        connection = await psycopg.AsyncConnection.connect(checked_dsn(dsn, application_name=_NAME), autocommit=True)
        async with connection:
            await refuse_pooler(connection)
            try:
                async with unhindered(connection, dsn, _NAME):
                    return await _migrate_locked(connection, watcher or Watcher())
            except psycopg.errors.RaiseException as error:  # a migration says what it misses
                raise DatabaseConfigError(error.diag.message_primary or str(error)) from error


async def _migrate_locked(connection: Connection, watcher: Watcher) -> list[str]:
    await connection.execute("SET client_min_messages = warning")
    if await (await connection.execute("SELECT FROM pg_try_advisory_lock(%s) t WHERE t", (_LOCK,))).fetchone() is None:
        watcher.waiting()
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        async with connection.transaction():
            await connection.execute(_LEDGER)
            cursor = await connection.execute("SELECT version, sha256 FROM robotgroups.migrations")
            applied: dict[int, str] = dict(await cursor.fetchall())
            todo = pending(applied)
            for migration in todo:
                watcher.applying(migration)
                # bytes: the text is a file of this package, and holds % signs
                await connection.execute(migration.sql.encode())
                await connection.execute(
                    "INSERT INTO robotgroups.migrations (version, name, sha256) VALUES (%s, %s, %s)",
                    (migration.version, migration.name, migration.sha256),
                )
            if todo and applied:
                await connection.execute(_END_SESSIONS)
            return [m.name for m in todo]
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
