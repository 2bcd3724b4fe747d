"""The operator as a process, with the chart's rights, against a real API server and a Postgres of its own."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from api_server import ApiServer
from operator_bench import ROOT, Bench, OperatorProcess, open_migrated, operator_kubeconfig
from postgres_server import OWNER, PostgresServer

from robotgroups.store import Store
from robotgroups_operator.api import KubernetesApi


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """An API server that knows RobotGroups."""
    server = ApiServer()
    server.start()
    server.install(ROOT / "crds" / "robotgroups.yaml")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def memory_server() -> Iterator[PostgresServer]:
    """The operator's Postgres; a test that stops it starts it again."""
    server = PostgresServer(18)
    server.start()
    server.create_owner()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE robotgroups OWNER {OWNER}")
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def database(memory_server: PostgresServer) -> str:
    return memory_server.dsn("robotgroups", OWNER)


@pytest.fixture(scope="session")
def dsn_file(database: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "dsn"
    path.write_text(database)
    return path


@pytest.fixture(scope="session")
def access(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return operator_kubeconfig(api_server, tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def running(access: Path, dsn_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator for the tests of a module, of all namespaces."""
    process = OperatorProcess(access, dsn_file, tmp_path_factory.mktemp("operator"))
    process.start()
    yield process
    assert process.stop() == 0
    failures = [line for line in process.lines() if line["level"] == "error"]
    assert failures == []


@pytest.fixture
async def store(running: OperatorProcess, database: str) -> AsyncIterator[Store]:
    """The owner's view of the database."""

    async with await open_migrated(database) as opened:
        yield opened


@pytest.fixture
async def bench(
    api_server: ApiServer, running: OperatorProcess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A namespace of the test's own."""
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    namespace = f"test-{secrets.token_hex(4)}"
    api_server.kubectl("create", "namespace", namespace)
    bench = Bench(await KubernetesApi.connect(), namespace, api_server)
    yield bench
    await bench.close()


@pytest.fixture
async def own_bench(
    api_server: ApiServer, access: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Bench, OperatorProcess, PostgresServer]]:
    """An operator and a Postgres of the test's own, for one namespace only."""
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    namespace = f"own-{tmp_path.name.replace('_', '-')[-30:].strip('-')}"
    api_server.kubectl("create", "namespace", namespace)
    postgres = PostgresServer(18)
    await asyncio.to_thread(postgres.start)
    (tmp_path / "dsn").write_text(postgres.dsn())
    process = OperatorProcess(access, tmp_path / "dsn", tmp_path, namespaces=namespace)
    process.start()
    bench = Bench(await KubernetesApi.connect(), namespace, api_server)
    yield bench, process, postgres
    await bench.close()
    process.kill()
    postgres.destroy()
