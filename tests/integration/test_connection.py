"""What a DSN must allow: no pooler, a readable DSN, a schema of our version."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from postgres_server import OWNER, PostgresServer, free_port
from psycopg import conninfo

from robotgroups import migrations
from robotgroups.errors import DatabaseConfigError, MemoryUnavailableError, PoolerError, SchemaVersionError
from robotgroups.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PgBouncer before the test's database; yields the DSN that leads through it."""
    given = conninfo.conninfo_to_dict(dsn)
    port, folder = free_port(), Path("/tmp") / f"rg-pgbouncer-{free_port()}"
    folder.mkdir(mode=0o755)
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={given['host']} port={given['port']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {request.param}\nignore_startup_parameters = extra_float_digits,options\n"
        f"[users]\n"
    )
    config.write_text(config.read_text().replace("* = host", f"* = user={OWNER} host"))
    process = subprocess.Popen(
        ["pgbouncer", "-u", "nobody", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "process up" in line:
                break
        yield conninfo.make_conninfo(dsn, host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.communicate(timeout=10)
        config.unlink()
        folder.rmdir()


async def test_a_pooler_is_refused_at_start_with_the_remedy(pooler: str) -> None:
    with pytest.raises(PoolerError, match="point the DSN at Postgres itself"):
        await Store.open(pooler)
    with pytest.raises(PoolerError):
        await migrations.migrate(pooler)


async def test_a_dsn_that_cannot_be_read_is_refused_without_being_repeated() -> None:
    with pytest.raises(DatabaseConfigError) as refused:
        await Store.open("postgresql://me:hush@[broken/db")
    assert "hush" not in str(refused.value)


async def test_postgres_away_is_said_so() -> None:
    with pytest.raises(MemoryUnavailableError, match="Postgres is not available"):
        await Store.open(f"postgresql://x@127.0.0.1:{free_port()}/x")


async def test_a_database_without_our_schema_or_with_another_version_is_refused(
    superuser_dsn: str, admin_dsn: str, dsn: str
) -> None:
    with pytest.raises(SchemaVersionError, match="migrate it"):
        await Store.open(superuser_dsn)
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("INSERT INTO robotgroups.migrations (version, name, sha256) VALUES (9999, 'later', '')")
    with pytest.raises(SchemaVersionError, match="upgrade robotgroups"):
        await Store.open(dsn)
    with pytest.raises(SchemaVersionError, match="upgrade robotgroups"):
        await migrations.migrate(dsn)


async def test_tls_options_of_the_dsn_are_used(postgres: PostgresServer, dsn: str) -> None:
    """The server has no TLS: a DSN that demands it must not fall back to plain text."""
    with pytest.raises(MemoryUnavailableError, match="SSL"):
        await Store.open(conninfo.make_conninfo(dsn, sslmode="require"))
