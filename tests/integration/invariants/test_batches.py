"""remember_batch by itself: what one transaction does with many memories (M1-M4)."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.rows import namedtuple_row

from robotgroups.cache import Cache
from robotgroups.check import check
from robotgroups.errors import NotActiveError
from robotgroups.memory_session import MemorySession
from robotgroups.models import Change, ChangeKind, GroupSettings, Memory, Snapshot
from robotgroups.remembering import Item, NewMemory, item_of

from .conftest import KEY, Group

pytestmark = pytest.mark.anyio


async def remembered(group: Group, items: list[dict[str, Any]], *, tenure: int = 1) -> list[Any]:
    """Rows of remember_batch in the items' order; one token each unless said otherwise."""
    text = json.dumps([{"tokens": 1, **item} for item in items])
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True, row_factory=namedtuple_row) as c:
        cursor = await c.execute(
            "SELECT * FROM robotgroups.remember_batch(%s, 'a', %s, %s::jsonb) ORDER BY ord", (group.id, tenure, text)
        )
        return await cursor.fetchall()


async def told(group: Group, after: int) -> list[tuple[int, str, int | None]]:
    return [(c.revision, c.kind.value, c.memory_id) for c in await group.store.changes(group.id, after)]


async def test_m3_a_batch_has_a_revision_for_each_and_one_row_of_the_feed(group: Group) -> None:
    await group.arrive("a")
    before = await group.store.snapshot(group.id)
    rows = await remembered(group, [{"content": f"memory {i}", "tags": ["t"], "metadata": {"i": i}} for i in range(5)])
    assert [(r.ord, r.revision, r.created, r.in_working_memory, r.error) for r in rows] == [
        (i + 1, before.revision + 1 + i, True, True, None) for i in range(5)
    ]
    assert await group.sql("SELECT count(*) FROM robotgroups.changes WHERE revision > %s", before.revision) == [(1,)]
    assert await told(group, before.revision) == [(r.revision, "added", r.id) for r in rows]
    cache = Cache(before)
    for change in await group.store.changes(group.id, before.revision):
        cache.apply(change)
    after = await group.store.snapshot(group.id)
    assert list(cache.memories.values()) == list(after.working_memory)


async def test_m3_a_reader_may_stop_in_the_middle_of_a_batch(group: Group) -> None:
    await group.arrive("a")
    start = (await group.store.snapshot(group.id)).revision
    rows = await remembered(group, [{"content": f"memory {i}"} for i in range(5)])
    part = await group.store.changes(group.id, start, 2)
    rest = await group.store.changes(group.id, part[-1].revision, 2)
    assert [c.memory_id for c in part + rest] == [r.id for r in rows[:4]]


async def test_an_item_that_is_refused_does_not_hinder_the_others(group: Group) -> None:
    await group.arrive("a")
    rows = await remembered(
        group,
        [
            {"content": "good"},
            {"content": " \n"},
            {"content": "by a stranger", "originator": "x"},
            {"content": "y" * 262_145},
            {"content": "good too"},
        ],
    )
    assert [(r.ord, r.error) for r in rows] == [(1, None), (2, "RG012"), (3, "RG003"), (4, "RG012"), (5, None)]
    assert rows[1].message == "content must not be blank"
    assert rows[2].message == "originator x is no member of group invariants"
    assert rows[3].message == "content is too large: it has 262145 bytes of UTF-8, a memory may have 262144: split it"
    assert rows[4].revision == rows[0].revision + 1
    assert [m.content for m in (await group.store.snapshot(group.id)).working_memory] == ["good", "good too"]


