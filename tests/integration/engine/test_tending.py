"""A group's first active robot keeps its tables bounded, with no operator; what was erased is in no robot's memory."""

import gc
import logging
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from robot_process import until

from robotgroups import tending
from robotgroups.errors import PrunedError, UnknownMemoryError
from robotgroups.models import Memory
from robotgroups.robot import HostedRobot
from robotgroups.scope import visible

SECRET = "Ilsebill"


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "EVERY_S", 0.05)
    monkeypatch.setattr(tending, "RETAIN_EVERY_S", 0.05)


async def rows(group: Any) -> int:
    ((count,),) = await group.sql("SELECT count(*) FROM robotgroups.changes")
    return int(count)


async def make_old(group: Any) -> None:
    await group.sql("UPDATE robotgroups.changes SET created_at = now() - interval '1 hour'")


@pytest.mark.usefixtures("often")
async def test_the_feed_is_pruned_whoever_is_active(group: Any) -> None:
    a, b = await group.host("a"), await group.host("b")
    for n in range(30):
        await group.sql(
            "SELECT robotgroups.remember_batch(%s, NULL, NULL, %s)",
            group.id,
            "[" + ",".join(f'{{"content": "{n}/{k}", "tokens": 1}}' for k in range(50)) + "]",
        )
    await make_old(group)
    await a.wait_reported(1500)
    await b.wait_reported(1500)

    async def pruned() -> bool:
        ((to,),) = await group.sql("SELECT pruned_to FROM robotgroups.groups")
        ((left,),) = await group.sql("SELECT count(*) FROM robotgroups.changes WHERE revision <= %s", to)
        return bool(to >= 500 and not left)

    await until(pruned, "the feed is pruned")
    with pytest.raises(PrunedError):
        await anext(a.events(1))
    await group.agrees(a)
    await group.agrees(b)

    # after a failover the next one does it
    await group.store.failover(group.id, detected_by="test")
    await until(_is_active(b), "b is active")
    before = (await group.sql("SELECT pruned_to FROM robotgroups.groups"))[0][0]
    for n in range(5):
        await group.write(f"more {n}")
    await make_old(group)

    async def went_on() -> bool:
        return bool((await group.sql("SELECT pruned_to FROM robotgroups.groups"))[0][0] > before)

    await until(went_on, "b prunes")


def _is_active(robot: HostedRobot) -> Any:
    async def active() -> bool:
        return robot.role.value == "active"

    return active


@pytest.mark.usefixtures("often")
async def test_a_cache_that_was_cut_off_comes_back_by_a_snapshot(group: Any) -> None:
    await group.host("a")
    b = await group.host("b")
    await group.write("before")
    await group.agrees(b)
    await group.sql("SELECT robotgroups.prune(%s, 0, 0, '0 s')", group.id)
    at = b.revision
    # it hears of nothing while ten thousand changes come and go
    b.cache.revision = 0
    assert await b.catch_up() == 0
    assert b.revision >= at
    await group.agrees(b)


@pytest.mark.usefixtures("often")
async def test_what_expires_is_gone_at_once_from_caches_and_contexts_and_soon_for_good(group: Any) -> None:
    a, b = await group.host("a"), await group.host("b")
    soon = datetime.now(UTC) + timedelta(hours=1)
    memory = (await a.remember(f"{SECRET} expires", expires_at=soon)).id
    kept = (await a.remember("kept")).id
    await group.agrees(b)
    for robot in (a, b):
        assert [m.id for m in await robot.working_memory()] == [memory, kept]
        assert SECRET in robot.context().text
        assert [m.id for m in visible(robot.cache.memories.values(), soon)] == [kept]
    await group.sql("UPDATE robotgroups.memories SET expires_at = now() WHERE id = %s", memory)

    async def removed() -> bool:
        return not (await group.sql("SELECT id FROM robotgroups.memories WHERE id = %s", memory))

    await until(removed, "it is removed")
    with pytest.raises(UnknownMemoryError):
        await a.get(memory)
    for robot in (a, b):
        await group.agrees(robot)
        assert robot.context().memory_ids == (kept,)


