"""What a statement reads does not grow with the tables, though its plan was made while they were empty."""

import json
from typing import Any

import psycopg
import pytest

from robotgroups.models import GroupKey, GroupSettings

from .conftest import KEY, Group

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


async def recalled(
    robot: psycopg.AsyncConnection[tuple[Any, ...]],
    group: Group,
    query: str,
    *,
    strategy: str = "fulltext",
    filters: str = "{}",
    model: int | None = None,
    vector: str | None = None,
) -> tuple[int, dict[str, int]]:
    """Recall ten: how many were found, and how many rows were read by each index or else."""
    counts: list[dict[str, int]] = []
    for _ in range(2):
        await robot.execute("SELECT pg_stat_force_next_flush()")
        counts.append(dict(await (await robot.execute(READ.encode())).fetchall()))
        cursor = await robot.execute(
            "SELECT * FROM robotgroups.recall_rows(%s, %s, %s, 10, %s, %s, %s)",
            (group.id, strategy, query, filters, model, vector),
        )
        found = len(await cursor.fetchall())
    return found, {name: counts[1][name] - counts[0].get(name, 0) for name in counts[1] if not name.startswith("pg_")}


async def test_recalling_reads_no_more_for_a_full_working_set(group: Group) -> None:
    await group.store.ensure_group(KEY, GroupSettings(max_tokens=100_000))
    await group.arrive("a")
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as robot:
        for batch in range(6):
            items = [{"content": f"word{n % 50} {batch}/{n}", "tokens": 100} for n in range(100)]
            await robot.execute("SELECT robotgroups.remember_batch(%s, 'a', 1, %s)", (group.id, json.dumps(items)))
        while await group.store.lex(group.id, 1000):
            pass
        for analyzed in (False, True):
            if analyzed:
                await group.sql("ANALYZE robotgroups.lexemes, robotgroups.memories, robotgroups.working_memory")
            for query, expected in (("word7", 10), ('word7 "5/7"', 1)):
                for _ in range(2):
                    found, grown = await recalled(robot, group, query)
                assert found == expected
                # the working set once, for it has no index by memory
                assert grown.pop("working_memory.working_memory_pkey") == 600
                assert {name: count for name, count in grown.items() if count > 50} == {}, (query, analyzed)


@pytest.mark.parametrize("known", [False, True])  # whether Postgres knew how few there were
async def test_recalling_reads_no_more_for_what_other_spaces_remember(group: Group, known: bool) -> None:
    """Not of a word that stands in every memory of theirs, and not by a plan that was made while there were few."""
    theirs = await group.store.ensure_group(GroupKey("local", "other", "theirs"), GroupSettings())
    spaces = dict(await group.sql("SELECT id, space_id FROM robotgroups.groups"))

    async def fill(space: int, first: int, count: int) -> None:
        await group.sql(
            "INSERT INTO robotgroups.memories (space_id, content, content_hash, originator, tokens) "
            "SELECT %s, 'common ' || i, sha256(i::text::bytea), 'a', 1 FROM generate_series(%s::integer, %s) i",
            space, first, first + count - 1,
        )  # fmt: skip

    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as robot:

        async def read(query: str) -> tuple[int, dict[str, int]]:
            return await recalled(robot, group, query)

        await fill(spaces[group.id], 1, 20)
        while await group.store.lex(group.id, 1000):
            pass
        if known:
            await group.sql("ANALYZE robotgroups.lexemes, robotgroups.memories")
        for _ in range(10):
            await read("common")
        await fill(spaces[theirs], 1000, 4000)
        while await group.store.lex(theirs, 1000):
            pass
        for analyzed in (False, True):
            if analyzed:
                await group.sql("ANALYZE robotgroups.lexemes, robotgroups.memories")
            for query, expected in (("common", 10), ("common 7", 1), ("7", 1), ("nothing", 0)):
                found, grown = await read(query)
                assert found == expected
                assert {name: count for name, count in grown.items() if count > 200} == {}, (query, analyzed)
