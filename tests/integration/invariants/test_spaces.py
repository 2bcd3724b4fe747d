"""Spaces and scopes: who shares long-term memory, and who does not (S1, M2, M3)."""

from typing import Any

import anyio
import psycopg
import pytest

from robotgroups.embedding import embedding_config
from robotgroups.errors import ArgumentError, UnknownMemoryError
from robotgroups.models import GroupKey, GroupSettings, Memory
from robotgroups.recall import Filters
from robotgroups.remembering import NewMemory, item_of, scope_texts
from robotgroups.store import Store

from .conftest import Group

pytestmark = pytest.mark.anyio
OWNER: dict[str, Any] = {"robot": None, "tenure": None}


async def make(store: Store, name: str, space: str | None, namespace: str = "default") -> int:
    group_id = await store.ensure_group(GroupKey("local", namespace, name), GroupSettings(max_tokens=100, space=space))
    await store.reconcile_members(group_id, ["a"], [])
    return group_id


async def remember(store: Store, group_id: int, content: str, **scope: str) -> int:
    writer = store.session(group_id)
    try:
        written = await writer.remember(None, None, [item_of(NewMemory(content, scope=scope), "cl100k_base")])
        (done,) = written.outcomes
    finally:
        await writer.close()
    assert not isinstance(done, Exception)
    return done.id


async def test_a_writer_that_is_quiet_for_its_group_is_not_for_the_others_of_its_space(group: Group) -> None:
    store = group.store
    one, two = await make(store, "one", "team"), await make(store, "two", "team")
    await remember(store, two, "both know it")
    writer = store.session(one)
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as heard:
        await heard.execute(f"LISTEN rg_{one}".encode())
        await heard.execute(f"LISTEN rg_{two}".encode())
        item = item_of(NewMemory("both know it"), "cl100k_base")
        written = await writer.remember("a", 1, [item], quiet=True)
        notes = [(note.channel, note.payload) async for note in heard.notifies(timeout=5, stop_after=1)]
        await writer.close()
    assert written.quiet
    assert notes == [(f"rg_{two}", str((await store.status(two)).revision))]


async def found(store: Store, group_id: int, query: str, **filters: Any) -> list[int]:
    return [m.id for m in await store.recall(group_id, query, limit=10, filters=Filters(**filters))]


async def held(store: Store, group_id: int) -> list[str]:
    return [m.content for m in (await store.snapshot(group_id)).working_memory]


async def test_groups_of_one_space_recall_each_others_memories_and_keep_their_own_working_sets(group: Group) -> None:
    store = group.store
    one, two, alone = (
        await make(store, "one", "team"),
        await make(store, "two", "team"),
        await make(store, "alone", None),
    )
    first = await remember(store, one, "the customer prefers mail")
    second = await remember(store, two, "the customer prefers the phone")
    other = await remember(store, alone, "the customer prefers letters")
    assert sorted(await found(store, one, "customer")) == sorted(await found(store, two, "customer")) == [first, second]
    assert await found(store, alone, "customer") == [other]
    assert await held(store, one) == ["the customer prefers mail"]
    assert await held(store, two) == ["the customer prefers the phone"]
    with pytest.raises(UnknownMemoryError):
        await store.memory(alone, first)
    with pytest.raises(UnknownMemoryError):
        await store.forget(alone, **OWNER, memory_id=first)


async def test_m2_the_same_content_is_one_memory_of_the_space(group: Group) -> None:
    store = group.store
    one, two = await make(store, "one", "team"), await make(store, "two", "team")
    memory = await remember(store, one, "said twice")
    assert await remember(store, two, "said twice") == memory
    assert (await store.memory(two, memory)).remember_count == 2
    assert await held(store, one) == await held(store, two) == ["said twice"]


async def test_m3_what_one_group_changes_the_other_one_hears_of(group: Group) -> None:
    """Each cache equals its group's working set at its revision, whoever of the space changed the memory."""
    store = group.store
    one, two = await make(store, "one", "team"), await make(store, "two", "team")
    memory = await remember(store, one, "shared")
    await remember(store, two, "shared")
    before = await store.snapshot(one)
    await store.remember(two, **OWNER, content="shared", tokens=1, tags=["new"])
    (change,) = await store.changes(one, before.revision)
    assert (change.kind.value, Memory.from_json(change.payload)) == (
        "updated",
        (await store.snapshot(one)).working_memory[0],
    )
    assert (await store.snapshot(one)).working_memory[0].tags == ("new",)
    await store.forget(two, **OWNER, memory_id=memory)
    changes = await store.changes(one, before.revision + 1)
    assert [(c.kind.value, c.memory_id) for c in changes] == [("forgotten", memory)]
    assert await held(store, one) == await held(store, two) == []
    assert await group.sql("SELECT DISTINCT working_memory_tokens FROM robotgroups.groups") == [(0,)]


