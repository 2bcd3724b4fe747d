"""Updates: their history, and M2, M3 and M4 under them, in one group and in a shared space."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.types.json import Jsonb

from robotgroups.cache import Cache
from robotgroups.check import check
from robotgroups.erasing import Erasure
from robotgroups.errors import ArgumentError, NotActiveError, UnknownMemoryError
from robotgroups.models import ChangeKind, GroupKey, GroupSettings, Snapshot
from robotgroups.store import Store
from robotgroups.updating import UNCHANGED, Expiry, Patch, Updated

from .conftest import Group

pytestmark = pytest.mark.anyio

EMPTY = Snapshot(revision=0, epoch=0, max_tokens=100, roles={}, working_memory=())


async def update(
    group: Group, memory_id: int, content: str | None = None, *, tokens: int | None = None, tenure: int = 1,
    tags: list[str] | None = None, metadata: dict[str, Any] | None = None, expires_at: Expiry = UNCHANGED,
) -> Updated:  # fmt: skip
    """Update under a's tenure; ``tokens`` as if the content had so many."""
    patch = Patch.checked(content, tags=tags, metadata=metadata, expires_at=expires_at).as_json("cl100k_base")
    row = await group.store._row(
        "SELECT * FROM robotgroups.update_memory(%s, 'a', %s, %s, %s)",
        (group.id, tenure, memory_id, Jsonb(patch if tokens is None else patch | {"tokens": tokens})),
    )
    return Updated(memory_id, **row)


async def replayed(store: Store, group_id: int) -> Cache:
    """A cache that took every change, one by one."""
    cache = Cache(EMPTY)
    for change in await store.changes(group_id, 0):
        cache.apply(change)
    return cache


async def agrees(store: Store, group_id: int) -> list[tuple[int, int]]:
    """The replayed feed equals the snapshot (M3), the sums are right (M4); (id, tokens) of the working set."""
    cache, truth = await replayed(store, group_id), await store.snapshot(group_id)
    assert list(cache.memories.values()) == list(truth.working_memory)
    status = await store.status(group_id)
    assert status.working_memory_tokens == sum(m.tokens for m in truth.working_memory) == cache.tokens
    assert status.working_memory_nodes == len(truth.working_memory)
    return [(m.id, m.tokens) for m in truth.working_memory]


async def test_an_update_is_told_counted_searched_and_kept_as_history(group: Group) -> None:
    await group.arrive("a")
    first = await group.remember("the customer prefers e-mail", 5)
    done = await update(group, first.id, "the customer prefers the phone", tags=["contact"], metadata={"vip": True})
    assert (done.version, done.revision, done.epoch, done.in_working_memory) == (2, first.revision + 1, 1, True)
    memory = await group.store.memory(group.id, first.id)
    assert (memory.content, memory.tags, memory.metadata, memory.tokens) == (
        "the customer prefers the phone", ("contact",), {"vip": True}, 5,
    )  # fmt: skip
    (change,) = await group.store.changes(group.id, first.revision)
    assert (change.kind, change.payload["content"], change.payload["version"]) == (
        ChangeKind.UPDATED,
        memory.content,
        2,
    )
    assert await group.store.recall(group.id, "mail", limit=5) == []
    assert [m.id for m in await group.store.recall(group.id, "phone", limit=5)] == [first.id]
    now, before = await group.store.history(group.id, first.id)
    assert (now.version, now.content, now.until, now.replaced_by) == (2, memory.content, None, None)
    assert (before.version, before.content, before.tags, before.metadata) == (1, "the customer prefers e-mail", (), {})
    assert (before.since, before.until, before.replaced_by) == (memory.created_at, now.since, "a")
    assert await agrees(group.store, group.id) == [(first.id, 5)]


