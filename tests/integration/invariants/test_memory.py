"""M1 durable, M2 once, M3 ordered, M4 budget, M5 gap-free sync, S1 isolation: attacked at the SQL functions."""

import contextlib
import math
import os
import signal
from datetime import datetime, timedelta

import anyio
import psycopg
import pytest
from postgres_server import OWNER, PostgresServer

from robotgroups import migrations
from robotgroups.errors import (
    ArgumentError,
    IdempotencyConflictError,
    MemoryUnavailableError,
    NotActiveError,
    NotPermittedError,
    UnknownGroupError,
    UnknownMemoryError,
    UnknownRobotError,
)
from robotgroups.models import ChangeKind, GroupKey, GroupSettings, Outcome, Remembered
from robotgroups.presence import channel
from robotgroups.recall import Filters
from robotgroups.store import Store, robot_dsn

from .conftest import KEY, Claim, Group

pytestmark = pytest.mark.anyio


# -- M1 ------------------------------------------------------------------------------------------------------------


async def test_m1_whatever_the_login_has_set_the_commit_is_synchronous(group: Group) -> None:
    await group.arrive("a")
    async with await psycopg.AsyncConnection.connect(group.dsn, options="-c synchronous_commit=off") as connection:
        await connection.execute("SELECT robotgroups.remember(%s, 'a', 1, 'x', 1, NULL, '{}', '{}', NULL)", (group.id,))
        row = await (await connection.execute("SHOW synchronous_commit")).fetchone()
    assert row == ("on",)


async def test_m1_what_was_acknowledged_survives_a_crash_of_postgres_and_nobody_is_failed_over() -> None:
    server = PostgresServer(18)
    server.start()
    try:
        server.create_owner()
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE crash OWNER {OWNER}")
        dsn = server.dsn("crash", OWNER)
        await migrations.migrate(dsn)
        async with await Store.open(dsn) as store:
            group_id = await store.ensure_group(KEY, GroupSettings(lease_ms=60_000))
            await store.reconcile_members(group_id, ["a"], ["b"])
            group = Group(dsn, store, group_id)
            a, b = await group.arrive("a"), await group.arrive("b")
            acknowledged = [(await group.remember(f"memory {n}")).id for n in range(20)]
            server.stop("immediate")
            server.start()
            await a.session.close()
            await b.session.close()
        async with await Store.open(dsn) as store:
            rows = [m.id for m in (await store.snapshot(group_id)).working_memory]
            assert rows == acknowledged
            verdict = await store.declare_failed(group_id, "a", a.incarnation, reason="gone", detected_by="test")
            assert (verdict.outcome, await store.failovers(group_id)) == (Outcome.GRACE, [])
            assert (await store.status(group_id)).active == ("a",)
    finally:
        server.destroy()


async def test_the_crash_of_one_backend_is_no_proof_of_anybodys_death() -> None:
    """Postgres then ends all sessions and empties UNLOGGED presence, though the postmaster lives on."""
    server = PostgresServer(18)
    server.start()
    try:
        await migrations.migrate(server.dsn())
        async with await Store.open(server.dsn()) as store:
            group_id = await store.ensure_group(KEY, GroupSettings(lease_ms=60_000))
            await store.reconcile_members(group_id, ["a"], ["b"])
            group = Group(server.dsn(), store, group_id)
            a, b = await group.arrive("a"), await group.arrive("b")
            await group.sql("UPDATE robotgroups.robots SET joined_at = now() - interval '1 day'")
            ((pid,),) = await group.sql("SELECT backend_pid FROM robotgroups.presence WHERE robot = 'b'")
            os.kill(pid, signal.SIGKILL)
            with anyio.fail_after(10), contextlib.suppress(MemoryUnavailableError):
                while True:  # until the postmaster has ended everybody's session
                    await a.session.beat("a", applied=1, warm=True)
            await a.session.close()
            await b.session.close()
        async with await _back(server.dsn()) as store:
            await group.arrive("b")
            verdict = await store.declare_failed(group_id, "a", a.incarnation, reason="gone", detected_by="test")
            assert (verdict.outcome, (await store.status(group_id)).active) == (Outcome.GRACE, ("a",))
            await group.robots["b"].session.close()
    finally:
        server.destroy()


