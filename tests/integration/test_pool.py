"""The pool after Postgres has ended every connection in it, as a restart does."""

import anyio
import psycopg
import pytest

from robotgroups.store import Store

pytestmark = pytest.mark.anyio

SIZE = 8
MINE = "test of the pool"


async def test_many_lost_connections_cost_no_more_than_one(dsn: str, admin_dsn: str) -> None:
    async with await Store.open(dsn, max_size=SIZE, application_name=MINE, pool_timeout_s=2) as store:

        async def hold() -> None:
            await store._value("SELECT count(*) FROM pg_sleep(0.5)")

        async with anyio.create_task_group() as tasks:
            for _ in range(4 * SIZE):
                tasks.start_soon(hold)
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", (MINE,)
            ).fetchall()
        assert ended == [(True,)] * SIZE
        assert await store.list_groups("a cluster") == []
