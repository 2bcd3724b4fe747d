"""Groups and their logins: made, listed, given away and deleted, mostly by the functions' owner (the operator)."""

from __future__ import annotations

from dataclasses import asdict

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from robotgroups import errors
from robotgroups.models import GroupKey, GroupRecord, GroupSettings, Retention
from robotgroups.pool import Pool


class Administration(Pool):
    """What makes and unmakes groups."""

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


def robot_dsn(owner_dsn: str, login: str, password: str, *, ca_file: str | None = None) -> str:
    """The DSN of a group's login on the owner's server: everything but the user and the password stays.

    ``ca_file``: where the robot finds the certificates that the server's own is checked against.
    """
    own = make_conninfo(owner_dsn, user=login, password=password)
    return with_ca(own, ca_file) if ca_file else own


def with_ca(dsn: str, ca_file: str) -> str:
    """The DSN with the server's certificate checked against those in ``ca_file``, and its name unless it says less."""
    return make_conninfo(dsn, **{"sslmode": "verify-full", **conninfo_to_dict(dsn), "sslrootcert": ca_file})


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
