"""Fixtures on a real PostgreSQL.

Which one: ROBOTGROUPS_TEST_POSTGRES=18 (default) or 17 starts an embedded server for the session; ROBOTGROUPS_TEST_DSN
(a superuser's connection string) uses a given server instead. Each test gets a migrated and empty database (see
`databases`) owned by a login with the rights that the chart gives the operator.
"""

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from databases import Databases, with_changes
from hypothesis import settings
from postgres_server import OWNER, PostgresServer
from psycopg import conninfo
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# How long an example takes says nothing on a machine that does other things, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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
def databases(superuser_dsn: str) -> Iterator[Databases]:
    """Where tests get their databases from."""
    with Databases(superuser_dsn).opened() as opened:
        yield opened


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """The owner's connection string of a migrated database in which there is nothing, of the test's own."""
    with databases.one() as made:
        yield made


@pytest.fixture(scope="module")
def shared_dsn(databases: Databases) -> Iterator[str]:
    """As `dsn`, one for a module: for tests that keep out of each other's way."""
    with databases.one() as made:
        yield made


@pytest.fixture
def admin_dsn(superuser_dsn: str, dsn: str) -> str:
    """A superuser's connection string of the test's database."""
    return with_changes(superuser_dsn, dbname=str(conninfo.conninfo_to_dict(dsn)["dbname"]))


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests go to one process, as do those of a directory that share an API server (17 s of the processor).

    The benchmarks, the longest, share nothing: each goes where there is time.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        directory = file.rpartition("/")[0]
        if directory in {"tests/integration/operator", "tests/chart"}:
            return directory
        return nodeid if directory == "tests/benchmarks" else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None