@pytest.mark.usefixtures("often")
async def test_the_policy_of_the_group_is_enforced(group: Any) -> None:
    a = await group.host("a")
    for n in range(5):
        await a.remember(f"{n}")
    await group.sql("UPDATE robotgroups.groups SET keep_memories = 2")

    async def kept() -> bool:
        return [c for (c,) in await group.sql("SELECT content FROM robotgroups.memories ORDER BY id")] == ["3", "4"]

    await until(kept, "the newest two are left")
    await group.agrees(a)
    assert [m.content for m in await a.working_memory()] == ["3", "4"]


async def test_only_the_first_active_robot_tends_and_trouble_ends_nothing(
    group: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tending, "EVERY_S", 0.02)
    caplog.set_level(logging.INFO)
    await group.store.reconcile_members(group.id, ["a", "b"], ["c"])
    a, b, c = [await group.host(name) for name in "abc"]
    assert [robot._tends() for robot in (a, b, c)] == [True, False, False]
    real, calls = group.store.prune, 0

    async def fails(group_id: int) -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            return int(await group.store._value("SELECT robotgroups.prune(99)"))
        return int(await real(group_id))

    monkeypatch.setattr(group.store, "prune", fails)

    async def over_it() -> bool:
        return calls > 5

    await until(over_it, "it goes on")
    assert caplog.text.count("tending: no group has id 99; trying again") == 1


# -- erasure in the robots' memory ---------------------------------------------------------------------------------


def kept_by(robot: object) -> list[str]:
    """Every text that has the secret and hangs on a robot: in its own objects and the plain containers they hold."""
    seen: set[int] = set()
    found, queue = [], deque([robot])
    while queue:
        thing = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, str) and SECRET in thing:
            found.append(thing)
        kind = type(thing)
        if kind.__module__.startswith("robotgroups") or kind in (dict, list, tuple, set, frozenset, deque):
            queue += gc.get_referents(thing)
    return found


async def test_nothing_of_what_was_erased_is_left_in_a_robot(group: Any) -> None:
    a, b = await group.host("a"), await group.host("b")
    told = await a.remember(f"{SECRET} wants to be pope", scope={"user": "u1"}, tags=["wish"])
    await a.remember("the fisherman", scope={"user": "u1"})
    await a.update(told.id, f"{SECRET} wants to be god")
    await group.agrees(b)
    for robot in (a, b):
        assert SECRET in robot.context(query=SECRET).text
        assert kept_by(robot)
    assert await a.erase(told.id) == 1
    await group.agrees(a)
    await group.agrees(b)
    for robot in (a, b):
        assert kept_by(robot) == []
        assert SECRET not in robot.context(query=SECRET).text
    seen = [c async for c in _feed(b, a.revision)]
    assert SECRET not in repr(seen)
    assert [c.memory_id for c in seen if c.erased] == [told.id] * 2
    # whoever was away meanwhile has nothing either
    c = await group.host("c")
    assert [m.content for m in await c.working_memory()] == ["the fisherman"]
    assert await a.erase(scope={"user": "u1"}) == 1
    await group.agrees(c)
    assert dict(c.cache.memories) == {}


async def _feed(robot: HostedRobot, to: int) -> Any:
    async for change in robot.events(0):
        yield change
        if change.revision >= to:
            return


async def test_a_cache_that_reads_the_scrubbed_feed_agrees_in_the_end(group: Any) -> None:
    """It holds the memory; behind it, an update of it was scrubbed before it was told that it is gone."""
    a, b = await group.host("a"), await group.host("b")
    told: Memory = await a.get((await a.remember(SECRET)).id)
    await group.agrees(b)
    behind = b.revision
    await a.update(told.id, f"{SECRET} again")
    await a.remember("other")
    await a.erase(told.id)
    await group.agrees(b)
    changes = await group.store.changes(group.id, behind)
    assert [(change.kind.value, change.erased) for change in changes] == [
        ("updated", True), ("added", False), ("forgotten", False),
    ]  # fmt: skip
