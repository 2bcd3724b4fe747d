"""The pool after Postgres has ended every connection in it, as a restart does."""

import anyio
import psycopg
import pytest

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
