"""Fixtures on a real PostgreSQL.

Which one: ROBOTGROUPS_TEST_POSTGRES=18 (default) or 17 starts an embedded server for the session; ROBOTGROUPS_TEST_DSN
(a superuser's connection string) uses a given server instead. Each test gets a fresh, migrated database owned by a
login with the rights that the chart gives the operator.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import psycopg
import pytest
from hypothesis import settings
from postgres_server import OWNER, PostgresServer
from psycopg import conninfo, sql

from robotgroups import migrations

# How long an example takes says nothing on a machine that does other things, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_TEMPLATE = "rg_template"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's own server. Tests that stop or crash a server start one of their own."""
    server = PostgresServer(int(os.environ.get("ROBOTGROUPS_TEST_POSTGRES", "18")))
    server.start()
    server.create_owner()
    yield server
    server.destroy()


def _with(dsn: str, **changes: str) -> str:
    return conninfo.make_conninfo(dsn, **changes)


@pytest.fixture(scope="session")
def superuser_dsn(request: pytest.FixtureRequest) -> str:
    """A superuser's connection string of the server under test."""
    given = os.environ.get("ROBOTGROUPS_TEST_DSN")
    if given:
        with psycopg.connect(given, autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (OWNER,)).fetchall():
                connection.execute(
                    f"CREATE ROLE {OWNER} LOGIN CREATEROLE CREATEDB PASSWORD 'test' "
                    "IN ROLE pg_signal_backend, pg_read_all_stats"
                )
        return given
    return str(request.getfixturevalue("postgres").dsn())


@pytest.fixture(scope="session")
def template(superuser_dsn: str) -> Iterator[str]:
    """A migrated database that every test's own is copied from."""
    name = f"{_TEMPLATE}_{secrets.token_hex(4)}"
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER)))
        with psycopg.connect(_with(superuser_dsn, dbname=name), autocommit=True) as made:
            made.execute("CREATE EXTENSION IF NOT EXISTS vector")
        anyio.run(migrations.migrate, _with(superuser_dsn, dbname=name, user=OWNER, password="test"))
        yield name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _fresh(superuser_dsn: str, template: str) -> Iterator[str]:
    name = f"rg_{secrets.token_hex(6)}"
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(*map(sql.Identifier, (name, OWNER, template)))
        )
        yield _with(superuser_dsn, dbname=name, user=OWNER, password="test")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def dsn(superuser_dsn: str, template: str) -> Iterator[str]:
    """The owner's connection string of a fresh, migrated database, dropped afterwards."""
    with _fresh(superuser_dsn, template) as made:
        yield made


@pytest.fixture(scope="module")
def shared_dsn(superuser_dsn: str, template: str) -> Iterator[str]:
    """As `dsn`, one for a module: for tests that keep out of each other's way."""
    with _fresh(superuser_dsn, template) as made:
        yield made


@pytest.fixture
def admin_dsn(superuser_dsn: str, dsn: str) -> str:
    """A superuser's connection string of the test's database."""
    return _with(superuser_dsn, dbname=str(conninfo.conninfo_to_dict(dsn)["dbname"]))