# -- M2 ------------------------------------------------------------------------------------------------------------


async def test_m2_the_same_content_is_one_memory_however_many_say_it_at_once(group: Group) -> None:
    await group.arrive("a")
    done = []

    async def say() -> None:
        done.append(await group.remember("the customer prefers e-mail", 5))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(say)
    assert ({d.id for d in done}, sum(d.created for d in done)) == ({1}, 1)
    (memory,) = (await group.store.snapshot(group.id)).working_memory
    assert (memory.remember_count, memory.access_count) == (12, 11)
    assert sorted(d.revision for d in done) == list(range(2, 14))


async def test_m2_a_retry_with_the_same_key_gets_the_same_answer(group: Group) -> None:
    await group.arrive("a")
    first = await group.remember("once", key="k1")
    await group.remember("between")
    assert await group.remember("once", key="k1") == first
    with pytest.raises(IdempotencyConflictError, match="k1"):
        await group.remember("other", key="k1")
    assert (await group.store.memory(group.id, first.id)).remember_count == 1


async def test_m2_a_retry_is_answered_though_its_originator_has_left_meanwhile(group: Group) -> None:
    await group.arrive("a")

    async def say(key: str) -> Remembered:
        return await group.store.remember(
            group.id, robot="a", tenure=1, content="once", tokens=1, originator="b", key=key
        )  # fmt: skip

    first = await say("k1")
    await group.store.leave(group.id, "b")
    assert await say("k1") == first
    with pytest.raises(UnknownRobotError, match="originator b is no member"):
        await say("k2")


async def test_m2_tags_and_metadata_of_the_same_content_come_together(group: Group) -> None:
    await group.arrive("a")
    claim: Claim = {"robot": "a", "tenure": 1}
    await group.store.remember(group.id, **claim, content="same", tokens=1, tags=["b", "a"], metadata={"x": 1})
    await group.store.remember(group.id, **claim, content="same", tokens=1, tags=["c", "a"], metadata={"y": 2})
    memory = await group.store.memory(group.id, 1)
    assert (memory.tags, memory.metadata) == (("a", "b", "c"), {"x": 1, "y": 2})


# -- M3 ------------------------------------------------------------------------------------------------------------


