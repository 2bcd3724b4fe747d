"""Erasure, proven by a search of a dump of the whole database and of the feed; and retention, which erases too."""

import json
from collections.abc import Sequence
from typing import Any

import anyio
import psycopg
import pytest
from postgres_server import PostgresServer

from robotgroups.cache import Cache
from robotgroups.erasing import Erasure
from robotgroups.errors import ArgumentError, NotActiveError, UnknownMemoryError
from robotgroups.lifecycle_store import Retained
from robotgroups.models import ChangeKind, GroupKey, GroupSettings, Snapshot

from .conftest import Claim, Group
from .populating import populate

pytestmark = pytest.mark.anyio

CLAIM: Claim = {"robot": "a", "tenure": 1}
SECRET = "Ilsebill"  # in everything that is to be erased, in nothing that stays


async def batch(group: Group, *items: dict[str, Any], to: int | None = None) -> list[int]:
    """Remembers a batch, one row of the feed; the ids."""
    full = json.dumps([{"tokens": 1, **item} for item in items])
    rows = await group.sql(
        "SELECT id, error FROM robotgroups.remember_batch(%s, 'a', 1, %s) ORDER BY ord", to or group.id, full
    )
    assert all(error is None for _, error in rows)
    return [memory_id for memory_id, _ in rows]


async def erase(group: Group, ids: int | Sequence[int] | None = None, **target: Any) -> int:
    """Erases as a."""
    return (await group.store.erase(group.id, **CLAIM, erasure=Erasure.checked(ids, **target))).count