async def test_m2_what_is_there_already_is_updated_in_its_place_of_the_order(group: Group) -> None:
    await group.arrive("a")
    (old,) = await remembered(group, [{"content": "old", "tags": ["x"], "metadata": {"a": 1}}])
    rows = await remembered(
        group, [{"content": "new 1"}, {"content": "old", "tags": ["w"], "metadata": {"b": 2}}, {"content": "new 2"}]
    )
    assert [r.created for r in rows] == [True, False, True]
    assert rows[1].id == old.id
    assert await told(group, old.revision) == [
        (rows[0].revision, "added", rows[0].id),
        (rows[1].revision, "updated", old.id),
        (rows[2].revision, "added", rows[2].id),
    ]
    memory = await group.store.memory(group.id, old.id)
    assert (memory.tags, memory.metadata, memory.remember_count, memory.access_count) == (
        ("w", "x"),
        {"a": 1, "b": 2},
        2,
        1,
    )


async def test_m2_keys_answer_as_the_first_time_and_conflict_by_themselves(group: Group) -> None:
    await group.arrive("a")
    first = await remembered(group, [{"content": "one", "key": "k1"}, {"content": "two", "key": "k2"}])
    again = await remembered(
        group, [{"content": "three", "key": "k3"}, {"content": "two", "key": "k2"}, {"content": "other", "key": "k1"}]
    )
    assert again[1][1:8] == first[1][1:8]
    assert [(r.error, r.created) for r in again] == [(None, True), (None, True), ("RG008", True)]
    assert again[2].message == "idempotency key k1 was used with other content"
    assert [m.content for m in (await group.store.snapshot(group.id)).working_memory] == ["one", "two", "three"]


async def test_m4_a_batch_makes_room_once_and_never_evicts_its_own(group: Group) -> None:
    """The budget is 100 tokens."""
    await group.arrive("a")
    old = await remembered(group, [{"content": f"old {i}", "tokens": 20} for i in range(5)])
    for _ in range(2):  # worth more than what is new
        await remembered(group, [{"content": "old 1", "tokens": 20}])
    new = await remembered(group, [{"content": f"new {i}", "tokens": 20} for i in range(3)])
    base = new[0].revision - 3
    assert await told(group, base - 1) == [
        *((base + i, "evicted", old[place].id) for i, place in enumerate([0, 2, 3])),
        *((r.revision, "added", r.id) for r in new),
    ]
    held = (await group.store.snapshot(group.id)).working_memory
    assert [m.content for m in held] == ["old 1", "old 4", "new 0", "new 1", "new 2"]


async def test_m4_a_batch_that_is_larger_than_the_budget_goes_in_by_parts(group: Group) -> None:
    await group.arrive("a")
    start = (await group.store.snapshot(group.id)).revision
    rows = await remembered(group, [{"content": f"memory {i}", "tokens": 30} for i in range(8)])
    assert [r.in_working_memory for r in rows] == [True] * 8
    changes = await group.store.changes(group.id, start)
    assert [c.revision for c in changes] == list(range(start + 1, changes[-1].revision + 1))
    held, most = 0, 0
    for change in changes:
        held += {"added": 30, "evicted": -30}[change.kind.value]
        most = max(most, held)
    assert most == 90
    assert [m.content for m in (await group.store.snapshot(group.id)).working_memory] == [
        "memory 5",
        "memory 6",
        "memory 7",
    ]


async def test_m4_what_alone_is_larger_than_the_budget_is_long_term_only_in_a_batch_too(group: Group) -> None:
    await group.arrive("a")
    rows = await remembered(
        group, [{"content": "small"}, {"content": "large", "tokens": 101}, {"content": "small too"}]
    )
    assert [r.in_working_memory for r in rows] == [True, False, True]
    assert (await group.store.memory(group.id, rows[1].id)).in_working_memory is False
    (told_of,) = [c for c in await group.store.changes(group.id, 0) if c.memory_id == rows[1].id]
    assert told_of.kind is ChangeKind.ADDED
    assert told_of.payload["in_working_memory"] is False


async def test_r2_a_batch_under_another_tenure_is_refused_whole(group: Group) -> None:
    await group.arrive("a")
    with pytest.raises(psycopg.Error, match="a is not active under tenure 7"):
        await remembered(group, [{"content": "x"}, {"content": "y"}], tenure=7)
    assert await group.sql("SELECT count(*) FROM robotgroups.memories") == [(0,)]