async def test_m3_revisions_are_gap_free_and_in_commit_order_under_concurrent_writers(group: Group) -> None:
    await group.arrive("a")
    seen: list[int] = []

    async def write(n: int) -> None:
        for k in range(10):
            await group.remember(f"{n}/{k}", 9)

    async def watch() -> None:
        """A reader may never see revision r + 1 before r."""
        while len(seen) < 1 + 80 + (80 - 11):
            seen.extend(c.revision for c in await group.store.changes(group.id, seen[-1] if seen else 0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for n in range(8):
            tasks.start_soon(write, n)
    assert seen == list(range(1, 151))
    assert (await group.store.status(group.id)).revision == 150


async def test_m3_forget_restore_clear_transfer_and_their_events(group: Group) -> None:
    await group.arrive("a")
    kept, lost = await group.remember("kept"), await group.remember("lost")
    tenure: Claim = {"robot": "a", "tenure": 1}
    assert (await group.store.forget(group.id, **tenure, memory_id=lost.id)).revision == 4
    assert (await group.store.forget(group.id, **tenure, memory_id=lost.id)).revision == 4
    assert await group.store.recall(group.id, "lost", limit=5) == []
    assert (await group.store.restore(group.id, **tenure, memory_id=lost.id)).revision == 5
    assert [m.id for m in await group.store.recall(group.id, "lost", limit=5)] == [lost.id]
    assert await group.store.transfer_working_memory(group.id, **tenure, source="a", target="b") == 2
    assert {m.keeper for m in (await group.store.snapshot(group.id)).working_memory} == {"b"}
    assert await group.store.clear_working_memory(group.id, **tenure) == 2
    assert await group.store.clear_working_memory(group.id, **tenure) == 0
    with pytest.raises(UnknownMemoryError):
        await group.store.forget(group.id, **tenure, memory_id=99)
    kinds = [c.kind.value for c in await group.store.changes(group.id, 1)]
    assert kinds == ["added", "added", "forgotten", "restored", "updated", "updated", "cleared"]
    assert (await group.store.memory(group.id, kept.id)).in_working_memory is False


# -- M4 ------------------------------------------------------------------------------------------------------------


async def test_m4_the_working_set_is_within_budget_at_every_revision_and_the_least_valuable_leaves(
    group: Group,
) -> None:
    await group.arrive("a")
    for name, tokens in (("first", 40), ("second", 40), ("first", 40), ("third", 40)):
        await group.remember(name, tokens)
    assert [(m.content) for m in (await group.store.snapshot(group.id)).working_memory] == ["first", "third"]
    budget: dict[int, int] = {}
    for change in await group.store.changes(group.id, 0):
        if change.kind in (ChangeKind.ADDED, ChangeKind.UPDATED):
            budget[change.payload["id"]] = change.payload["tokens"]
        elif change.kind is ChangeKind.EVICTED:
            assert change.memory_id == 2
            del budget[2]
        assert sum(budget.values()) <= 100


async def test_m4_eviction_follows_accesses_and_recency(group: Group) -> None:
    """The formula by hand: ln(1 + accesses) + 1 / (1 + hours since the last access)."""
    await group.arrive("a")
    places = {
        "old, often used": (5, 30.0),
        "new, never used": (0, 0.0),
        "old, never used": (0, 10.0),
        "used once": (1, 3.0),
    }
    for name, (accesses, hours) in places.items():
        done = await group.remember(name, 25)
        await group.sql(
            "UPDATE robotgroups.working_memory SET access_count = %s,"
            " last_accessed_at = now() - make_interval(mins => %s) WHERE memory_id = %s",
            accesses,
            int(hours * 60),
            done.id,
        )
    by_value = sorted(places, key=lambda n: math.log(1 + places[n][0]) + 1 / (1 + places[n][1]))
    assert by_value == ["old, never used", "used once", "new, never used", "old, often used"]
    for left in range(1, 4):
        await group.store.ensure_group(KEY, GroupSettings(max_tokens=100 - 25 * left))
        kept = {m.content for m in (await group.store.snapshot(group.id)).working_memory}
        assert kept == set(by_value[left:])


async def test_m4_a_clock_that_was_set_back_hinders_no_eviction(group: Group) -> None:
    """An access an hour ahead of the clock, and the formula divided by zero."""
    await group.arrive("a")
    await group.remember("ahead of the clock", 50)
    await group.remember("used", 50)
    await group.remember("used", 50)
    async with await psycopg.AsyncConnection.connect(group.dsn) as connection:
        # now() is the transaction's: exactly an hour
        await connection.execute(
            "UPDATE robotgroups.working_memory SET last_accessed_at = now() + interval '1 hour' WHERE memory_id = 1"
        )
        await connection.execute(
            "SELECT robotgroups.remember(%s, 'a', 1, 'new', 10, NULL, '{}', '{}', NULL)", (group.id,)
        )
    assert [m.content for m in (await group.store.snapshot(group.id)).working_memory] == ["used", "new"]


async def test_m4_what_alone_is_larger_than_the_budget_is_kept_long_term_only(group: Group) -> None:
    await group.arrive("a")
    await group.remember("small", 60)
    large = await group.remember("large", 101)
    assert large.in_working_memory is False
    assert (await group.store.memory(group.id, large.id)).in_working_memory is False
    assert [m.content for m in (await group.store.snapshot(group.id)).working_memory] == ["small"]
    assert [m.id for m in await group.store.recall(group.id, "large", limit=5)] == [large.id]


async def test_m4_no_statement_leaves_a_set_above_its_budget(group: Group) -> None:
    await group.arrive("a")
    await group.remember("x", 60)
    with pytest.raises(psycopg.errors.CheckViolation, match="working_memory_within_budget"):
        await group.sql("UPDATE robotgroups.groups SET max_tokens = 59")


# -- M5 ------------------------------------------------------------------------------------------------------------


async def test_m5_announcements_carry_revisions_and_nothing_else(group: Group) -> None:
    await group.arrive("a")
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as listener:
        await listener.execute(f"LISTEN {channel(group.id)}".encode())
        await group.remember("secret content")
        heard = [note async for note in listener.notifies(timeout=5, stop_after=1)]
        assert [note.payload for note in heard] == ["2"]


# -- recall --------------------------------------------------------------------------------------------------------


async def test_recall_ranks_filters_and_breaks_ties_by_age(group: Group) -> None:
    await group.arrive("a")
    said: Claim = {"robot": "a", "tenure": 1}
    for content, tags, metadata in (
        ("Customer account prefers e-mail", ["db:postgresql"], {"vip": True}),
        ("Customer called; the customer was angry", ["db"], {}),
        ("Open ticket", ["database"], {}),
        ("Customer account prefers the phone", ["db:mysql"], {}),
    ):
        await group.store.remember(group.id, **said, content=content, tokens=1, tags=tags, metadata=metadata)

    async def ids(**filters: object) -> list[int]:
        return [m.id for m in await group.store.recall(group.id, "customers", limit=10, filters=Filters(**filters))]  # type: ignore[arg-type]

    assert await ids() == [2, 1, 4]
    assert await ids(tags=("db",)) == [2, 1, 4]
    assert await ids(tags=("db:postgresql",)) == [1]
    assert await ids(metadata={"vip": True}) == [1]
    middle: datetime = (await group.store.memory(group.id, 2)).created_at
    assert await ids(until=middle) == [1]
    assert await ids(since=middle + timedelta(microseconds=1)) == [4]
    assert [m.id for m in await group.store.recall(group.id, '"customer account" -phone', limit=10)] == [1]


async def test_blank_content_and_an_unknown_language_are_refused(group: Group) -> None:
    await group.arrive("a")
    with pytest.raises(ArgumentError, match="content must not be blank"):
        await group.remember(" \n\t")
    with pytest.raises(ArgumentError, match="klingon"):
        await group.store.ensure_group(KEY, GroupSettings(language="klingon"))
    with pytest.raises(ArgumentError, match="max_tokens must be at least 1, not 0"):
        await group.store.ensure_group(KEY, GroupSettings(max_tokens=0))


async def test_what_postgres_cannot_hold_is_an_argument_and_no_outage(group: Group) -> None:
    await group.arrive("a")
    with pytest.raises(
        ArgumentError, match="content is too large: it has 2088889 bytes of UTF-8, a memory may have 262144: split it"
    ):
        await group.remember(" ".join(f"word{n}" for n in range(200_000)))
    with pytest.raises(ArgumentError, match="NUL"):
        await group.remember("a\0b")
    with pytest.raises(ArgumentError, match="lone surrogate at character 1"):
        await group.remember("a\ud800b")
    with pytest.raises(ArgumentError, match="bigint out of range"):
        await group.store.forget(group.id, robot="a", tenure=1, memory_id=2**70)
    with pytest.raises(ArgumentError, match="bigint out of range"):
        await group.store.changes(group.id, 2**70)
    assert (await group.store.status(group.id)).revision == 1


async def test_another_language_is_searched_by_its_own_words(group: Group) -> None:
    await group.arrive("a")
    await group.remember("Die Häuser sind groß")
    assert await group.store.recall(group.id, "Haus", limit=5) == []
    await group.store.lex(group.id)
    await group.remember("Die Häuser sind klein")
    await group.store.ensure_group(KEY, GroupSettings(language="german"))
    assert [m.id for m in await group.store.recall(group.id, "Haus", limit=5)] == [1, 2]
    await group.store.lex(group.id)
    assert [m.id for m in await group.store.recall(group.id, "Haus", limit=5)] == [1, 2]


async def test_what_has_lexemes_above_the_watermark_is_found_once(group: Group) -> None:
    """The remedy for lexemes that are missing puts the watermark back."""
    await group.arrive("a")
    for number in range(4):
        await group.remember(f"the invoice of customer {number}")
    await group.store.lex(group.id)
    await group.sql("UPDATE robotgroups.spaces SET lexed_to = 2")
    for filters in (Filters(), Filters(originators=("a",))):
        found = await group.store.recall(group.id, "invoice", limit=3, filters=filters)
        assert [m.id for m in found] == [1, 2, 3]


# -- S1 ------------------------------------------------------------------------------------------------------------


async def test_s1_a_groups_login_reaches_no_other_group_and_no_table(group: Group) -> None:
    await group.arrive("a")
    await group.remember("ours")
    theirs = await group.store.ensure_group(GroupKey("local", "other", "invariants"), GroupSettings())
    await group.store.reconcile_members(theirs, ["x"], [])
    login = await group.store.ensure_login(theirs, "pass word'")
    async with await Store.open(robot_dsn(group.dsn, login, "pass word'")) as intruder:
        assert (await intruder.status(theirs)).active == ("x",)
        assert await intruder.find_group(GroupKey("local", "other", "invariants")) == theirs
        for attempt in (
            lambda: intruder.status(group.id),
            lambda: intruder.snapshot(group.id),
            lambda: intruder.changes(group.id, 0),
            lambda: intruder.recall(group.id, "ours", limit=5),
            lambda: intruder.memory(group.id, 1),
            lambda: intruder.find_group(KEY),
            lambda: intruder.failover(group.id, detected_by="intruder"),
            lambda: intruder.remember(group.id, robot="a", tenure=1, content="x", tokens=1),
            lambda: intruder.reconcile_members(theirs, ["x", "y"], []),
            lambda: intruder.ensure_group(KEY, GroupSettings()),
            lambda: intruder.adopt_group(KEY, "other"),
            lambda: intruder.list_groups("local"),
            lambda: intruder.ensure_login(group.id, "mine now"),
        ):
            with pytest.raises(NotPermittedError):
                await attempt()
    raw = robot_dsn(group.dsn, login, "pass word'")
    async with await psycopg.AsyncConnection.connect(raw, autocommit=True) as connection:
        for statement in (
            "SELECT * FROM robotgroups.memories",
            "UPDATE robotgroups.robots SET role = 'active'",
            "SELECT robotgroups.apply_roles(1, '{}', 'mine')",
            f"SET ROLE {OWNER}",
            "CREATE TABLE robotgroups.x ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())


async def test_s1_a_login_that_was_rotated_or_dropped_is_out(group: Group) -> None:
    login = await group.store.ensure_login(group.id, "old")
    assert await group.store.ensure_login(group.id, "new") == login
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await _connect_by_password(group, login, "old")
    await _connect_by_password(group, login, "new")
    await group.store.drop_login(group.id)
    with pytest.raises(psycopg.OperationalError):
        await _connect_by_password(group, login, "new")
    assert await group.store.delete_group(group.id) is True
    assert await group.store.delete_group(group.id) is False
    with pytest.raises(UnknownGroupError):
        await group.store.status(group.id)


async def test_s1_an_adopted_group_keeps_its_memory_under_its_new_namespace(group: Group) -> None:
    await group.arrive("a")
    await group.remember("long ago")
    assert await group.store.adopt_group(KEY, "new-namespace") == group.id
    assert await group.store.find_group(GroupKey("local", "new-namespace", KEY.name)) == group.id
    with pytest.raises(UnknownGroupError):
        await group.store.find_group(KEY)
    await group.store.ensure_group(KEY, GroupSettings())
    with pytest.raises(ArgumentError, match="has a group"):
        await group.store.adopt_group(KEY, "new-namespace")
    assert not isinstance(await group.store.memory(group.id, 1), NotActiveError)


async def _connect_by_password(group: Group, login: str, password: str) -> None:
    async with await psycopg.AsyncConnection.connect(robot_dsn(group.dsn, login, password)):
        pass


async def _back(dsn: str) -> Store:
    with anyio.fail_after(20):
        while True:
            try:
                return await Store.open(dsn)
            except MemoryUnavailableError:
                await anyio.sleep(0.05)