async def dump(admin_dsn: str, postgres: PostgresServer) -> str:
    """Everything in the database as text: what pg_dump writes, and what statistics keep."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
        statistics = connection.execute("SELECT * FROM pg_stats WHERE schemaname = 'robotgroups'").fetchall()
    path = postgres.directory / "dump.sql"
    postgres._programs.run("pg_dump", "--dbname", admin_dsn, "--file", str(path))
    return path.read_text() + repr(statistics)


async def tables_with(group: Group, word: str) -> set[str]:
    """Tables with a row that has the word anywhere."""
    names = await group.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'robotgroups'::regnamespace AND relkind = 'r'"
    )
    statement = "SELECT 1 FROM robotgroups.{} t WHERE t::text LIKE %s LIMIT 1"
    return {name for (name,) in names if await group.sql(statement.format(name), f"%{word}%")}


async def rows_of(group: Group, memories: Sequence[int]) -> dict[str, int]:
    """How many rows each table, but the feed, has of these memories."""
    columns = await group.sql(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind = 'r' AND c.relname <> 'changes' "
        "AND a.attname IN ('memory_id', 'source', 'target') AND a.atttypid = 'bigint'::regtype"
    )
    found = {}
    for table, column in columns:
        ((count,),) = await group.sql(
            f"SELECT count(*) FROM robotgroups.{table} WHERE {column} = ANY (%s)", list(memories)
        )
        found[f"{table}.{column}"] = count
    return found


async def agree(group: Group, group_id: int) -> Snapshot:
    """A cache that takes every change of the feed agrees with the snapshot at the end (M3), and the sums are right."""
    truth = await group.store.snapshot(group_id)
    cache = Cache(Snapshot(revision=0, epoch=0, max_tokens=100, roles={}, working_memory=()))
    changes = await group.store.changes(group_id, 0)
    for change in changes:
        cache.apply(change)
    assert (cache.revision, list(cache.memories.values())) == (truth.revision, list(truth.working_memory))
    assert SECRET not in repr(changes)
    status = await group.store.status(group_id)
    assert status.working_memory_tokens == cache.tokens == sum(m.tokens for m in truth.working_memory)
    assert status.working_memory_nodes == len(truth.working_memory)
    return truth


async def test_what_was_erased_is_in_no_table_no_feed_no_statistics_and_no_dump(
    group: Group, admin_dsn: str, postgres: PostgresServer
) -> None:
    await group.arrive("a")
    kept = (await group.remember("the fisherman", key="k0")).id
    told, *_ = await populate(group.sql, group.id, SECRET)
    # of every kind of event, in rows of many and of one
    await group.store.remember(group.id, **CLAIM, content=f"{SECRET} one, again", tokens=1, tags=["again"])
    await group.store.forget(group.id, **CLAIM, memory_id=told)
    await group.store.restore(group.id, **CLAIM, memory_id=told)
    await group.remember(f"{SECRET} in a change of her own", key=SECRET)
    # enough of them that ANALYZE takes samples of contents
    await batch(group, *({"content": f"{SECRET} wish {n}"} for n in range(20)))
    everything = [i for (i,) in await group.sql("SELECT id FROM robotgroups.memories WHERE id <> %s ORDER BY id", kept)]
    before = await dump(admin_dsn, postgres)
    assert before.count(SECRET) > 50
    assert await tables_with(group, SECRET) == {
        "memories", "memory_versions", "changes", "idempotency_keys", "jobs", "files", "file_chunks",
    }  # fmt: skip
    assert 0 not in (await rows_of(group, everything)).values()

    done = await group.store.erase(group.id, **CLAIM, erasure=Erasure.checked(everything))
    assert (done.count, done.last) == (24, None)
    after = await dump(admin_dsn, postgres)
    assert [line for line in after.splitlines() if SECRET in line] == []
    assert "the fisherman" in after
    truth = await agree(group, group.id)
    assert [m.id for m in truth.working_memory] == [kept]
    assert done.revision == truth.revision
    forgotten = [c for c in await group.store.changes(group.id, 0) if c.kind is ChangeKind.FORGOTTEN and c.robot == "a"]
    assert [c.memory_id for c in forgotten[-24:]] == everything
    with pytest.raises(UnknownMemoryError):
        await group.store.memory(group.id, told)
    assert await group.store.recall(group.id, SECRET, limit=5) == []
    # done again, there is nothing left to do; and it may be remembered anew
    assert await erase(group, everything) == 0
    assert set((await rows_of(group, everything)).values()) == {0}
    assert (await group.remember(f"{SECRET} one")).created


async def test_only_what_is_named_is_erased_from_a_row_of_many(group: Group) -> None:
    await group.arrive("a")
    ids = await batch(group, *({"content": f"{n}"} for n in range(5)))
    assert await erase(group, [ids[1], ids[3], 999]) == 2
    added = [c for c in await group.store.changes(group.id, 1) if c.kind is ChangeKind.ADDED]
    assert [(c.memory_id, c.erased, c.payload.get("content")) for c in added] == [
        (ids[0], False, "0"), (ids[1], True, None), (ids[2], False, "2"), (ids[3], True, None), (ids[4], False, "4"),
    ]  # fmt: skip
    assert [m.id for m in (await agree(group, group.id)).working_memory] == [ids[0], ids[2], ids[4]]


async def test_by_scope_and_by_tags_as_recall_matches_them(group: Group) -> None:
    await group.arrive("a")
    u1 = ["user=u1"]
    ids = await batch(
        group,
        {"content": "0", "scope": u1, "tags": ["db:postgresql"]},
        {"content": "1", "scope": ["conversation=c", "user=u1"]},
        {"content": "2", "scope": ["user=u2"], "tags": ["db"]},
        {"content": "3", "tags": ["database"]},
        {"content": "4", "scope": u1, "tags": ["db:mysql", "x"]},
    )
    assert await erase(group, scope={"user": "u1"}, tags=["db"]) == 2
    assert await erase(group, tags=["db"]) == 1
    assert await erase(group, scope={"user": "u1", "conversation": "c"}) == 1
    assert await erase(group, scope={"user": "u1"}) == 0
    assert [m.id for m in (await agree(group, group.id)).working_memory] == [ids[3]]
    with pytest.raises(ArgumentError, match="erase needs to be told what"):
        Erasure.checked()
    with pytest.raises(ArgumentError, match="ids alone"):
        Erasure.checked(1, scope={"user": "u1"})
    for nothing in ("NULL, NULL, NULL", "NULL, '{}', '{}'"):
        with pytest.raises(psycopg.Error, match="name what to erase"):
            await group.sql(f"SELECT robotgroups.erase(%s, 'a', 1, {nothing}, 0, 10)", group.id)


async def test_many_are_erased_batch_by_batch(group: Group) -> None:
    await group.arrive("a")
    ids = await batch(group, *({"content": f"{n}", "scope": ["user=u1"]} for n in range(25)))
    erasure, counts, after = Erasure.checked(scope={"user": "u1"}), [], 0
    while True:
        done = await group.store.erase(group.id, **CLAIM, erasure=erasure, after=after, limit=10)
        counts.append((done.count, done.last))
        if done.last is None:
            break
        after = done.last
    assert counts == [(10, ids[9]), (10, ids[19]), (5, None)]
    assert (await agree(group, group.id)).working_memory == ()


async def test_only_an_active_robot_erases_and_only_in_its_own_space(group: Group) -> None:
    await group.arrive("a")
    ours = (await group.remember("ours")).id
    theirs = await group.store.ensure_group(GroupKey("local", "other", "theirs"), GroupSettings())
    await group.store.reconcile_members(theirs, ["a"], [])
    with pytest.raises(NotActiveError):
        await group.store.erase(group.id, robot="a", tenure=2, erasure=Erasure.checked(ours))
    for erasure in (Erasure.checked(ours), Erasure.checked(tags=["x"])):
        assert (await group.store.erase(theirs, **CLAIM, erasure=erasure)).count == 0
    assert (await group.store.memory(group.id, ours)).content == "ours"


async def test_m3_every_group_of_a_space_forgets_it_whoever_erases_it(group: Group) -> None:
    one, two, idle = [
        await group.store.ensure_group(GroupKey("local", "default", n), GroupSettings(max_tokens=100)) for n in "xyz"
    ]
    for other in (two, idle):
        await group.sql(
            "UPDATE robotgroups.groups SET space_id = (SELECT space_id FROM robotgroups.groups WHERE id = %s) "
            "WHERE id = %s",
            one, other,
        )  # fmt: skip
    await group.sql(
        "UPDATE robotgroups.spaces s SET name = 'hive' FROM robotgroups.groups g WHERE g.space_id = s.id AND g.id = %s",
        one,
    )
    for each in (one, two, idle):
        await group.store.reconcile_members(each, ["a"], [])
    (memory_id, kept) = await batch(group, {"content": f"{SECRET}", "tokens": 30}, {"content": "kept"}, to=one)
    await batch(group, {"content": f"{SECRET}", "tokens": 30}, to=two)
    await group.sql("SELECT robotgroups.pin(%s, 'a', 1, %s, true)", two, [memory_id])
    before = {g: (await group.store.status(g)).revision for g in (one, two, idle)}
    done = await group.store.erase(one, **CLAIM, erasure=Erasure.checked(memory_id))
    assert done.count == 1
    for each in (one, two):
        assert [(c.kind, c.memory_id) for c in await group.store.changes(each, before[each])] == [
            (ChangeKind.FORGOTTEN, memory_id)
        ]
        await agree(group, each)
    assert (await group.store.status(idle)).revision == before[idle]
    assert [m.id for m in (await group.store.snapshot(one)).working_memory] == [kept]
    assert await group.sql(
        "SELECT pinned_tokens, working_memory_tokens FROM robotgroups.groups WHERE id = %s", two
    ) == [(0, 0)]


async def test_a_write_under_way_comes_before_or_after_and_leaves_nothing_in_the_feed(group: Group) -> None:
    """Erase looks at the feed before it takes the lock: what is appended meanwhile is scrubbed all the same."""
    await group.arrive("a")
    ids = [(await group.remember(f"{SECRET} {n}")).id for n in range(10)]

    async def remember_again() -> None:
        for n in range(10):
            await group.remember(f"{SECRET} {n}")

    async def erase_all() -> None:
        for memory_id in ids:
            await erase(group, memory_id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remember_again)
        tasks.start_soon(erase_all)
    left = {i for (i,) in await group.sql("SELECT id FROM robotgroups.memories")}
    for change in await group.store.changes(group.id, 0):
        assert change.memory_id in left or SECRET not in repr(change.payload)
    rows = await group.sql(
        "SELECT memory_id, payload::text FROM robotgroups.changes WHERE payload::text LIKE '%%Ilsebill%%'"
    )
    assert {i for i, _ in rows if i is not None} <= left


async def test_tags_that_are_being_counted_meanwhile_end_in_no_deadlock_and_none_is_left(group: Group) -> None:
    """Whoever relates memories by tags counts all of a space's tags anew, as often as a tenth of them has changed."""
    await group.arrive("a")
    tags = [f"{SECRET}:{n}" for n in range(12)]
    ids = await batch(
        group, *({"content": f"{n}", "tags": [tags[n % 12], tags[n % 5], tags[n % 7]]} for n in range(60))
    )
    stop = anyio.Event()

    async def relate() -> None:
        while not stop.is_set():
            if not await group.store.relate_by_tags(group.id, 2):
                await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relate)
        for memory_id in ids:
            await erase(group, memory_id)
        stop.set()
    assert await tables_with(group, SECRET) == set()