async def test_lexemes_follow_whether_they_were_made_before_or_after(group: Group) -> None:
    await group.arrive("a")
    made, later = await group.remember("apples"), await group.remember("pears")
    await group.sql("SELECT robotgroups.lex(%s, 1)", group.id)
    await update(group, made.id, "oranges")
    await update(group, later.id, "lemons")
    for _ in range(2):
        found = {
            word: [m.id for m in await group.store.recall(group.id, word, limit=5)]
            for word in ("apples", "pears", "oranges", "lemons")
        }
        assert found == {"apples": [], "pears": [], "oranges": [made.id], "lemons": [later.id]}
        await group.sql("SELECT robotgroups.lex(%s, 100)", group.id)


@pytest.mark.parametrize("erased", [False, True])
async def test_lexemes_that_are_being_made_meanwhile_end_in_no_deadlock(group: Group, erased: bool) -> None:
    """lex takes the space's row first, memories second: whoever changes or erases a text comes before or after it."""
    await group.arrive("a")
    memory_id = (await group.remember("apples")).id

    async def act() -> None:
        if erased:
            await group.store.erase(group.id, robot="a", tenure=1, erasure=Erasure.checked(memory_id))
        else:
            await update(group, memory_id, "pears")

    async with await psycopg.AsyncConnection.connect(group.dsn) as lexer:
        await lexer.execute("SELECT FROM robotgroups.spaces FOR NO KEY UPDATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(act)
            if erased:
                while await group.sql("SELECT 1 FROM robotgroups.memories"):
                    await anyio.sleep(0.01)
            else:
                await until_waiting(group)
            await lexer.execute("SELECT robotgroups.lex(%s, 10)", (group.id,))
            await lexer.commit()
    found = {word: [m.id for m in await group.store.recall(group.id, word, limit=5)] for word in ("apples", "pears")}
    assert found == {"apples": [], "pears": [] if erased else [memory_id]}
    assert await check(group.store) == []


async def until_waiting(group: Group) -> None:
    """Until somebody waits for a lock."""
    with anyio.fail_after(10):
        while await group.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
            await anyio.sleep(0.01)


async def test_an_update_done_twice_is_done_once_and_expiry_alone_is_no_version(group: Group) -> None:
    await group.arrive("a")
    memory_id = (await group.remember("x")).id
    done = await update(group, memory_id, "y", tags=["t"])
    assert await update(group, memory_id, "y", tags=["t"]) == done
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    later = await update(group, memory_id, expires_at=at)
    assert (later.version, later.revision) == (2, done.revision + 1)
    (change,) = await group.store.changes(group.id, done.revision)
    assert datetime.fromisoformat(change.payload["expires_at"]) == at
    assert [v.version for v in await group.store.history(group.id, memory_id)] == [2, 1]
    assert (await update(group, memory_id, expires_at=None)).revision == done.revision + 2
    assert [v.content for v in await group.store.history(group.id, memory_id, limit=1)] == ["y"]


async def test_history_keeps_the_newest_thousand(group: Group) -> None:
    await group.arrive("a")
    memory_id = (await group.remember("0")).id
    await group.sql(
        "INSERT INTO robotgroups.memory_versions SELECT 1, n, n::text, 1, '{}', '{}', now(), now(), 'a' "
        "FROM generate_series(1, 1000) n"
    )
    await group.sql("UPDATE robotgroups.memories SET version = 1001")
    await update(group, memory_id, "1001")
    versions = await group.store.history(group.id, memory_id, limit=2000)
    assert [v.version for v in versions] == list(range(1002, 1, -1))


async def test_the_same_content_as_another_memorys_is_refused_by_its_id(group: Group) -> None:
    await group.arrive("a")
    one, other = (await group.remember("one")).id, (await group.remember("other")).id
    with pytest.raises(ArgumentError, match=f"memory {one} says this already, in the same scope: update that one"):
        await update(group, other, "one")
    await group.store.forget(group.id, robot="a", tenure=1, memory_id=one)
    with pytest.raises(ArgumentError, match=rf"memory {one} says this already, in the same scope \(it is forgotten\)"):
        await update(group, other, "one")
    # in another scope it is another memory
    item = '[{"content": "other", "tokens": 1, "scope": ["user=u1"]}]'
    await group.sql("SELECT robotgroups.remember_batch(%s, 'a', 1, %s)", group.id, item)
    assert (await update(group, other, "one more")).version == 2
    # what has expired is in nobody's way
    await group.sql("UPDATE robotgroups.memories SET expires_at = now() WHERE id = %s", one)
    await update(group, other, "one")
    assert (await group.store.memory(group.id, other)).content == "one"
    with pytest.raises(UnknownMemoryError):
        await group.store.memory(group.id, one)
    await agrees(group.store, group.id)


async def test_what_cannot_be_is_refused_and_changes_nothing(group: Group) -> None:
    await group.arrive("a")
    memory_id = (await group.remember("x")).id
    before = await group.store.memory(group.id, memory_id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(ArgumentError, match=r"expires_at .* is not in the future: to remove a memory now, erase it"):
        await update(group, memory_id, "y", expires_at=past)
    with pytest.raises(UnknownMemoryError, match="no memory has id 99"):
        await update(group, 99, "y")
    with pytest.raises(NotActiveError):
        await update(group, memory_id, "y", tenure=2)
    for patch, message in (
        ('{"content": "y"}', "new content needs its number of tokens"),
        ('{"content": " ", "tokens": 1}', "content must not be blank"),
        ('{"content": null, "tokens": 1}', "content must not be blank"),
        ('{"metadata": []}', "metadata must be a JSON object"),
    ):
        with pytest.raises(psycopg.Error, match=message):
            await group.sql("SELECT robotgroups.update_memory(%s, 'a', 1, %s, %s)", group.id, memory_id, patch)
    assert await group.store.memory(group.id, memory_id) == before
    assert (await group.store.status(group.id)).revision == 2
    await group.sql("UPDATE robotgroups.memories SET expires_at = now()")
    with pytest.raises(UnknownMemoryError):
        await update(group, memory_id, "y")
    with pytest.raises(UnknownMemoryError):
        await group.store.history(group.id, memory_id)


async def test_m4_growth_evicts_others_and_what_alone_is_too_large_stays_long_term_only(group: Group) -> None:
    await group.arrive("a")
    first, second, third = [(await group.remember(name, 30)).id for name in ("first", "second", "third")]
    before = (await group.store.status(group.id)).revision
    assert (await update(group, first, "first, longer", tokens=50)).in_working_memory
    assert [(c.kind, c.memory_id) for c in await group.store.changes(group.id, before)] == [
        (ChangeKind.EVICTED, second), (ChangeKind.UPDATED, first),
    ]  # fmt: skip
    assert await agrees(group.store, group.id) == [(first, 50), (third, 30)]
    assert not (await update(group, first, "far too long", tokens=101)).in_working_memory
    assert await agrees(group.store, group.id) == [(third, 30)]
    # it tells of itself though nobody holds it, and shrinks without coming back
    assert not (await update(group, first, "short", tokens=2)).in_working_memory
    assert await agrees(group.store, group.id) == [(third, 30)]
    await group.store.restore(group.id, robot="a", tenure=1, memory_id=first)
    assert (await group.store.memory(group.id, first)).tokens == 2


async def test_m4_pins_count_and_what_is_pinned_may_not_outgrow_its_room(group: Group) -> None:
    await group.arrive("a")
    pinned, other = (await group.remember("pinned", 40)).id, (await group.remember("other", 40)).id
    await group.sql("SELECT robotgroups.pin(%s, 'a', 1, %s, true)", group.id, [pinned])
    await update(group, pinned, "pinned, longer", tokens=70)
    assert await agrees(group.store, group.id) == [(pinned, 70)]
    assert await group.sql("SELECT pinned_tokens FROM robotgroups.groups") == [(70,)]
    with pytest.raises(
        ArgumentError, match=rf"memory {pinned} is pinned in group invariants, where 100 tokens have room"
    ):
        await update(group, pinned, "pinned, too long", tokens=101)
    assert not (await update(group, other, "other, longer", tokens=31)).in_working_memory
    await update(group, pinned, "pinned, short", tokens=1)
    assert await group.sql("SELECT pinned_tokens, working_memory_tokens FROM robotgroups.groups") == [(1, 1)]


async def test_m3_every_group_of_a_space_that_holds_it_hears_of_it(group: Group) -> None:
    one, two, idle = await shared(group)
    (memory_id,) = await said(group, one, "ours", 30)
    assert await said(group, two, "ours", 30) == [memory_id]
    (evicted,) = await said(group, two, "evicted for it", 60)
    before = {g: (await group.store.status(g)).revision for g in (one, two, idle)}
    patch = '{"content": "ours, longer", "tokens": 50}'
    await group.sql("SELECT robotgroups.update_memory(%s, 'a', 1, %s, %s)", one, memory_id, patch)
    told = {g: [(c.kind, c.memory_id) for c in await group.store.changes(g, before[g])] for g in before}
    assert told == {
        one: [(ChangeKind.UPDATED, memory_id)],
        two: [(ChangeKind.EVICTED, evicted), (ChangeKind.UPDATED, memory_id)],
        idle: [],
    }
    assert await agrees(group.store, one) == [(memory_id, 50)]
    assert await agrees(group.store, two) == [(memory_id, 50)]
    await group.sql("SELECT robotgroups.pin(%s, 'a', 1, %s, true)", two, [memory_id])
    patch = '{"content": "ours, too long", "tokens": 101}'
    with pytest.raises(psycopg.Error, match=f"memory {memory_id} is pinned in group two"):
        await group.sql("SELECT robotgroups.update_memory(%s, 'a', 1, %s, %s)", one, memory_id, patch)


async def shared(group: Group) -> tuple[int, int, int]:
    """Three groups of one space with a budget of 100 tokens, each with an active robot a."""
    ids = []
    for name in ("one", "two", "idle"):
        settings = '{"space": "hive", "language": "english", "max_tokens": 100}'
        ((made,),) = await group.sql("SELECT robotgroups.ensure_group('local', 'default', %s, %s)", name, settings)
        await group.store.reconcile_members(made, ["a"], [])
        ids.append(made)
    one, two, idle = ids
    return one, two, idle


async def said(group: Group, group_id: int, content: str, tokens: int) -> list[int]:
    """Remembers as a in a group."""
    done = await group.store.remember(group_id, robot="a", tenure=1, content=content, tokens=tokens)
    return [done.id]


async def test_another_group_of_the_space_may_update_and_another_space_may_not(group: Group) -> None:
    one, two, _ = await shared(group)
    (memory_id,) = await said(group, one, "ours", 1)
    patch = '{"tags": ["theirs"]}'
    await group.sql("SELECT robotgroups.update_memory(%s, 'a', 1, %s, %s)", two, memory_id, patch)
    assert (await group.store.memory(one, memory_id)).tags == ("theirs",)
    with pytest.raises(UnknownMemoryError):
        await update(group, memory_id, "mine")
    stranger = await group.store.ensure_group(GroupKey("local", "other", "stranger"), GroupSettings())
    for read in (group.store.history, group.store.propositions):
        with pytest.raises(UnknownMemoryError):
            await read(stranger, memory_id)


async def test_an_update_and_whoever_makes_lexemes_do_not_wait_for_each_other(group: Group) -> None:
    """Lexemes hold the space's row and then need the memory's: an update that waits for one has not the other."""
    await group.arrive("a")
    memory_id = (await group.remember("before")).id
    async with await psycopg.AsyncConnection.connect(group.dsn) as lexing:
        await lexing.execute("SELECT FROM robotgroups.spaces FOR NO KEY UPDATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(update, group, memory_id, "after")
            await until_waiting(group)
            await lexing.execute("SELECT FROM robotgroups.memories WHERE id = %s FOR KEY SHARE NOWAIT", (memory_id,))
            await lexing.commit()
    assert (await group.store.memory(group.id, memory_id)).content == "after"
