"""Databases for tests: each gets one that is as the migrations leave it; what a test filled is emptied and used again.

A copy of the template costs 200 ms of the processor, emptying one a tenth of that. A database is used again only if
the test left the schema as it was: every object, right and setting is compared with the template's, as are the rows
that the migrations made. Otherwise it is dropped.
"""

import secrets
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import psycopg
from postgres_server import OWNER
from psycopg import conninfo, sql

from robotgroups import migrations

Connection = psycopg.Connection[tuple[Any, ...]]

_END_LIMIT_MS = 10_000
_LARGE = 4_000_000  # bytes: more than this is dropped sooner than emptied
# Of all but pg_class, every row that is made, changed or dropped shows by its xmin. pg_class changes when a table is
# emptied or analyzed: there it is what a schema says of a relation that counts.
_BY_XMIN = (
    "pg_proc", "pg_namespace", "pg_type", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_trigger",
    "pg_policy", "pg_rewrite", "pg_extension", "pg_event_trigger", "pg_default_acl", "pg_sequence", "pg_operator",
    "pg_opclass", "pg_collation", "pg_ts_config", "pg_ts_dict", "pg_publication", "pg_statistic_ext",
    "pg_largeobject_metadata", "pg_language", "pg_cast", "pg_inherits",
)  # fmt: skip
_FINGERPRINT = (
    "SELECT {by_xmin}, (SELECT sum(hashtextextended(row(c.oid, relname, relnamespace, relowner, relkind,"
    " relpersistence, relacl, reloptions, relrowsecurity, relforcerowsecurity, relnatts, relreplident)::text, 0))"
    " FROM pg_class c WHERE c.oid >= 16384),"
    " (SELECT array[datdba::text, datconnlimit::text, coalesce(datacl, acldefault('d', datdba))::text] FROM pg_database"
    " WHERE datname = current_database()),"
    " (SELECT array_agg(setrole::text || setconfig::text) FROM pg_db_role_setting d JOIN pg_database"
    " ON setdatabase = pg_database.oid WHERE datname = current_database())"
).format(
    by_xmin=", ".join(
        f"(SELECT array[count(*), sum(hashint8extended(xmin::text::bigint, 0))] FROM {catalogue})"
        for catalogue in _BY_XMIN
    )
)
_FILLED = (
    "SELECT oid::regclass::text, pg_relation_size(oid) FROM pg_class "
    "WHERE relkind = 'r' AND oid >= 16384 AND pg_relation_size(oid) > 0"
)
# What the planner and the views of statistics know.
_AS_NEVER_USED = (
    "DELETE FROM pg_statistic WHERE starelid >= 16384",
    "UPDATE pg_class SET relpages = 0, reltuples = -1, relallvisible = 0 "
    "WHERE relkind = 'r' AND oid >= 16384 AND pg_relation_size(oid) = 0 AND reltuples <> -1",
    "SELECT pg_stat_reset()",
)
_SEQUENCES = (
    "SELECT seqrelid::regclass::text, seqstart FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL"
)
_LOGINS = (
    "SELECT rolname FROM pg_roles, pg_database WHERE datname = current_database() "
    "AND rolname ~ format('^rg_\\d+_%s(_\\d+)?$', pg_database.oid)"
)


def with_changes(dsn: str, **changes: str) -> str:
    """The connection string with other values."""
    return conninfo.make_conninfo(dsn, **changes)


@dataclass
class Databases:
    """All databases of one run on one server. `dsn` is a superuser's."""

    dsn: str
    _name: str = field(default_factory=lambda: f"rg_{secrets.token_hex(4)}")
    _made: int = 0
    _free: list[str] = field(default_factory=list)
    _all: set[str] = field(default_factory=set)
    _state: object = None
    _kept: dict[str, object] = field(default_factory=dict)

    @property
    def template(self) -> str:
        return f"{self._name}_template"

    @contextmanager
    def opened(self) -> Iterator["Databases"]:
        """Makes the template, migrated; at the end every database is dropped."""
        owner = sql.Identifier(OWNER)
        self._run(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(self.template), owner))
        self._all.add(self.template)
        try:
            with self._connect(self.template) as made:
                made.execute("CREATE EXTENSION IF NOT EXISTS vector")
            anyio.run(migrations.migrate, with_changes(self.dsn, dbname=self.template, user=OWNER, password="test"))
            with self._connect(self.template) as made:
                self._kept = {table: _rows(made, table) for table in _filled(made)}
                self._state = _fingerprint(made)
            yield self
        finally:
            for name in list(self._all):
                self._drop(name)

    @contextmanager
    def one(self) -> Iterator[str]:
        """A database as the migrations leave it, for one user: its owner's connection string."""
        name = self._free.pop() if self._free else self._copy()
        yield with_changes(self.dsn, dbname=name, user=OWNER, password="test")
        if self._emptied(name):
            self._free.append(name)
        else:
            self._drop(name)

    def _copy(self) -> str:
        self._made += 1
        name = f"{self._name}_{self._made}"
        self._run(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                *map(sql.Identifier, (name, OWNER, self.template))
            )
        )
        self._all.add(name)
        return name

    def _drop(self, name: str) -> None:
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._all.remove(name)

    def _run(self, statement: sql.Composed) -> None:
        with self._connect(None) as connection:
            connection.execute(statement)

    def _connect(self, name: str | None) -> Connection:
        return psycopg.connect(with_changes(self.dsn, **({"dbname": name} if name else {})), autocommit=True)

    def _emptied(self, name: str) -> bool:
        """Ends all its sessions and empties it; whether it is as its template is."""
        try:
            connection = self._connect(name)
        except psycopg.OperationalError:  # the test dropped it, or lets nobody in
            return False
        with connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
                (_END_LIMIT_MS,),
            )
            for (login,) in connection.execute(_LOGINS).fetchall():
                try:
                    connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(login)))
                except psycopg.errors.DependentObjectsStillExist:  # elsewhere, too
                    return False
            if _fingerprint(connection) != self._state:
                return False
            filled = _filled(connection, self._kept)
            if sum(filled.values()) > _LARGE:
                return False
            if filled:
                # TRUNCATE makes new files for every table and index: 100 ms.
                delete = "; ".join(f"DELETE FROM {table}" for table in filled)
                connection.execute(f"SET session_replication_role = replica; {delete}")
                connection.execute(f"VACUUM {', '.join(filled)}")
            for sequence, start in connection.execute(_SEQUENCES).fetchall():
                connection.execute("SELECT setval(%s, %s, false)", (sequence, start))
            for statement in _AS_NEVER_USED:
                connection.execute(statement)
            if _filled(connection, self._kept):
                return False
            return all(_rows(connection, table) == rows for table, rows in self._kept.items())


def _fingerprint(connection: Connection) -> object:
    return connection.execute(_FINGERPRINT).fetchone()


def _filled(connection: Connection, but: Container[str] = ()) -> dict[str, int]:
    """The tables that have pages, and how many bytes."""
    return {table: size for table, size in connection.execute(_FILLED).fetchall() if table not in but}


def _rows(connection: Connection, table: str) -> object:
    return connection.execute(f"SELECT array_agg(t::text ORDER BY t::text) FROM {table} t").fetchone()