# -- retention -----------------------------------------------------------------------------------------------------


async def retain(group: Group, group_id: int | None = None, limit: int = 500) -> int:
    """Enforces until one pass is over; how many went."""
    removed, after = 0, 0
    while True:
        step = await group.store.enforce_retention(group_id or group.id, after=after, limit=limit)
        removed, after = removed + step.removed, step.next_after
        if not step.next_after and not step.removed:
            return removed


async def policy(group: Group, **columns: int | None) -> None:
    for name, value in columns.items():
        await group.sql(f"UPDATE robotgroups.groups SET {name} = %s WHERE id = %s", value, group.id)


async def left(group: Group) -> list[str]:
    return [c for (c,) in await group.sql("SELECT content FROM robotgroups.memories ORDER BY id")]


async def test_what_has_expired_is_invisible_at_once_and_soon_gone(
    group: Group, admin_dsn: str, postgres: PostgresServer
) -> None:
    await group.arrive("a")
    await batch(group, {"content": f"{SECRET} expires", "expires_at": "2100-01-01T00:00:00Z"}, {"content": "stays"})
    await group.sql("SELECT robotgroups.pin(%s, 'a', 1, '{1}', true)", group.id)
    assert await retain(group) == 0
    await group.sql("UPDATE robotgroups.memories SET expires_at = now() WHERE expires_at IS NOT NULL")
    assert await group.store.recall(group.id, SECRET, limit=5) == []
    with pytest.raises(UnknownMemoryError):
        await group.store.memory(group.id, 1)
    before = (await group.store.status(group.id)).revision
    assert await retain(group) == 1
    assert [(c.kind, c.memory_id) for c in await group.store.changes(group.id, before)] == [(ChangeKind.FORGOTTEN, 1)]
    assert [m.content for m in (await agree(group, group.id)).working_memory] == ["stays"]
    assert SECRET not in await dump(admin_dsn, postgres)


