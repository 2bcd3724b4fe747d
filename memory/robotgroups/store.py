"""Everything that the SQL functions offer, typed: groups, members, roles and memory. Decides nothing.

Every call is one statement in autocommit: a caller that is stopped in the middle holds no lock of the group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from robotgroups import errors, migrations
from robotgroups.connection import checked_dsn, our_errors, refuse_pooler
from robotgroups.models import (
    Change,
    ChangeKind,
    Failover,
    FailoverResult,
    GroupKey,
    GroupRecord,
    GroupSettings,
    GroupStatus,
    MembershipChange,
    Memory,
    Outcome,
    Remembered,
    Retention,
    Revised,
    RobotStatus,
    Role,
    Snapshot,
    Verdict,
    roles_from_json,
)

POOL_TIMEOUT_S = 5.0


class Store:
    """A pool of connections to the schema ``robotgroups``; open it with ``Store.open`` and close it."""

    def __init__(self, dsn: str, pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]) -> None:
        self.dsn = dsn
        self._pool = pool

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        max_size: int = 8,
        application_name: str = "robotgroups",
        pool_timeout_s: float = POOL_TIMEOUT_S,
    ) -> Store:
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
        pool = AsyncConnectionPool(
            full,
            min_size=1,
            max_size=max_size,
            timeout=pool_timeout_s,
            kwargs={"autocommit": True, "row_factory": dict_row},
            connection_class=psycopg.AsyncConnection[DictRow],
            check=AsyncConnectionPool.check_connection,
            reconnect_timeout=1,
            open=False,
        )
        store = cls(dsn, pool)
        await pool.open()
        try:
            await store.check_schema()
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check_schema(self) -> None:
        """Raise SchemaVersionError unless the database has this library's schema."""
        version = await self._value("SELECT robotgroups.schema_version()")
        if version != migrations.latest_version():
            raise errors.SchemaVersionError(
                f"the database has schema version {version}, this library needs {migrations.latest_version()}: "
                + ("migrate it" if version < migrations.latest_version() else "upgrade robotgroups")
            )

    # -- groups ------------------------------------------------------------------------------------------------------

    async def ensure_group(self, key: GroupKey, settings: GroupSettings) -> int:
        """Make the group or bring its settings up to date; returns its id. A smaller budget evicts at once."""
        return int(
            await self._value(
                "SELECT robotgroups.ensure_group(%s, %s, %s, %s)",
                (key.cluster, key.namespace_uid, key.name, Jsonb(asdict(settings))),
            )
        )

    async def find_group(self, key: GroupKey) -> int:
        """Id of a group; UnknownGroupError when there is none, NotPermittedError when it is another login's."""
        return int(
            await self._value("SELECT robotgroups.find_group(%s, %s, %s)", (key.cluster, key.namespace_uid, key.name))
        )

    async def list_groups(self, cluster: str) -> list[GroupRecord]:
        """Groups of a cluster (owner only)."""
        rows = await self._rows("SELECT * FROM robotgroups.groups WHERE cluster = %s ORDER BY id", (cluster,))
        return [
            GroupRecord(
                r["id"],
                GroupKey(r["cluster"], r["namespace_uid"], r["name"]),
                r["resource_uid"],
                Retention(r["retention"]),
                r["login"],
            )
            for r in rows
        ]

    async def delete_group(self, group_id: int) -> bool:
        """Delete a group with all of its memory and its login (owner only); False when it was gone."""
        await self.drop_login(group_id)
        return bool(await self._rows("DELETE FROM robotgroups.groups WHERE id = %s RETURNING id", (group_id,)))

    async def adopt_group(self, key: GroupKey, namespace_uid: str) -> int:
        """Give a group's rows to another namespace (owner only); returns its id."""
        return int(
            await self._value(
                "SELECT robotgroups.adopt_group(%s, %s, %s, %s)",
                (key.cluster, key.namespace_uid, key.name, namespace_uid),
            )
        )

    async def ensure_login(self, group_id: int, password: str) -> str:
        """Make the group's login, or give it this password; returns its name (owner only).

        What is sent is the password's SCRAM verifier, so that no log of Postgres can hold the password.
        """
        async with self._connection() as connection:
            row = await (
                await connection.execute(
                    "SELECT format('rg_%%s_%%s', g.id, d.oid) AS login, current_database() AS database "
                    "FROM robotgroups.groups g, pg_database d WHERE g.id = %s AND d.datname = current_database()",
                    (group_id,),
                )
            ).fetchone()
            if row is None:
                raise errors.UnknownGroupError(f"no group has id {group_id}")
            login = str(row["login"])
            verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
            async with connection.transaction():
                exists = await (
                    await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (login,))
                ).fetchone()
                for statement in _login_statements(login, verifier, exists=exists is not None):
                    await connection.execute(statement)
                await connection.execute("UPDATE robotgroups.groups SET login = %s WHERE id = %s", (login, group_id))
            return login

    async def drop_login(self, group_id: int) -> None:
        """Take the group's login away, and end its sessions (owner only)."""
        async with self._connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "UPDATE robotgroups.groups g SET login = NULL FROM robotgroups.groups old "
                "WHERE g.id = %s AND old.id = g.id AND old.login IS NOT NULL RETURNING old.login",
                (group_id,),
            )
            if (row := await cursor.fetchone()) is not None:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (row["login"],)
                )
                await connection.execute(
                    psycopg.sql.SQL("DROP ROLE IF EXISTS {}").format(psycopg.sql.Identifier(row["login"]))
                )

    # -- members and roles -------------------------------------------------------------------------------------------

    async def reconcile_members(self, group_id: int, active: Sequence[str], passive: Sequence[str]) -> MembershipChange:
        """Bring the members to what is declared, in this order; roles that failover has moved stay."""
        row = await self._row(
            "SELECT * FROM robotgroups.reconcile_members(%s, %s::text[], %s::text[])",
            (group_id, list(active), list(passive)),
        )
        return MembershipChange(tuple(row["joined"]), tuple(row["gone"]), tuple(row["moved"]))

    async def join(self, group_id: int, robot: str, role: Role) -> int:
        """Add a member, or bring a failed one back; returns the epoch. AlreadyMemberError."""
        return int(await self._value("SELECT robotgroups.join_robot(%s, %s, %s)", (group_id, robot, role.value)))

    async def leave(self, group_id: int, robot: str) -> bool:
        """Remove a member; False when it was none."""
        return bool(await self._value("SELECT robotgroups.leave(%s, %s)", (group_id, robot)))

    async def promote(self, group_id: int, robot: str) -> int:
        """Make a warm passive robot active beside the others; returns the epoch. ArgumentError, NotWarmError."""
        return int(await self._value("SELECT robotgroups.promote(%s, %s)", (group_id, robot)))

    async def demote(self, group_id: int, robot: str) -> int:
        """Make an active robot passive; returns the epoch. ArgumentError, LastActiveRobotError."""
        return int(await self._value("SELECT robotgroups.demote(%s, %s)", (group_id, robot)))

    async def failover(self, group_id: int, failed: str | None = None, *, detected_by: str) -> FailoverResult:
        """Replace ``failed``, else an active robot that is not live, else the first.

        Raises NoPassiveRobotError, NoActiveRobotError.
        """
        row = await self._row("SELECT * FROM robotgroups.failover(%s, %s, %s)", (group_id, failed, detected_by))
        return FailoverResult(**row)

    async def hand_over(self, group_id: int, robot: str, incarnation: UUID, reason: str) -> str | None:
        """Switch over from a robot that is about to stop; returns who took over, None when nobody could."""
        promoted = await self._value(
            "SELECT robotgroups.hand_over(%s, %s, %s, %s)", (group_id, robot, incarnation, reason)
        )
        return None if promoted is None else str(promoted)

    async def withdraw(self, group_id: int, robot: str, incarnation: UUID) -> bool:
        """End an incarnation's presence cleanly; the role stays. False when it was not present."""
        return bool(await self._value("SELECT robotgroups.withdraw(%s, %s, %s)", (group_id, robot, incarnation)))

    async def declare_failed(
        self,
        group_id: int,
        robot: str,
        incarnation: UUID | None,
        *,
        observed_heartbeat: int | None = None,
        reason: str,
        detected_by: str,
    ) -> Verdict:
        """Declare an incarnation dead; Postgres looks for itself (R3).

        ``observed_heartbeat`` is the counter that the caller has seen unchanged for a lease on its own monotonic clock.
        """
        row = await self._row(
            "SELECT * FROM robotgroups.declare_failed(%s, %s, %s, %s, %s, %s)",
            (group_id, robot, incarnation, observed_heartbeat, reason, detected_by),
        )
        return Verdict(**row | {"outcome": Outcome(row["outcome"])})

    # -- memory ------------------------------------------------------------------------------------------------------

    async def remember(
        self,
        group_id: int,
        *,
        robot: str | None,
        tenure: int | None,
        content: str,
        tokens: int,
        originator: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Remembered:
        """Remember once (M2), durable at return (M1).

        ``tenure`` None is for the owner, and writes for the first active robot.

        Raises:
            NotActiveError: the fence (R2).
            ArgumentError, UnknownRobotError, IdempotencyConflictError, MemoryUnavailableError.

        """
        row = await self._row(
            "SELECT * FROM robotgroups.remember(%s, %s, %s, %s, %s, %s, %s::text[], %s, %s)",
            (group_id, robot, tenure, content, tokens, originator, list(tags), Jsonb(dict(metadata or {})), key),
        )
        return Remembered(**row, tokens=tokens)

    async def forget(self, group_id: int, *, robot: str | None, tenure: int | None, memory_id: int) -> Revised:
        """Hide a memory until it is restored. NotActiveError, UnknownMemoryError."""
        row = await self._row("SELECT * FROM robotgroups.forget(%s, %s, %s, %s)", (group_id, robot, tenure, memory_id))
        return Revised(memory_id, row["revision"], row["epoch"])

    async def restore(self, group_id: int, *, robot: str | None, tenure: int | None, memory_id: int) -> Revised:
        """Bring a forgotten memory back, into the working set too. NotActiveError, UnknownMemoryError."""
        row = await self._row("SELECT * FROM robotgroups.restore(%s, %s, %s, %s)", (group_id, robot, tenure, memory_id))
        return Revised(memory_id, row["revision"], row["epoch"])

    async def clear_working_memory(self, group_id: int, *, robot: str | None, tenure: int | None) -> int:
        """Empty the working set; long-term memory stays. Returns how many left it."""
        return int(await self._value("SELECT robotgroups.clear_working_memory(%s, %s, %s)", (group_id, robot, tenure)))

    async def transfer_working_memory(
        self, group_id: int, *, robot: str | None, tenure: int | None, source: str, target: str
    ) -> int:
        """Make ``target`` the keeper of ``source``'s working memories; returns how many."""
        return int(
            await self._value(
                "SELECT robotgroups.transfer_working_memory(%s, %s, %s, %s, %s)",
                (group_id, robot, tenure, source, target),
            )
        )

    async def recall_fulltext(
        self,
        group_id: int,
        query: str,
        *,
        limit: int,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Memory]:
        """Memories that match a websearch query, best first; ties to the older one.

        ``since`` is inclusive, ``until`` is not.
        """
        rows = await self._rows(
            "SELECT * FROM robotgroups.recall_fulltext(%s, %s, %s, %s::text[], %s, %s, %s)",
            (group_id, query, limit, list(tags), Jsonb(dict(metadata or {})), since, until),
        )
        return [Memory.from_json(r["memory"], r["score"]) for r in rows]

    async def memory(self, group_id: int, memory_id: int) -> Memory:
        """One memory, forgotten or not. UnknownMemoryError."""
        return Memory.from_json(await self._value("SELECT robotgroups.get_memory(%s, %s)", (group_id, memory_id)))

    # -- reading -----------------------------------------------------------------------------------------------------

    async def snapshot(self, group_id: int) -> Snapshot:
        """Revision, roles and working set of one moment. UnknownGroupError."""
        data = await self._value("SELECT robotgroups.snapshot(%s)", (group_id,))
        if data is None:
            raise errors.UnknownGroupError(f"no group has id {group_id}")
        return Snapshot(
            revision=data["revision"],
            epoch=data["epoch"],
            max_tokens=data["max_tokens"],
            roles=roles_from_json(data["roles"]),
            working_memory=tuple(Memory.from_json(m) for m in data["working_memory"]),
        )

    async def changes(self, group_id: int, after: int, limit: int = 1000) -> list[Change]:
        """Events after a revision, in order, at most ``limit``."""
        rows = await self._rows("SELECT * FROM robotgroups.changes_after(%s, %s, %s)", (group_id, after, limit))
        return [
            Change(
                revision=r["revision"],
                kind=ChangeKind(r["kind"]),
                epoch=r["epoch"],
                memory_id=r["memory_id"],
                robot=r["robot"],
                payload=r["payload"],
                created_at=r["created_at"],
            )
            for r in rows
        ]

    async def status(self, group_id: int) -> GroupStatus:
        """The group's state in one snapshot. UnknownGroupError."""
        data = await self._value("SELECT robotgroups.group_status(%s)", (group_id,))
        if data is None:
            raise errors.UnknownGroupError(f"no group has id {group_id}")
        last = data.pop("last_failover")
        robots = tuple(
            RobotStatus(
                **r | {"role": Role(r["role"]), "incarnation": UUID(r["incarnation"]) if r["incarnation"] else None}
            )
            for r in data.pop("robots")
        )
        return replace(GroupStatus(**data, last_failover=None), robots=robots, last_failover=last and _failover(last))

    async def failovers(self, group_id: int, limit: int = 20) -> list[Failover]:
        """The newest failovers and switchovers first (R1)."""
        return [
            _failover(r)
            for r in await self._rows("SELECT * FROM robotgroups.list_failovers(%s, %s)", (group_id, limit))
        ]

    # -- plumbing ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        async with our_errors():
            try:
                async with self._pool.connection() as connection:
                    yield connection
            except PoolTimeout as error:
                raise errors.MemoryUnavailableError(
                    f"Postgres is not available: no connection within {self._pool.timeout:g} s"
                ) from error

    async def _rows(self, sql: str, arguments: Sequence[Any] = ()) -> list[DictRow]:
        async with self._connection() as connection:
            return await (await connection.execute(sql.encode(), arguments)).fetchall()

    async def _row(self, sql: str, arguments: Sequence[Any] = ()) -> DictRow:
        (row,) = await self._rows(sql, arguments)
        return row

    async def _value(self, sql: str, arguments: Sequence[Any] = ()) -> Any:
        (value,) = (await self._row(sql, arguments)).values()
        return value


def robot_dsn(owner_dsn: str, login: str, password: str) -> str:
    """The DSN of a group's login on the owner's server: everything but the user and the password stays."""
    return make_conninfo(owner_dsn, user=login, password=password)


def password_of(dsn: str) -> str | None:
    """The password in a DSN that ``robot_dsn`` made; None when it has none or cannot be read."""
    try:
        password = conninfo_to_dict(dsn).get("password")
    except psycopg.ProgrammingError:
        return None
    return str(password) if password else None


def _login_statements(login: str, verifier: str, *, exists: bool) -> list[psycopg.sql.Composed]:
    name = psycopg.sql.Identifier(login)
    verb = psycopg.sql.SQL("ALTER" if exists else "CREATE")
    # a role's owner may not even repeat NOSUPERUSER on ALTER; on CREATE all of them are the default
    make = psycopg.sql.SQL("{} ROLE {} LOGIN PASSWORD {}")
    settings = {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "10s"}
    return [
        make.format(verb, name, psycopg.sql.Literal(verifier)),
        psycopg.sql.SQL("GRANT robotgroups_robot TO {}").format(name),
        *(
            psycopg.sql.SQL("ALTER ROLE {} SET {} = {}").format(name, psycopg.sql.Identifier(k), psycopg.sql.Literal(v))
            for k, v in settings.items()
        ),
    ]


def _failover(row: Mapping[str, Any]) -> Failover:
    values = {k: v for k, v in row.items() if k != "group_id"}
    for name in ("detected_at", "promoted_at"):
        if isinstance(values[name], str):
            values[name] = datetime.fromisoformat(values[name])
    return Failover(**values)