async def test_places_of_the_working_set_are_used_again(group: Group) -> None:
    """What turns over leaves no trail of dead rows: HOT updates in as many places as the set ever needed."""
    await group.arrive("a")
    for i in range(0, 400, 4):
        await remembered(group, [{"content": f"memory {i + j}", "tokens": 10} for j in range(4)])
    assert await group.sql("SELECT slots, working_memory_nodes FROM robotgroups.groups") == [(10, 10)]
    slots = await group.sql("SELECT slot FROM robotgroups.working_memory ORDER BY 1")
    assert [slot for (slot,) in slots] == list(range(1, 11))


async def test_a_writer_finds_out_that_its_connection_was_ended_and_takes_another(group: Group) -> None:
    await group.arrive("a")
    writer = MemorySession(group.store.conninfo, group.id)
    items = [item_of(NewMemory(f"memory {i}"), "cl100k_base") for i in range(3)]
    try:
        (first,) = (await writer.remember("a", 1, items[:1])).outcomes
        assert writer._connection is not None
        ended = writer._connection
        await group.sql("SELECT pg_terminate_backend(%s)", ended.info.backend_pid)
        with anyio.fail_after(5):
            await anyio.wait_readable(ended.pgconn.socket)
        outcomes = (await writer.remember("a", 1, items[1:])).outcomes
    finally:
        await writer.close()
    assert not isinstance(first, Exception)
    assert [o.revision for o in outcomes if not isinstance(o, Exception)] == [first.revision + 1, first.revision + 2]


async def test_a_writer_raises_the_fence_for_the_whole_batch(group: Group) -> None:
    await group.arrive("a")
    writer = MemorySession(group.store.conninfo, group.id)
    item: Item = item_of(NewMemory("x"), "cl100k_base")
    try:
        with pytest.raises(NotActiveError) as refused:
            await writer.remember("b", 1, [item])
        assert refused.value.active == ("a",)
        assert not isinstance((await writer.remember("a", 1, [item])).outcomes[0], Exception)
    finally:
        await writer.close()


async def test_m5_what_a_session_tells_of_its_own_remembering_is_what_the_feed_tells(group: Group) -> None:
    await group.arrive("a")
    session = MemorySession(group.store.conninfo, group.id)
    texts = [NewMemory("x" * 40 * n, ["t:u"], scope={"user": "u"}, originator="b" if n % 2 else None) for n in (1, 2)]
    ends = NewMemory("ends", expires_at=datetime(2100, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), key="k")
    large = NewMemory("word " * 200)
    cache = Cache(await group.store.snapshot(group.id))
    try:
        for memories in ([*texts, ends, large], [NewMemory(f"memory {n} " + "and " * 20) for n in range(9)]):
            written = await session.remember("a", 1, [item_of(m, "cl100k_base") for m in memories])
            feed = await session.changes(cache.revision, 1000)
            assert [change_told(c) for c in written.changes] == [change_told(c) for c in feed]
            assert written.revision == feed[-1].revision
            for change in written.changes:
                cache.apply(change)
            assert list(cache.memories.values()) == list((await group.store.snapshot(group.id)).working_memory)
        assert ChangeKind.EVICTED in {c.kind for c in feed}
        # of what only the feed tells, nothing is told: numbers as jsonb writes them, what was there before
        numbers = [item_of(NewMemory("numbers", metadata={"n": 1e300}), "cl100k_base")]
        assert (await session.remember("a", 1, numbers)).changes == []
        again = await session.remember("a", 1, [item_of(m, "cl100k_base") for m in (NewMemory("new"), large)])
        assert [(c.kind, c.revision) for c in again.changes] == [(ChangeKind.ADDED, again.revision - 1)]
        assert again.revision == (await group.store.status(group.id)).revision
    finally:
        await session.close()


def change_told(change: Change) -> tuple[Any, ...]:
    memory = Memory.from_json(change.payload) if change.payload else None
    return change.revision, change.kind, change.epoch, change.memory_id, change.robot, memory, change.created_at


