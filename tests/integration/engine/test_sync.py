"""M3, M5 and M6 of a robot in its process: warm from the start, and no accident of its connections loses a change."""

import time
from typing import Any

import anyio
import pytest
from robot_process import until

from robotgroups.models import Change, ChangeKind

LIMIT_S = 15


async def test_a_late_joiner_is_warm_when_it_has_started(group: Any) -> None:
    await group.host("a")
    for i in range(20):
        await group.write(f"memory {i}")
    late = await group.host("b")
    assert late.warm
    assert late.serving(time.monotonic()).ok
    await group.agrees(late)
    assert (await group.robot("b")).warm
    assert (await group.robot("b")).applied_revision == late.revision


async def test_every_kind_of_change_reaches_every_cache(group: Any) -> None:
    a, b = await group.host("a"), await group.host("b")
    kept = (await a.remember("to be forgotten and restored", tags=["x"], metadata={"n": 1})).id
    await a.remember("x" * 4000)
    for i in range(40):
        await a.remember(f"{i} " + "a few more words than fit into the budget of the group, " * 4)
    await a.forget(kept)
    await a.restore(kept)
    await a.remember("to be forgotten and restored", tags=["y"])
    await a.transfer_working_memory("a", "b")
    await group.agrees(a)
    await group.agrees(b)
    assert b.stats.evictions_synced > 0
    left = len(b.cache.memories)
    assert await a.clear_working_memory() == left
    await group.agrees(b)
    assert dict(b.cache.memories) == {}
    kinds = {c.kind for c in await group.store.changes(group.id, 0)}
    assert kinds == set(ChangeKind)


async def test_m5_without_any_notification_a_heartbeat_catches_up(group: Any) -> None:
    robot = await group.host("b")
    await group.sql(
        "CREATE OR REPLACE FUNCTION robotgroups.announce(p_group bigint, p_revision bigint) RETURNS void "
        "LANGUAGE sql AS ''"
    )
    heard = robot.stats.notifications_received
    for i in range(10):
        await group.write(f"unannounced {i}")
    await group.agrees(robot)
    assert len(robot.cache.memories) == 10
    assert robot.stats.notifications_received == heard


async def test_m5_connections_cut_again_and_again_lose_nothing(group: Any) -> None:
    robot = await group.host("b")
    written, cuts = 0, 0

    async def write() -> None:
        nonlocal written
        while cuts < 6 or not robot.registered:
            await group.write(f"memory {written}")
            written += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        while cuts < 6:
            await until(lambda: _registered(robot), "b is back", LIMIT_S)
            await group.cut(robot)
            cuts += 1
    await group.agrees(robot)
    assert [m.content for m in robot.cache.memories.values()] == [f"memory {i}" for i in range(written)][-1000:]


async def _registered(robot: Any) -> bool:
    return bool(robot.registered)


async def test_s1_a_forged_notification_misleads_nobody(group: Any) -> None:
    robot = await group.host("b")
    for payload in ("999999", "-1", "garbage", "", "9" * 5000, "٣"):
        await group.sql("SELECT pg_notify(%s, %s)", f"rg_{group.id}", payload)
    revision = await group.write("the truth")
    await robot.wait_revision(revision)
    await group.agrees(robot)

    async def caught_up() -> bool:
        return bool(robot.lag == 0)

    await until(caught_up, "the robot knows that it lags behind nothing", LIMIT_S)


async def test_postgres_learns_soon_what_a_cache_has_applied(group: Any) -> None:
    a, b = await group.host("a"), await group.host("b")
    revision = 0
    for i in range(50):
        revision = (await a.remember(f"memory {i}")).revision
    with anyio.fail_after(LIMIT_S):
        await a.wait_reported(revision)
        await b.wait_reported(revision)
    status = await group.store.status(group.id)
    assert status.in_sync
    assert {r.name: r.applied_revision for r in status.robots if r.live} == {"a": revision, "b": revision}


async def test_the_feed_is_without_gaps_for_every_reader_at_its_own_pace(group: Any) -> None:
    robot = await group.host("a")
    first = robot.revision
    fast: list[Change] = []
    slow: list[Change] = []
    go = anyio.Event()

    async def read(into: list[Change], wait: bool) -> None:
        async for change in robot.events(first):
            if wait:
                await go.wait()
            into.append(change)
            if len(into) == 30:
                return

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, fast, False)
            tasks.start_soon(read, slow, True)
            for i in range(30):
                await robot.remember(f"memory {i}")

            async def fast_has_all() -> bool:
                return len(fast) == 30

            await until(fast_has_all, "the fast reader has everything", LIMIT_S)
            assert slow == []
            go.set()
    assert [c.revision for c in fast] == list(range(first + 1, first + 31))
    assert slow == fast


async def test_a_reader_that_was_away_goes_on_where_it_was(group: Any) -> None:
    robot = await group.host("a")
    for i in range(5):
        await robot.wait_revision((await robot.remember(f"memory {i}")).revision)
    seen = [c async for c in _take(robot, 0, 3)]
    rest = [c async for c in _take(robot, seen[-1].revision, robot.revision - 3)]
    assert [c.revision for c in seen + rest] == list(range(1, robot.revision + 1))


async def _take(robot: Any, after: int, count: int) -> Any:
    feed = robot.events(after)
    for _ in range(count):
        yield await anext(feed)
    await feed.aclose()


async def test_what_was_acknowledged_here_is_in_the_working_memory(group: Any) -> None:
    robot = await group.host("a")
    for i in range(20):
        done = await robot.remember(f"memory {i}")
        assert done.id in {m.id for m in await robot.working_memory()}


@pytest.mark.parametrize("strategy", ["recent", "frequent", "balanced"])
async def test_context_comes_from_the_cache(group: Any, strategy: str) -> None:
    robot = await group.host("a")
    await robot.remember("the first memory")
    await robot.remember("the second memory")
    await robot.caught_up()
    await group.stack.aclose()  # no presence, no connection: the cache alone
    made = robot.context(strategy=strategy)
    assert sorted(made.text.split("\n\n")) == ["the first memory", "the second memory"]
    assert made.revision == robot.revision
    for word in ("first", "second"):
        assert robot.context(strategy=strategy, max_tokens=3, query=word).text == f"the {word} memory"
