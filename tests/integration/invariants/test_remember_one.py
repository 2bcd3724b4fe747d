"""remember_one is remember_batch with one memory, also where it asks the batch (R2, M1-M4)."""

import json
import random
from collections.abc import AsyncIterator
from itertools import zip_longest
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from robotgroups.models import Eviction, GroupKey, GroupSettings

from .conftest import Group

pytestmark = pytest.mark.anyio

ONE = "SELECT * FROM robotgroups.remember_one(%s, %s, %s, %s::jsonb)"
BATCH = "SELECT * FROM robotgroups.remember_batch(%s, %s, %s, %s::jsonb)"
WORKING_SET = """
SELECT w.slot, m.content, w.tokens, w.keeper, w.access_count, w.pinned FROM robotgroups.working_memory w
JOIN robotgroups.memories m ON m.id = w.memory_id WHERE w.group_id = %s ORDER BY w.slot
"""
MEMORIES = """
SELECT content, content_hash, originator, tokens, tags, metadata, scope, expires_at, remember_count, version,
    group_id = %s
FROM robotgroups.memories WHERE space_id = (SELECT space_id FROM robotgroups.groups WHERE id = %s) ORDER BY id
"""
CHANGES = """
SELECT c.revision, c.kind, c.epoch, c.robot, c.payload - '{id,created_at,remembered_at,last_accessed_at}'::text[],
    (SELECT m.content FROM robotgroups.memories m WHERE m.id = c.memory_id)
FROM robotgroups.changes_after(%s, 0, 10000) c ORDER BY c.revision
"""
COUNTERS = """
SELECT revision, working_memory_nodes, working_memory_tokens, pinned_tokens, slots, ranking_used
FROM robotgroups.groups WHERE id = %s
"""
EXPIRE = "UPDATE robotgroups.memories SET expires_at = '2026-01-01' WHERE content = %s"
JOBS = """
SELECT m.content, j.kind FROM robotgroups.jobs j JOIN robotgroups.memories m ON m.id = j.memory_id
WHERE m.group_id = %s ORDER BY m.id, j.kind
"""


@pytest.fixture
async def connection(group: Group) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True, row_factory=namedtuple_row) as opened:
        yield opened


async def state(group: Group, group_id: int) -> list[Any]:
    """All that remembering leaves behind, without ids and times."""
    return [
        await group.sql(COUNTERS, group_id), await group.sql(WORKING_SET, group_id), await group.sql(CHANGES, group_id),
        await group.sql(MEMORIES, group_id, group_id), await group.sql(JOBS, group_id),
    ]  # fmt: skip


async def twins(group: Group, **settings: Any) -> tuple[int, int]:
    """Two groups that are alike."""
    ids = []
    for name in ("one", "batch"):
        group_id = await group.store.ensure_group(GroupKey("local", "default", name), GroupSettings(**settings))
        await group.store.reconcile_members(group_id, ["a"], ["b"])
        ids.append(group_id)
    return ids[0], ids[1]


@pytest.mark.parametrize("eviction", list(Eviction))
@pytest.mark.parametrize("seed", range(3))
async def test_it_does_what_a_batch_of_one_does(
    group: Group, connection: psycopg.AsyncConnection[Any], eviction: Eviction, seed: int
) -> None:
    dice = random.Random(f"{eviction} {seed}")
    one, batch = await twins(group, max_tokens=100, eviction=eviction)
    told = []
    for number in range(120):
        item: dict[str, Any] = {
            "content": f"memory {dice.randrange(40) if dice.random() < 0.1 else number}",
            "tokens": dice.choice([0, 1, 5, 5, 5, 20, 60, 101]),
        }
        if dice.random() < 0.3:
            item["metadata"] = {"n": 1.50, "deep": {"x": [1, None]}}
        if dice.random() < 0.3:
            item["originator"] = "b"
        if dice.random() < 0.3:
            item["scope"] = [f"user=u{dice.randrange(2)}"]
        rows = await (await connection.execute(ONE, (one, "a", 1, json.dumps(item)))).fetchall()
        other = await (await connection.execute(BATCH, (batch, "a", 1, json.dumps([item])))).fetchall()
        told.append([_told(r) for r in rows])
        assert told[-1] == [_told(r) for r in other]
        if dice.random() < 0.2:
            await _touched(group, dice, one, batch)
        if dice.random() < 0.2:
            await group.sql(EXPIRE, f"memory {dice.randrange(40)}")
    for by_one, by_batch in zip(await state(group, one), await state(group, batch), strict=True):
        assert [pair for pair in zip_longest(by_one, by_batch) if pair[0] != pair[1]] == []
    assert sum(evicted for [(*_, evicted)] in told) > 20


