"""What a DSN must allow: no pooler, a readable DSN, a schema of our version."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from postgres_server import OWNER, PostgresServer, free_port
from psycopg import conninfo

from robotgroups import migrations
from robotgroups.errors import DatabaseConfigError, MemoryUnavailableError, PoolerError, SchemaVersionError
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.store import Store, robot_dsn, with_ca

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


def make_certificate(key: Path, certificate: Path, address: str) -> None:
    """A certificate that nobody has signed, for an IP address."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)


@pytest.fixture
def tls_postgres() -> Iterator[PostgresServer]:
    """A server that takes TLS alone, with a certificate of its own making (18's build has no TLS)."""
    server = PostgresServer(17)
    server.initdb()
    for name, mode in (("server.key", 0o600), ("server.crt", 0o644)):
        (server.data / name).touch()
        (server.data / name).chmod(mode)
    make_certificate(server.data / "server.key", server.data / "server.crt", "127.0.0.1")
    for name in ("server.key", "server.crt"):
        shutil.chown(server.data / name, server.data.owner(), server.data.group())
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("ssl = on\n")
    rules = server.data / "pg_hba.conf"
    rules.write_text("hostssl all all 127.0.0.1/32 trust\nhostnossl all all 127.0.0.1/32 reject\n")
    server.start()
    yield server
    server.destroy()


async def test_robots_check_the_servers_certificate_as_the_operator_does(
    tls_postgres: PostgresServer, tmp_path: Path
) -> None:
    plain = tls_postgres.dsn()
    ca = tmp_path / "ca.crt"
    ca.write_bytes((tls_postgres.data / "server.crt").read_bytes())
    operators = with_ca(plain, str(ca))
    assert conninfo.conninfo_to_dict(operators)["sslmode"] == "verify-full"
    await migrations.migrate(operators)
    async with await Store.open(operators) as store:
        group_id = await store.ensure_group(GroupKey("local", "default", "tls"), GroupSettings())
        login = await store.ensure_login(group_id, "secret")
    robots = robot_dsn(operators, login, "secret", ca_file=str(ca))
    async with await Store.open(robots) as store:
        assert await store.find_group(GroupKey("local", "default", "tls")) == group_id
    stranger = tmp_path / "stranger.crt"
    make_certificate(tmp_path / "stranger.key", stranger, "127.0.0.1")
    with pytest.raises(MemoryUnavailableError, match="certificate verify failed"):
        await Store.open(robot_dsn(operators, login, "secret", ca_file=str(stranger)))
    with pytest.raises(MemoryUnavailableError, match="rejects connection"):
        await Store.open(conninfo.make_conninfo(plain, sslmode="disable"))


async def test_tls_options_of_the_dsn_are_used(postgres: PostgresServer, dsn: str) -> None:
    """The server has no TLS: a DSN that demands it must not fall back to plain text."""
    with pytest.raises(MemoryUnavailableError, match="SSL"):
        await Store.open(conninfo.make_conninfo(dsn, sslmode="require"))
