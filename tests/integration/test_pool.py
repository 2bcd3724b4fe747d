"""The pool after Postgres has ended every connection in it, as a restart does."""

import itertools

import anyio
import psycopg
import pytest

from robotgroups import pool
from robotgroups.errors import MemoryUnavailableError
from robotgroups.store import Store

pytestmark = pytest.mark.anyio

SIZE = 8
MINE = "test of the pool"


async def test_many_lost_connections_cost_no_more_than_one(dsn: str, admin_dsn: str) -> None:
    async with await Store.open(dsn, max_size=SIZE, application_name=MINE, pool_timeout_s=2) as store:

        async def hold() -> None:
            await store._value("SELECT count(*) FROM pg_sleep(0.2)")

        async with anyio.create_task_group() as tasks:
            for _ in range(4 * SIZE):
                tasks.start_soon(hold)
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", (MINE,)
            ).fetchall()
        assert ended == [(True,)] * SIZE
        assert await store.list_groups("a cluster") == []


async def test_a_read_on_a_connection_that_ends_under_it_is_done_again(dsn: str, admin_dsn: str) -> None:
    async with await Store.open(dsn, max_size=1, application_name=MINE) as store:
        first = (await store._read("SELECT pg_backend_pid()"))[0][0]
        # the connection ends itself while it answers: no look at it beforehand could tell
        once = (
            "SELECT CASE WHEN pg_backend_pid() = %s THEN pg_terminate_backend(%s) END, pg_sleep(0.01), pg_backend_pid()"
        )
        again = (await store._read(once, (first, first)))[0][2]
        assert again != first
        with pytest.raises(MemoryUnavailableError, match="terminating connection due to administrator command"):
            await store._rows(once, (again, again))
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", (MINE,)
            )
        assert await store._read("SELECT 1") == [(1,)]


async def test_reads_one_after_the_other_go_on_one_connection_which_is_lent_to_whoever_asks_else(dsn: str) -> None:
    pid = "SELECT pg_backend_pid()"
    async with await Store.open(dsn, max_size=3) as store:
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(store._read, "SELECT count(*) FROM pg_sleep(0.1)")
        assert store._pool.get_stats()["pool_size"] == 3
        ((first,),) = await store._read(pid)
        assert [await store._read(pid) for _ in range(5)] == [[(first,)]] * 5
        held: set[int] = set()

        async def hold() -> None:
            held.add(await store._value("SELECT pg_backend_pid() FROM pg_sleep(0.2)"))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(hold)
        assert first in held
        assert len(held) == 3


async def test_a_connection_that_reads_keep_goes_through_the_pool_now_and_then(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Store.open(dsn, max_size=1) as store:
        lent = [store._pool.get_stats()["requests_num"]]
        for kept_s in (60.0, 0.0):
            monkeypatch.setattr(pool, "KEPT_S", kept_s)
            await store._value("SELECT 1")
            for _ in range(4):
                await store._read("SELECT 1")
            lent.append(store._pool.get_stats()["requests_num"])
        assert [after - before for before, after in itertools.pairwise(lent)] == [1 + 1, 1 + 4]
