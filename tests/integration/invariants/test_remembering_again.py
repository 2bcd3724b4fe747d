"""What is remembered again: expiries, the limits of what comes together, and what one item may do to others (M2)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from robotgroups.cache import Cache
from robotgroups.errors import ArgumentError, NotActiveError, UnknownMemoryError
from robotgroups.memory_session import MemorySession
from robotgroups.models import GroupKey, GroupSettings, Remembered
from robotgroups.remembering import Item, NewMemory, item_of

from .conftest import Group

pytestmark = pytest.mark.anyio
SAID: dict[str, Any] = {"robot": "a", "tenure": 1}
SOON, LATER = "2100-01-01T00:00:00+00:00", "2200-01-01T00:00:00+00:00"
FUNCTIONS = ("remember_one", "remember_batch")


async def said(
    group: Group, item: dict[str, Any], function: str = "remember_batch", group_id: int | None = None
) -> Any:
    """The row that a function gives for one item; a token unless said otherwise."""
    sent: Any = {"tokens": 1, **item}
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True, row_factory=namedtuple_row) as c:
        cursor = await c.execute(
            f"SELECT * FROM robotgroups.{function}(%s, 'a', 1, %s::jsonb)".encode(),
            (group_id or group.id, json.dumps(sent if function == "remember_one" else [sent])),
        )
        (row,) = await cursor.fetchall()
        return row


async def expiry(group: Group, memory_id: int) -> str | None:
    at = (await group.store.memory(group.id, memory_id)).expires_at
    return None if at is None else at.isoformat()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(None, SOON, None), (SOON, None, None), (SOON, LATER, LATER), (LATER, SOON, LATER), (SOON, SOON, SOON)],
)
async def test_of_two_expiries_the_later_one_holds_and_none_is_later_than_any(
    group: Group, function: str, first: str | None, second: str | None, expected: str | None
) -> None:
    await group.arrive("a")
    made = [await said(group, {"content": "x", "expires_at": at}, function) for at in (first, second)]
    assert [(row.id, row.created) for row in made] == [(made[0].id, True), (made[0].id, False)]
    assert await expiry(group, made[0].id) == expected
    (change,) = await group.store.changes(group.id, made[0].revision)
    told = change.payload["expires_at"]
    assert (told and datetime.fromisoformat(told).isoformat()) == expected


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("again", [{}, {"tags": ["new"]}, {"expires_at": LATER}])
async def test_what_has_expired_is_not_there_any_more_swept_or_not(
    group: Group, function: str, again: dict[str, Any]
) -> None:
    await group.arrive("a")
    store = group.store
    old = await said(group, {"content": "x", "tokens": 5, "tags": ["old"], "metadata": {"old": 1}, "expires_at": SOON})
    other = await said(group, {"content": "other", "tokens": 2})
    await group.sql("SELECT robotgroups.update_memory(%s, 'a', 1, %s, '{\"tags\": [\"older\"]}')", group.id, old.id)
    await store.relate(group.id, **SAID, source=old.id, target=other.id, kind="supports", weight=1.0)
    await store.pin(group.id, **SAID, memory_ids=[old.id], pinned=True)
    await group.sql("UPDATE robotgroups.memories SET expires_at = now() WHERE id = %s", old.id)
    before = await store.snapshot(group.id)
    new = await said(group, {"content": "x", "tokens": 7, **again}, function)
    assert (new.created, new.in_working_memory, new.error) == (True, True, None)
    assert new.id != old.id
    memory = await store.memory(group.id, new.id)
    assert (memory.tokens, memory.tags, memory.metadata, memory.remember_count, memory.version, memory.pinned) == (
        7, tuple(again.get("tags", ())), {}, 1, 1, False,
    )  # fmt: skip
    assert await expiry(group, new.id) == again.get("expires_at")
    assert await group.sql("SELECT id FROM robotgroups.memories ORDER BY id") == [(other.id,), (new.id,)]
    assert await group.sql("SELECT count(*) FROM robotgroups.relations") == [(0,)]
    assert await group.sql("SELECT count(*) FROM robotgroups.memory_versions") == [(0,)]
    changes = await store.changes(group.id, before.revision)
    assert [(c.revision, c.kind.value, c.memory_id) for c in changes] == [
        (before.revision + 1, "forgotten", old.id),
        (new.revision, "added", new.id),
    ]
    cache, after = Cache(before), await store.snapshot(group.id)
    for change in changes:
        cache.apply(change)
    assert list(cache.memories.values()) == list(after.working_memory)
    counted = "SELECT working_memory_nodes, working_memory_tokens, pinned_tokens FROM robotgroups.groups WHERE id = %s"
    assert await group.sql(counted, group.id) == [(2, 9, 0)]


async def test_a_batch_has_what_has_expired_new_and_the_rest_as_it_was(group: Group) -> None:
    await group.arrive("a")
    session = MemorySession(group.store.conninfo, group.id)
    texts = [item_of(NewMemory(text), "cl100k_base") for text in ("gone", "stays", "new")]
    try:
        old = [o for o in (await session.remember("a", 1, texts[:2])).outcomes if isinstance(o, Remembered)]
        await group.sql("UPDATE robotgroups.memories SET expires_at = now() WHERE id = %s", old[0].id)
        written = await session.remember("a", 1, texts)
        done = [o for o in written.outcomes if isinstance(o, Remembered)]
        assert [(d.created, d.id == o.id) for d, o in zip(done, old, strict=False)] == [(True, False), (False, True)]
        assert written.changes[0].revision == old[1].revision + 2  # what was removed is told by the feed alone
    finally:
        await session.close()


async def test_what_has_expired_is_removed_from_every_group_of_the_space(group: Group) -> None:
    store, ids = group.store, []
    for name in ("one", "two"):
        key = GroupKey("local", "default", name)
        ids.append(await store.ensure_group(key, GroupSettings(max_tokens=100, space="team")))
        await store.reconcile_members(ids[-1], ["a"], [])
    one, two = ids
    old = await said(group, {"content": "x", "expires_at": SOON}, group_id=one)
    await said(group, {"content": "x"} | {"expires_at": SOON}, group_id=two)
    await group.sql("UPDATE robotgroups.memories SET expires_at = now()")
    new = await said(group, {"content": "x"}, group_id=two)
    assert (new.created, new.id != old.id) == (True, True)
    assert [m.id for m in (await store.snapshot(one)).working_memory] == []
    assert [m.id for m in (await store.snapshot(two)).working_memory] == [new.id]


async def test_a_key_is_answered_again_though_its_memory_has_expired(group: Group) -> None:
    await group.arrive("a")
    first = await said(group, {"content": "x", "key": "k"})
    await group.sql("UPDATE robotgroups.memories SET expires_at = now()")
    again = await said(group, {"content": "x", "key": "k"})
    assert (again.id, again.revision, again.created) == (first.id, first.revision, True)


async def test_what_has_expired_is_neither_pinned_nor_restored_nor_taken_in(group: Group) -> None:
    await group.arrive("a")
    old, hidden = await said(group, {"content": "x"}), await said(group, {"content": "y"})
    await group.store.forget(group.id, **SAID, memory_id=hidden.id)
    await group.sql("UPDATE robotgroups.memories SET expires_at = now()")
    before = (await group.store.status(group.id)).revision
    for pinned in (True, False):
        with pytest.raises(UnknownMemoryError, match=f"no memory has id {old.id}"):
            await group.store.pin(group.id, **SAID, memory_ids=[old.id], pinned=pinned)
    with pytest.raises(UnknownMemoryError, match=f"no memory has id {hidden.id}"):
        await group.store.restore(group.id, **SAID, memory_id=hidden.id)
    assert await group.store.into_working_memory(group.id, **SAID, memory_ids=[old.id]) == ({}, before)


# -- limits --------------------------------------------------------------------------------------------------------


async def test_tags_come_together_up_to_as_many_as_a_memory_may_have(group: Group) -> None:
    await group.arrive("a")
    first = await said(group, {"content": "x", "tags": [f"a{n}" for n in range(60)]})
    full = await said(group, {"content": "x", "tags": ["a0", "b0", "b1", "b2", "b3"]})
    assert (full.id, full.error) == (first.id, None)
    refused = await said(group, {"content": "x", "tags": ["a0", "c", "d"], "metadata": {"n": 1}})
    assert (refused.error, refused.message) == (
        "RG012",
        f"tags: memory {first.id} says this already, and would have 66 tags with these; a memory may have 64: "
        "untag it first, or give it fewer",
    )
    memory = await group.store.memory(group.id, first.id)
    assert (len(memory.tags), memory.metadata, memory.remember_count) == (64, {}, 2)
    assert (await said(group, {"content": "x", "tags": ["b3"]})).error is None


async def test_what_has_more_tags_than_it_may_already_can_be_said_again(group: Group) -> None:
    await group.arrive("a")
    old = await said(group, {"content": "x"})
    await group.sql("UPDATE robotgroups.memories SET tags = ARRAY(SELECT 't' || n FROM generate_series(1, 100) n)")
    assert (await said(group, {"content": "x", "tags": ["t7"]})).id == old.id
    assert (await said(group, {"content": "x", "tags": ["u"]})).error == "RG012"


async def test_metadata_comes_together_up_to_as_much_as_a_memory_may_have(group: Group) -> None:
    await group.arrive("a")
    first = await said(group, {"content": "x", "metadata": {"a": "ü" * 20_000}})
    assert (await said(group, {"content": "x", "metadata": {"b": "y" * 25_000}})).error is None
    refused = await said(group, {"content": "x", "metadata": {"c": "z" * 1000}})
    assert (refused.error, refused.message) == (
        "RG012",
        f"metadata: memory {first.id} says this already, and would have 66027 bytes of JSON with this; "
        "a memory may have 65536: update it with less, or give it less",
    )
    assert set((await group.store.memory(group.id, first.id)).metadata) == {"a", "b"}
    assert (await said(group, {"content": "x", "metadata": {"a": ""}})).error is None


async def test_numbers_that_postgres_writes_longer_than_they_were_sent_may_be_sent_again(group: Group) -> None:
    await group.arrive("a")
    item = {"content": "x", "metadata": {str(n): 1e300 for n in range(300)}}
    assert [(await said(group, item)).error for _ in range(2)] == [None, None]


async def test_a_refused_one_hinders_no_other_of_its_batch(group: Group) -> None:
    await group.arrive("a")
    session = MemorySession(group.store.conninfo, group.id)
    try:
        await session.remember("a", 1, [item_of(NewMemory("x", [f"a{n}" for n in range(64)]), "cl100k_base")])
        items = [item_of(NewMemory(text, ["new"]), "cl100k_base") for text in ("one", "x", "two")]
        one, refused, two = (await session.remember("a", 1, items)).outcomes
    finally:
        await session.close()
    assert isinstance(refused, ArgumentError)
    assert isinstance(one, Remembered)
    assert isinstance(two, Remembered)
    assert (one.revision + 1, one.created, two.created) == (two.revision, True, True)


# -- one of many ---------------------------------------------------------------------------------------------------


def unchecked(text: str) -> Item:
    return Item(text, 1, (text,), tagged=False, told=None)


@pytest.mark.parametrize(
    "bad",
    [
        '{"content": "x", "tokens": 1, "key": ""}',
        '{"content": "x", "tokens": 1, "key": "a\\u0000"}',
        '{"content": "x", "tokens": 1, "key": "\\ud800"}',
        json.dumps({"content": "x", "tokens": 1, "key": "".join(chr(0x4E00 + n) for n in range(5000))}),
        '{"content": "x", "tokens": 99999999999}',
        '{"content": "x", "tokens": 1, "expires_at": "one day"}',
    ],
)
async def test_what_postgres_cannot_store_of_one_is_that_ones_alone(group: Group, bad: str) -> None:
    await group.arrive("a")
    session = MemorySession(group.store.conninfo, group.id)
    good = [item_of(NewMemory(f"good {n}"), "cl100k_base") for n in range(2)]
    try:
        written = await session.remember("a", 1, [good[0], unchecked(bad), good[1]])
        first, refused, last = written.outcomes
        assert isinstance(refused, ArgumentError)
        assert isinstance(first, Remembered)
        assert isinstance(last, Remembered)
        assert (first.revision + 1, written.revision, written.changes) == (last.revision, last.revision, [])
        with pytest.raises(ArgumentError):
            await session.remember("a", 1, [unchecked(bad)])
    finally:
        await session.close()
    assert [m.content for m in (await group.store.snapshot(group.id)).working_memory] == ["good 0", "good 1"]


async def test_r2_one_by_one_is_fenced_too(group: Group) -> None:
    await group.arrive("a")
    session = MemorySession(group.store.conninfo, group.id)
    good = [item_of(NewMemory(f"good {n}"), "cl100k_base") for n in range(2)]
    try:
        outcomes = (await session.remember("a", 7, [unchecked('{"content": "x", "tokens": "y"}'), *good])).outcomes
    finally:
        await session.close()
    assert [type(outcome) for outcome in outcomes] == [ArgumentError, NotActiveError, NotActiveError]
    assert await group.sql("SELECT count(*) FROM robotgroups.memories") == [(0,)]


async def test_expiries_of_python_are_compared_in_utc(group: Group) -> None:
    await group.arrive("a")
    session = MemorySession(group.store.conninfo, group.id)
    noon = datetime(2100, 1, 1, 12, tzinfo=UTC)
    try:
        for at in (noon + timedelta(hours=1), noon):
            await session.remember("a", 1, [item_of(NewMemory("x", expires_at=at), "cl100k_base")])
    finally:
        await session.close()
    (memory,) = (await group.store.snapshot(group.id)).working_memory
    assert memory.expires_at == noon + timedelta(hours=1)
