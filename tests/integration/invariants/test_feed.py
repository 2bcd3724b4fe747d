"""The feed as it is stored, told by Python: the same as SQL tells of it, from wherever it is read (M3, M5)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from robotgroups.erasing import Erasure
from robotgroups.errors import NotPermittedError
from robotgroups.memory_session import MemorySession
from robotgroups.models import Change, ChangeKind, GroupKey, GroupSettings, Memory, Role
from robotgroups.store import Store, robot_dsn

from .conftest import Group

pytestmark = pytest.mark.anyio

TOLD = """
SELECT revision, kind, epoch, memory_id, robot, payload, created_at FROM robotgroups.changes_after(%s, %s::bigint, %s)
"""


async def remember(group: Group, items: list[dict[str, Any]]) -> list[tuple[Any, str | None]]:
    """Remember items as a client that writes its own SQL does: each one's id, and how it was refused."""
    text = json.dumps([{"tokens": 10, **item} for item in items])
    return [
        (memory_id, message)
        for memory_id, message in await group.sql(
            "SELECT id, message FROM robotgroups.remember_batch(%s, 'a', 1, %s::jsonb) ORDER BY ord", group.id, text
        )
    ]


def seen(change: Change) -> tuple[Any, ...]:
    """A change; of a memory's times it is not the spelling that counts."""
    payload: object = dict(change.payload)
    if change.payload.keys() >= {"content"}:
        payload = Memory.from_json(change.payload)
    return change.revision, change.kind, change.epoch, change.memory_id, change.robot, payload, change.created_at


async def test_m3_python_tells_of_every_kind_of_row_what_sql_tells_at_every_place_and_size(group: Group) -> None:
    await group.arrive("a")
    said: dict[str, Any] = {"robot": "a", "tenure": 1}
    rich = {"tags": ["a:b", "c"], "scope": ["user=u=1", "z=2"], "metadata": {"n": 1.50, "deep": {"x": [None, "ü"]}}}
    ids = [
        i
        for i, _ in await remember(
            group,
            [
                {"content": "plain"},
                {"content": "rich", "originator": "b", **rich, "expires_at": "2100-01-02T03:04:05.678+05:30"},
                {"content": "nothing said", "tags": None, "scope": None, "metadata": None, "originator": None},
                {"content": "too large", "tokens": 101},
            ],
        )
    ]
    await remember(group, [{"content": f"evicts {n}", "tokens": 30} for n in range(7)])
    await remember(group, [{"content": "plain"}, {"content": "new beside a known one", "expires_at": "2100-01-02"}])
    await remember(group, [{"content": " "}, {"content": "beside a refused one"}])
    await group.store.forget(group.id, **said, memory_id=ids[0])
    await group.store.restore(group.id, **said, memory_id=ids[0])
    await group.store.pin(group.id, **said, memory_ids=[ids[0]], pinned=True)
    await group.store.clear_working_memory(group.id, **said)
    await group.store.join(group.id, "d", Role.PASSIVE)
    await group.store.erase(group.id, **said, erasure=Erasure.checked(ids[1:3]))
    last = (await group.store.snapshot(group.id)).revision
    session = MemorySession(group.store.conninfo, group.id)
    try:
        for after in range(last + 1):
            for limit in (1, 3, 8, 1000):
                rows = await group.sql(TOLD, group.id, after, limit)
                true = [seen(Change.from_row(row)) for row in rows]
                assert [seen(c) for c in await session.changes(after, limit)] == true, (after, limit)
                assert [seen(c) for c in await group.store.changes(group.id, after, limit)] == true, (after, limit)
                assert [row[0] for row in rows] == list(range(after + 1, min(after + limit, last) + 1))
    finally:
        await session.close()
    changes = await group.store.changes(group.id, 0)
    assert {c.kind for c in changes} == set(ChangeKind)
    assert [c.memory_id for c in changes if c.erased] == ids[1:3]


@pytest.mark.parametrize("spelt", ["2100-01-02 03:04", "2100-01-02T03:04Z", "Jan 2 2100 05:04 +02", "21000102T0304"])
async def test_a_time_is_told_as_one_however_it_was_written(group: Group, spelt: str) -> None:
    await group.arrive("a")
    await remember(group, [{"content": "x", "expires_at": spelt}])
    (change,) = (await group.store.changes(group.id, 0))[-1:]
    assert Memory.from_json(change.payload).expires_at == datetime(2100, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize("never", ["infinity", "12000-01-01"])
async def test_a_time_that_python_cannot_read_is_refused(group: Group, never: str) -> None:
    await group.arrive("a")
    ((memory_id, message),) = await remember(group, [{"content": "x", "expires_at": never}])
    assert memory_id is None
    assert message is not None
    assert message.endswith("is after the year 9999")


async def test_s1_a_login_reads_its_own_groups_feed_as_both_logins_and_no_other(group: Group) -> None:
    await group.arrive("a")
    await remember(group, [{"content": "x"}])
    first = await group.store.ensure_login(group.id, "one")
    second = await group.store.rotate_login(group.id, first, "two")
    theirs = await group.store.ensure_group(GroupKey("local", "other", "intruders"), GroupSettings())
    intruder = await group.store.ensure_login(theirs, "mine")
    for login, password in ((first, "one"), (second, "two")):
        async with await Store.open(robot_dsn(group.dsn, login, password)) as store:
            assert [c.payload.get("content") for c in await store.changes(group.id, 0)][-1] == "x"
    async with await Store.open(robot_dsn(group.dsn, intruder, "mine")) as store:
        for unknown in (group.id, theirs + 100):
            with pytest.raises(NotPermittedError, match=f"login {intruder} may not use group {unknown}"):
                await store.changes(unknown, 0)
        assert await store.changes(theirs, 0) == []