def _told(row: Any) -> tuple[Any, ...]:
    return (
        row.ord, row.revision, row.epoch, row.created, row.in_working_memory, row.error,
        row.message and row.message.removesuffix("one").removesuffix("batch"), row.at is None,
        len(row.evicted or ()),
    )  # fmt: skip


async def _touched(group: Group, dice: random.Random, *groups: int) -> None:
    """The same memory of each is pinned, or accessed, as recall does it."""
    slot, _, tokens, *_ = dice.choice(await group.sql(WORKING_SET, groups[0]))
    pinned = tokens == 1 and dice.random() < 0.5
    for group_id in groups:
        [(memory,)] = await group.sql(
            "SELECT memory_id FROM robotgroups.working_memory WHERE group_id = %s AND slot = %s", group_id, slot
        )
        if pinned:
            await group.store.pin(group_id, robot="a", tenure=1, memory_ids=[memory], pinned=True)
        else:
            await group.store.into_working_memory(group_id, robot="a", tenure=1, memory_ids=[memory])


@pytest.mark.parametrize(
    ("robot", "tenure", "item", "refusal"),
    [
        ("a", 2, {"content": "a stale tenure (R2)", "tokens": 1}, "RG001"),
        ("a", 0, {"content": "a stale tenure (R2)", "tokens": 1}, "RG001"),
        ("b", 1, {"content": "a passive robot (R2)", "tokens": 1}, "RG001"),
        ("z", 1, {"content": "a stranger (R2)", "tokens": 1}, "RG001"),
        (None, 1, {"content": "nobody (R2)", "tokens": 1}, "RG001"),
        ("a", 1, {"content": "for a stranger", "tokens": 1, "originator": "z"}, None),
        ("a", 1, {"content": " \n", "tokens": 1}, None),
        ("a", 1, {"tokens": 1}, None),
        ("a", 1, {"content": "x" * 262145, "tokens": 1}, None),
        ("a", 1, {"content": "a key", "tokens": 1, "key": "k"}, None),
        ("a", 1, {"content": "tags", "tokens": 1, "tags": ["t"]}, None),
        ("a", 1, {"content": "it ends", "tokens": 1, "expires_at": "2999-01-01T00:00:00Z"}, None),
        ("a", 1, {"content": "nulls", "tokens": 1, "tags": None, "scope": None, "metadata": None, "key": None}, None),
        ("a", None, {"content": "for the first active one", "tokens": 1}, None),
    ],
)
async def test_what_is_not_simple_is_done_by_the_batch(
    group: Group,
    connection: psycopg.AsyncConnection[Any],
    *,
    robot: str | None,
    tenure: int | None,
    item: dict[str, Any],
    refusal: str | None,
) -> None:
    one, batch = await twins(group)
    answers: list[Any] = []
    for statement, group_id, sent in ((ONE, one, item), (BATCH, batch, [item])):
        try:
            rows = await (await connection.execute(statement, (group_id, robot, tenure, json.dumps(sent)))).fetchall()
            answers.append([_told(row) for row in rows])
        except psycopg.Error as error:
            answers.append((error.sqlstate, error.diag.message_primary))
    assert answers[0] == answers[1]
    assert (answers[0][0] if isinstance(answers[0], tuple) else None) == refusal
    assert await state(group, one) == await state(group, batch)


async def test_a_shared_space_is_the_batchs(group: Group, connection: psycopg.AsyncConnection[Any]) -> None:
    """What another group of the space has is there before."""
    one, batch = await twins(group, space="shared")
    item = json.dumps({"content": "for both", "tokens": 1})
    [first] = await (await connection.execute(ONE, (one, "a", 1, item))).fetchall()
    [second] = await (await connection.execute(ONE, (batch, "a", 1, item))).fetchall()
    assert (second.id, first.created, second.created) == (first.id, True, False)


async def test_m1_it_waits_for_the_disk_whatever_the_session_has_set(
    group: Group, connection: psycopg.AsyncConnection[Any]
) -> None:
    one, _ = await twins(group)
    await connection.execute("SET synchronous_commit = off")
    async with connection.transaction():
        item = json.dumps({"content": "durable", "tokens": 1})
        assert len(await (await connection.execute(ONE, (one, "a", 1, item))).fetchall()) == 1
        [setting] = await (await connection.execute("SHOW synchronous_commit")).fetchall()
        assert setting == ("on",)