async def test_what_was_not_remembered_for_so_long_goes_unless_it_is_pinned(group: Group) -> None:
    await group.arrive("a")
    ids = await batch(group, *({"content": c} for c in ("old", "remembered again", "pinned", "new")))
    await group.sql(
        "UPDATE robotgroups.memories "
        "SET created_at = now() - interval '1 day', remembered_at = now() - interval '1 day' WHERE id < 4"
    )
    await batch(group, {"content": "remembered again"})
    await group.sql("SELECT robotgroups.pin(%s, 'a', 1, %s, true)", group.id, [ids[2]])
    await policy(group, expire_after_s=86_401)
    assert await retain(group) == 0
    await policy(group, expire_after_s=86_399)
    assert await retain(group) == 1
    assert await left(group) == ["remembered again", "pinned", "new"]
    await agree(group, group.id)


async def test_by_age_a_step_looks_at_a_bounded_number_and_goes_on(group: Group) -> None:
    await group.arrive("a")
    ids = await batch(group, *({"content": f"{n}"} for n in range(60)))
    await policy(group, expire_after_s=3600)
    await group.sql(
        "UPDATE robotgroups.memories SET remembered_at = now() - interval '2 hours' WHERE id = ANY (%s)",
        [ids[0], ids[2], ids[45], ids[59]],
    )
    steps = [await group.store.enforce_retention(group.id, limit=2)]
    for _ in range(4):
        steps.append(await group.store.enforce_retention(group.id, after=steps[-1].next_after, limit=2))
    assert steps == [
        Retained(2, ids[2]), Retained(0, ids[22]), Retained(0, ids[42]), Retained(2, ids[59]), Retained(0, 0),
    ]  # fmt: skip


