"""What a statement reads does not grow with the tables, though its plan was made while they were empty."""

import json

import psycopg
import pytest

from .conftest import Group

pytestmark = pytest.mark.anyio

BATCHES, SIZE = 40, 25
READ = """
SELECT relname || '.' || indexrelname, coalesce(idx_tup_read, 0) FROM pg_stat_user_indexes
UNION ALL SELECT relname || ' (all)', coalesce(seq_tup_read, 0) FROM pg_stat_user_tables
"""


async def test_remembering_reads_no_more_for_what_was_remembered_before(group: Group) -> None:
    await group.arrive("a")
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as robot:

        async def remember(number: int) -> None:
            items = [
                {"content": f"{number}/{n}", "tokens": 1, "key": f"{number}/{n}", "tags": ["a:b"], "scope": ["user=u1"]}
                for n in range(SIZE)
            ]
            await robot.execute("SELECT robotgroups.remember_batch(%s, 'a', 1, %s)", (group.id, json.dumps(items)))

        async def read() -> dict[str, int]:
            await robot.execute("SELECT pg_stat_force_next_flush()")
            return dict(await (await robot.execute(READ.encode())).fetchall())

        for number in range(BATCHES):
            await remember(number)
        before = await read()
        await remember(BATCHES)
        after = await read()
    # the working set is looked through for what is to leave it: it is bounded by its budget
    grown = {
        name: after[name] - before.get(name, 0) for name in after if not name.startswith(("working_memory", "pg_"))
    }
    assert {name: count for name, count in grown.items() if count > 4 * SIZE} == {}
    assert sum(grown.values()) > 0
