"""Another Postgres server takes over: a standby is promoted, and what the lost one acknowledged last is gone."""

import time
from collections.abc import AsyncIterator, Iterator

import anyio
import psycopg
import pytest
from postgres_server import PostgresServer
from robot_process import until

from robotgroups import migrations
from robotgroups.check import check
from robotgroups.errors import NotActiveError
from robotgroups.models import ChangeKind, GroupKey, GroupSettings, Outcome, Role
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

pytestmark = pytest.mark.anyio
LIMIT_S = 20
EPOCHS, REVISIONS = 1000, 1_000_000_000  # what is left free for what the lost server may have given out


@pytest.fixture
def servers(postgres: PostgresServer) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary with our schema, and its streaming standby."""
    primary = PostgresServer(postgres.version)
    primary.start()
    anyio.run(migrations.migrate, primary.dsn())
    standby = primary.standby()
    standby.start()
    yield primary, standby
    primary.destroy()
    standby.destroy()


@pytest.fixture
async def store(servers: tuple[PostgresServer, PostgresServer]) -> AsyncIterator[Store]:
    """A store whose DSN leads to whichever of the servers takes writes."""
    ports = ",".join(str(server.port) for server in servers)
    dsn = f"host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres target_session_attrs=read-write"
    async with await Store.open(dsn, pool_timeout_s=1) as opened:
        yield opened


async def ask(server: PostgresServer, statement: str) -> object:
    async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as connection:
        row = await (await connection.execute(statement.encode())).fetchone()
        assert row is not None
        return row[0]


async def until_arrived(primary: PostgresServer, standby: PostgresServer) -> None:
    """Until the standby has replayed what the primary has written by now."""
    written = await ask(primary, "SELECT pg_current_wal_lsn()")

    async def replayed() -> bool:
        return bool(await ask(standby, f"SELECT pg_last_wal_replay_lsn() >= '{written}'"))

    await until(replayed, "the standby has replayed", LIMIT_S)


async def take_over(primary: PostgresServer, standby: PostgresServer) -> None:
    await anyio.to_thread.run_sync(primary.stop, "immediate")
    await anyio.to_thread.run_sync(standby.promote)


async def test_what_the_lost_server_gave_out_is_not_given_out_again(
    servers: tuple[PostgresServer, PostgresServer], store: Store
) -> None:
    primary, standby = servers
    group = await store.ensure_group(GroupKey("local", "default", "g"), GroupSettings(heartbeat_ms=200, lease_ms=1500))
    await store.reconcile_members(group, ["a"], ["b"])
    async with HostedRobot(store, group, "a") as a, HostedRobot(store, group, "b") as b:
        kept = await a.remember("arrived")
        await until_arrived(primary, standby)
        await anyio.to_thread.run_sync(standby.stop)

        # Nothing of this arrives.
        await a.remember("lost")
        switched = await a.hand_over("test")
        assert switched == "b"
        with anyio.fail_after(LIMIT_S):
            await b.wait_revision((await store.status(group)).revision)
        lost_tenure, lost = b.tenure, await b.remember("lost, too")
        assert (b.role, lost_tenure) == (Role.ACTIVE, lost.epoch)

        await anyio.to_thread.run_sync(primary.stop, "immediate")
        await anyio.to_thread.run_sync(standby.start)
        await anyio.to_thread.run_sync(standby.promote)

        async def back() -> bool:
            return all(robot.epoch > EPOCHS and robot.serving(time.monotonic()).ok for robot in (a, b))

        await until(back, "both serve in a new epoch", LIMIT_S)
        status = await store.status(group)
        assert (status.active, status.passive, status.failovers) == (("a",), ("b",), 0)
        assert (status.epoch, status.revision) == (EPOCHS + 1, REVISIONS + 1)
        assert (a.role, a.tenure, b.role) == (Role.ACTIVE, EPOCHS + 1, Role.PASSIVE)
        [event] = await store.changes(group, REVISIONS)
        assert (event.kind, event.payload["reason"]) == (
            ChangeKind.ROLE,
            "another Postgres server took over: timeline 2 after 1",
        )
        for robot in (a, b):
            assert [m.content for m in robot.cache.memories.values()] == ["arrived"]
        with pytest.raises(NotActiveError):
            await store.remember(group, robot="b", tenure=lost_tenure, content="late", tokens=1)

        done = await a.remember("new")
        with anyio.fail_after(LIMIT_S):
            await b.wait_revision(done.revision)
        assert {m.id for m in b.cache.memories.values()} == {kept.id, done.id}
    assert [str(finding) for finding in await check(store)] == []


async def test_nobody_is_declared_dead_in_the_first_lease_of_a_promoted_server(
    servers: tuple[PostgresServer, PostgresServer], store: Store
) -> None:
    """It has been up for long, as a standby: the lease counts from when it took over."""
    primary, standby = servers
    group = await store.ensure_group(GroupKey("local", "default", "g"), GroupSettings(heartbeat_ms=50, lease_ms=60_000))
    await store.reconcile_members(group, ["a"], ["b"])
    async with HostedRobot(store, group, "a") as a:
        incarnation = a.incarnation
    async with await psycopg.AsyncConnection.connect(primary.dsn(), autocommit=True) as connection:
        long_ago = "joined_at = now() - interval '1 hour', withdrawn_at = now() - interval '1 hour'"
        await connection.execute(f"UPDATE robotgroups.robots SET {long_ago}".encode())
    await until_arrived(primary, standby)
    await take_over(primary, standby)
    await store.ensure_group(GroupKey("local", "default", "g"), GroupSettings(heartbeat_ms=50, lease_ms=200))

    async def up_for_a_lease() -> bool:
        return bool(await ask(standby, "SELECT clock_timestamp() - robotgroups.server_started() > interval '200 ms'"))

    await until(up_for_a_lease, "the server is older than a lease", LIMIT_S)
    verdict = await store.declare_failed(group, "a", incarnation, reason="test", detected_by="test")
    assert (verdict.outcome, verdict.epoch) == (Outcome.GRACE, EPOCHS + 1)
    status = await store.status(group)
    assert (status.active, status.epoch) == (("a",), EPOCHS + 1)


async def test_the_same_server_again_begins_nothing_anew(servers: tuple[PostgresServer, PostgresServer]) -> None:
    primary, _ = servers
    async with await Store.open(primary.dsn(), pool_timeout_s=1) as store:
        group = await store.ensure_group(GroupKey("local", "default", "g"), GroupSettings())
        await store.reconcile_members(group, ["a"], [])
        async with HostedRobot(store, group, "a"):
            pass
        await anyio.to_thread.run_sync(primary.stop, "immediate")
        await anyio.to_thread.run_sync(primary.start)
        async with HostedRobot(store, group, "a") as a:
            assert (a.role, a.epoch) == (Role.ACTIVE, 2)