async def test_the_newest_stay_by_when_they_were_remembered_last(group: Group) -> None:
    await group.arrive("a")
    ids = [(await group.remember(c)).id for c in ("a", "b", "c", "d", "e")]
    await group.remember("a")
    await policy(group, keep_memories=6)
    assert await retain(group) == 0
    await policy(group, keep_memories=3)
    assert await retain(group) == 2
    assert await left(group) == ["a", "d", "e"]
    # all of them were remembered again since the last of them was first
    for content in ("d", "a", "e"):
        await group.remember(content)
    await policy(group, keep_memories=1)
    assert await retain(group, limit=1) == 2
    assert await left(group) == ["e"]
    # what is pinned stays, and no other goes in its place
    await group.sql("SELECT robotgroups.pin(%s, 'a', 1, %s, true)", group.id, [ids[4]])
    await group.remember("f")
    assert await retain(group) == 0
    await group.remember("g")
    assert await retain(group) == 1
    assert await left(group) == ["e", "g"]
    await agree(group, group.id)


async def test_many_that_were_remembered_again_do_not_hide_the_oldest(group: Group) -> None:
    await group.arrive("a")
    await batch(group, *({"content": f"{n}"} for n in range(40)))
    await batch(group, *({"content": f"{n}"} for n in range(30)))
    await policy(group, keep_memories=35)
    assert await retain(group, limit=2) == 5
    assert await left(group) == [f"{n}" for n in [*range(30), *range(35, 40)]]


async def test_in_a_shared_space_each_groups_policy_is_for_what_it_brought_in(group: Group) -> None:
    await group.arrive("a")
    other = await group.store.ensure_group(GroupKey("local", "default", "other"), GroupSettings(max_tokens=100))
    await group.sql(
        "UPDATE robotgroups.spaces s SET name = 'hive' FROM robotgroups.groups g WHERE g.space_id = s.id AND g.id = %s",
        group.id,
    )
    await group.sql(
        "UPDATE robotgroups.groups SET space_id = (SELECT space_id FROM robotgroups.groups WHERE id = %s)", group.id
    )
    await group.store.reconcile_members(other, ["a"], [])
    await batch(group, *({"content": f"ours {n}"} for n in range(3)))
    await batch(group, *({"content": f"theirs {n}"} for n in range(3)), to=other)
    await policy(group, keep_memories=1)
    assert await retain(group, other) == 0
    assert await retain(group) == 2
    assert await left(group) == ["ours 2", "theirs 0", "theirs 1", "theirs 2"]
    await agree(group, other)


async def test_what_is_remembered_again_while_retention_runs_stays(group: Group, admin_dsn: str) -> None:
    await group.arrive("a")
    await batch(group, {"content": "old"}, {"content": "older"})
    await group.sql("UPDATE robotgroups.memories SET remembered_at = now() - interval '2 hours'")
    await policy(group, expire_after_s=3600)
    async with await psycopg.AsyncConnection.connect(group.dsn) as writer:
        # it holds the group's row, as a remember does, while retention has found what to remove
        await writer.execute("SELECT robotgroups.remember(%s, 'a', 1, 'old', 1, NULL, '{}', '{}', NULL)", (group.id,))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(retain, group)
            await _until_waiting(admin_dsn)
            await writer.commit()
    assert await left(group) == ["old"]


async def _until_waiting(admin_dsn: str) -> None:
    with anyio.fail_after(10):
        async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
            while not await (
                await admin.execute(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            ).fetchall():
                await anyio.sleep(0.01)