async def test_pinned_memories_are_neither_evicted_nor_cleared_and_bound_the_rest(group: Group) -> None:
    await group.arrive("a")
    first, second, third = await remembered(
        group, [{"content": f"memory {i}", "tokens": 40 if i < 2 else 20} for i in range(3)]
    )
    said: dict[str, Any] = {"robot": "a", "tenure": 1}
    changed, revision = await group.store.pin(group.id, **said, memory_ids=[first.id, third.id], pinned=True)
    assert (changed, revision) == (2, third.revision + 2)
    assert await group.store.pin(group.id, **said, memory_ids=[first.id], pinned=True) == (0, revision)
    large, fits = await remembered(
        group, [{"content": "41 do not fit", "tokens": 41}, {"content": "40 do", "tokens": 40}]
    )
    assert [large.in_working_memory, fits.in_working_memory] == [False, True]
    assert [m.id for m in (await group.store.snapshot(group.id)).working_memory] == [first.id, third.id, fits.id]
    assert await group.store.clear_working_memory(group.id, **said) == 1
    held = (await group.store.snapshot(group.id)).working_memory
    assert [(m.id, m.pinned) for m in held] == [(first.id, True), (third.id, True)]
    with pytest.raises(ValueError, match="max_tokens 50 is less than the 60 tokens that are pinned: unpin some first"):
        await group.store.ensure_group(KEY, GroupSettings(max_tokens=50))
    with pytest.raises(ValueError, match=f"memory {large.id} has 41 tokens, which do not fit beside the 60"):
        await group.store.pin(group.id, **said, memory_ids=[large.id], pinned=True)
    await group.store.forget(group.id, **said, memory_id=third.id)
    await group.store.pin(group.id, **said, memory_ids=[first.id], pinned=False)
    assert await group.sql("SELECT pinned_tokens, working_memory_tokens FROM robotgroups.groups") == [(0, 40)]
    assert second.id not in {m.id for m in held}


@pytest.mark.parametrize("space", [None, "hive"])
async def test_m4_a_pinned_memory_without_room_beside_what_is_pinned_counts_once_when_remembered_again(
    group: Group, space: str | None
) -> None:
    """It is there already: it needs no room, so it frees none either, and none comes in its place."""
    if space:
        group.id = await group.store.ensure_group(
            replace(KEY, name="shared"), GroupSettings(max_tokens=100, space=space)
        )
        await group.store.reconcile_members(group.id, ["a"], [])
    else:
        await group.arrive("a")
    large, small = await remembered(group, [{"content": "large", "tokens": 60}, {"content": "small", "tokens": 30}])
    await group.store.pin(group.id, robot="a", tenure=1, memory_ids=[large.id, small.id], pinned=True)
    (again,) = await remembered(group, [{"content": "large", "tokens": 60, "key": "k"}])
    counted = "SELECT working_memory_nodes, working_memory_tokens, pinned_tokens FROM robotgroups.groups WHERE id = %s"
    assert await group.sql(counted, group.id) == [(2, 90, 90)]
    assert (again.id, again.created, again.in_working_memory) == (large.id, False, True)
    assert await remembered(group, [{"content": "large", "tokens": 60, "key": "k"}]) == [again._replace(evicted=None)]
    # among others, each of which has to fit beside both
    rows = await remembered(
        group,
        [
            {"content": "first", "tokens": 7},
            {"content": "large", "tokens": 60},
            {"content": "small", "tokens": 30},
            {"content": "last", "tokens": 8},
        ],
    )
    assert [r.in_working_memory for r in rows] == [True] * 4
    held = (await group.store.snapshot(group.id)).working_memory
    assert [(m.content, m.tokens, m.access_count) for m in held] == [("large", 60, 2), ("small", 30, 1), ("last", 8, 0)]
    assert await group.sql(counted, group.id) == [(3, 98, 90)]
    cache = Cache(Snapshot(revision=0, epoch=0, max_tokens=100, roles={}, working_memory=()))
    for change in await group.store.changes(group.id, 0):
        cache.apply(change)
    assert list(cache.memories.values()) == list(held)
    assert await check(group.store) == []