async def test_a_space_is_of_one_namespace(group: Group) -> None:
    store = group.store
    here, there = await make(store, "one", "team"), await make(store, "one", "team", namespace="other")
    memory = await remember(store, here, "ours")
    assert await found(store, there, "ours") == []
    with pytest.raises(UnknownMemoryError):
        await store.memory(there, memory)


async def test_a_groups_space_cannot_be_changed(group: Group) -> None:
    await make(group.store, "one", "team")
    for space, said in (("others", "others"), (None, r"\(its own\)")):
        with pytest.raises(ArgumentError, match=f"remembers in the space team, which cannot be changed to {said}"):
            await make(group.store, "one", space)


async def test_the_last_group_takes_the_space_along(group: Group) -> None:
    store = group.store
    one, two = await make(store, "one", "team"), await make(store, "two", "team")
    memory = await remember(store, one, "kept for the other one")
    await store.delete_group(one)
    assert await found(store, two, "kept") == [memory]
    assert await group.sql("SELECT group_id FROM robotgroups.memories") == [(None,)]
    await store.delete_group(two)
    assert await group.sql("SELECT count(*) FROM robotgroups.memories") == [(0,)]
    assert await group.sql("SELECT count(*) FROM robotgroups.spaces WHERE name IS NOT NULL") == [(0,)]


async def test_the_same_content_in_two_scopes_is_two_memories(group: Group) -> None:
    store = group.store
    one = await make(store, "one", None)
    shared = await remember(store, one, "likes tea")
    ann = await remember(store, one, "likes tea", user="ann")
    bob = await remember(store, one, "likes tea", user="bob", chat="7")
    assert len({shared, ann, bob}) == 3
    assert await remember(store, one, "likes tea", chat="7", user="bob") == bob
    assert await found(store, one, "tea") == [shared, ann, bob]
    assert await found(store, one, "tea", scope=tuple(scope_texts({"user": "ann"}))) == [ann]
    assert await found(store, one, "tea", scope=tuple(scope_texts({"user": "bob"}))) == [bob]
    assert await found(store, one, "tea", scope=tuple(scope_texts({"user": "bob", "chat": "8"}))) == []
    assert (await store.memory(one, bob)).scope == {"chat": "7", "user": "bob"}


async def test_deadlock_free_when_groups_of_a_space_write_the_same_at_once(group: Group) -> None:
    store = group.store
    groups = [await make(store, name, "team") for name in ("one", "two", "three")]
    texts = [f"memory {i}" for i in range(20)]

    async def write(group_id: int, order: list[str]) -> None:
        for text in order:
            await remember(store, group_id, text)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for group_id, order in zip(groups, (texts, texts[::-1], texts[7:] + texts[:7]), strict=True):
                tasks.start_soon(write, group_id, order)
    assert await group.sql("SELECT count(*), min(remember_count) FROM robotgroups.memories") == [(20, 3)]


async def test_groups_of_one_space_that_name_two_embeddings_are_told_so(group: Group) -> None:
    store = group.store

    async def name(group_name: str, model: str | None, **more: Any) -> int:
        embedding = {"provider": "none"}
        if model is not None:
            config = embedding_config("openai", model=model, dimensions=3, base_url="http://127.0.0.1:1", **more)
            embedding = config.as_json()
        settings = GroupSettings(max_tokens=100, space="team", embedding=embedding)
        return await store.ensure_group(GroupKey("local", "default", group_name), settings)

    async def serving(group_id: int) -> list[tuple[Any, ...]]:
        return await group.sql(
            "SELECT e.model FROM robotgroups.groups g JOIN robotgroups.spaces s ON s.id = g.space_id "
            "JOIN robotgroups.embedding_models e ON e.id = s.target_model WHERE g.id = %s",
            group_id,
        )

    one, two, three = await name("one", "m1"), await name("two", "m1", batch_size=7), await name("three", None)
    told = [(await store.status(g)).embedding_conflict for g in (one, two, three)]
    assert told == [None, None, None]
    await name("two", "m2")
    ends = "of the same space names another embedding: the one that was set last serves all of them; give them the same"
    told = [(await store.status(g)).embedding_conflict for g in (one, two, three)]
    assert told == [f"two {ends}", f"one {ends}", None]
    assert await serving(one) == [("m2",)]
    await name("three", "m2")
    assert (await store.status(one)).embedding_conflict == f"three, two {ends}".replace("names", "name")
    # who names none any more does not switch it off for the others
    await name("two", None)
    await name("three", None)
    assert await serving(one) == [("m1",)]
    assert (await store.status(one)).embedding_conflict is None
    await name("one", None)
    assert await serving(one) == []
