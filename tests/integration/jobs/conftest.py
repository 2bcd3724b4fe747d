"""The group under test, and the endpoint of its models."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fake_llm import FakeLlm
from jobs_group import API_KEY, DIMENSIONS, KEY, Group
from postgres_server import PostgresServer

from robotgroups import migrations
from robotgroups.models import GroupSettings
from robotgroups.store import Store


@pytest.fixture
def fake() -> Iterator[FakeLlm]:
    with FakeLlm(dimensions=DIMENSIONS, key=API_KEY) as running:
        yield running


@asynccontextmanager
async def opened(dsn: str, fake: FakeLlm, tmp_path: Path) -> AsyncIterator[Group]:
    """The group, in a migrated database."""
    key_file = tmp_path / "key"
    key_file.write_text(API_KEY)
    async with await Store.open(dsn) as store:
        group_id = await store.ensure_group(KEY, GroupSettings(max_tokens=100_000, heartbeat_ms=200, lease_ms=1500))
        await store.reconcile_members(group_id, ["a"], ["b", "c"])
        group = Group(dsn, store, group_id, fake, key_file)
        async with group.stack:
            yield group


@pytest.fixture
async def group(dsn: str, fake: FakeLlm, tmp_path: Path) -> AsyncIterator[Group]:
    async with opened(dsn, fake, tmp_path) as group:
        yield group


@pytest.fixture
def own_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    server = PostgresServer(postgres.version)
    server.start()
    yield server
    server.destroy()


@pytest.fixture
async def group_of_its_own(own_server: PostgresServer, fake: FakeLlm, tmp_path: Path) -> AsyncIterator[Group]:
    """The group, on the server that the test may stop."""
    await migrations.migrate(own_server.dsn())
    async with opened(own_server.dsn(), fake, tmp_path) as group:
        yield group
