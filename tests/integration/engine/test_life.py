"""What a robot in its process does when its connections, its place or Postgres itself are taken away."""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import psycopg
import pytest
from postgres_server import PostgresServer
from robot_process import until

from robotgroups import migrations
from robotgroups.errors import (
    HostedElsewhereError,
    MemoryUnavailableError,
    NotActiveError,
    ReplacedError,
    UnknownRobotError,
)
from robotgroups.models import GroupKey, GroupSettings, Outcome, Role
from robotgroups.presence import application_name
from robotgroups.robot import HostedRobot, OnReplaced
from robotgroups.store import Store

LIMIT_S = 20


async def until_serving(robot: HostedRobot, *, ok: bool) -> str:
    """Waits until the robot serves, or does not; the reason."""

    async def so() -> bool:
        return robot.serving(time.monotonic()).ok is ok

    await until(so, f"{robot.name} serving: {ok}", LIMIT_S)
    return robot.serving(time.monotonic()).reason


async def test_presence_begins_with_start_and_ends_with_stop_and_the_role_stays(group: Any) -> None:
    robot = HostedRobot(group.store, group.id, "a", endpoint="here")
    await robot.start()
    seen = await group.robot("a")
    assert (seen.live, seen.endpoint, seen.incarnation) == (True, "here", robot.incarnation)
    assert (robot.role, robot.tenure) == (Role.ACTIVE, seen.tenure)
    await robot.stop()
    await robot.stop()
    seen = await group.robot("a")
    assert (seen.live, seen.role) == (False, Role.ACTIVE)


async def test_a_robot_that_lives_elsewhere_is_not_hosted_and_told_where(group: Any) -> None:
    await group.host("a", endpoint="http://there:8080")
    with pytest.raises(HostedElsewhereError, match="http://there:8080") as refused:
        await group.host("a")
    assert refused.value.endpoint == "http://there:8080"
    assert (await group.robot("a")).live


async def test_a_stranger_is_not_hosted(group: Any) -> None:
    with pytest.raises(UnknownRobotError, match="has no robot x"):
        await group.host("x")


async def test_a_cut_connection_is_no_failover(group: Any) -> None:
    robot = await group.host("a")
    await group.host("b")
    before = await group.store.status(group.id)
    heartbeat = (await group.robot("a")).heartbeat
    assert await group.cut(robot) > 0

    async def back() -> bool:
        now = await group.robot("a")
        return bool(now.live and now.heartbeat > heartbeat)

    await until(back, "a is back", LIMIT_S)
    after = await group.store.status(group.id)
    assert (after.epoch, after.active, after.failovers) == (before.epoch, ("a",), 0)
    assert (await group.robot("a")).incarnation == robot.incarnation
    await robot.remember("still the same tenure")


async def test_r2_a_robot_that_was_replaced_is_refused_and_told_who_is_active(group: Any) -> None:
    old, new = await group.host("a"), await group.host("b")
    done = await group.store.failover(group.id, "a", detected_by="test")
    with pytest.raises(NotActiveError) as refused:  # by the fence, whatever its own cache still says
        await group.store.remember(group.id, robot="a", tenure=1, content="too late", tokens=1)
    assert refused.value.active == ("b",)
    with anyio.fail_after(LIMIT_S):
        await new.wait_revision(done.revision)
    assert (new.role, new.tenure) == (Role.ACTIVE, done.epoch)
    remembered = await new.remember("in time")
    assert remembered.epoch - done.epoch in {0, 1}  # the replaced robot may have rejoined by now

    async def rejoined() -> bool:
        return old.role is Role.PASSIVE and (await group.robot("a")).live

    await until(rejoined, "the replaced robot is passive", LIMIT_S)
    with pytest.raises(NotActiveError, match="a is passive; active now: b") as refused:
        await old.remember("not mine")
    assert refused.value.active == ("b",)
    assert [m.content for m in (await group.store.snapshot(group.id)).working_memory] == ["in time"]


async def test_m6_the_promoted_robot_has_everything_that_was_acknowledged(group: Any) -> None:
    old, new = await group.host("a"), await group.host("b")
    ids = {(await old.remember(f"memory {i}")).id for i in range(30)}
    done = await group.store.failover(group.id, detected_by="test")
    with anyio.fail_after(LIMIT_S):
        await new.wait_revision(done.revision)
    assert {m.id for m in new.cache.memories.values()} == ids
    await group.agrees(new)


async def test_a_robot_that_shall_stay_out_stays_out(group: Any) -> None:
    robot = await group.host("a", on_replaced=OnReplaced.STOP)
    await group.host("b")
    await group.store.failover(group.id, "a", detected_by="test")

    async def ended() -> bool:
        return robot.ended is not None

    await until(ended, "a has ended", LIMIT_S)
    assert isinstance(robot.ended, ReplacedError)
    assert "a was replaced by failover and stays out" in robot.serving(time.monotonic()).reason
    assert (await group.robot("a")).role is Role.FAILED


async def test_who_shall_stay_out_cannot_slip_in_between_the_end_of_its_sessions_and_the_commit(group: Any) -> None:
    """Postgres ends the replaced robot's sessions before it commits the failover: a return in between has to wait."""
    robot = await group.host("a", on_replaced=OnReplaced.STOP)
    await group.host("b")
    async with await psycopg.AsyncConnection.connect(group.dsn) as slow, slow.transaction():
        await slow.execute("SELECT robotgroups.failover(%s, 'a', 'test')", (group.id,))

        async def tries() -> bool:
            waiting = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
            return bool(await group.sql(waiting, application_name(robot.incarnation)))

        await until(tries, "a tries to come back", LIMIT_S)
        assert robot.ended is None

    async def ended() -> bool:
        return isinstance(robot.ended, ReplacedError)

    await until(ended, "a has ended", LIMIT_S)
    assert (await group.robot("a")).role is Role.FAILED


async def test_a_newer_process_takes_the_place_and_the_older_one_lets_go(group: Any) -> None:
    older = await group.host("a")
    newer = await group.host("a", replace=True)
    reason = await until_serving(older, ok=False)
    assert reason

    async def given_up() -> bool:
        return isinstance(older.ended, HostedElsewhereError)

    await until(given_up, "the older one has given up", LIMIT_S)
    assert newer.serving(time.monotonic()).ok
    assert (await group.robot("a")).incarnation == newer.incarnation


async def test_a_dead_mans_return_promotes_the_warm_passive(group: Any) -> None:
    first = HostedRobot(group.store, group.id, "a")
    await first.start()
    standby = await group.host("b")
    await first.remember("before the death")
    await group.kill(first)
    again = await group.host("a")
    assert again.role is Role.PASSIVE

    async def promoted() -> bool:
        return standby.role is Role.ACTIVE

    await until(promoted, "b is active", LIMIT_S)
    assert (await group.store.status(group.id)).failovers == 1
    await group.agrees(again)


async def test_hand_over_is_a_switchover_and_nobody_hands_back(group: Any) -> None:
    a, b = await group.host("a"), await group.host("b")
    assert await a.hand_over("drain") == "b"
    assert a.role is Role.PASSIVE
    with anyio.fail_after(LIMIT_S):
        await b.wait_revision(a.revision)
    assert b.role is Role.ACTIVE
    assert await b.hand_over("drain too") is None
    (switchover,) = await group.store.failovers(group.id)
    assert (switchover.kind, switchover.source, switchover.target) == ("switchover", "a", "b")


async def test_declared_failed_while_it_lives_it_comes_back_passive(group: Any) -> None:
    """A process that hung for a lease: its counter was seen to stand still, it was replaced, and then it woke up."""
    a, b = await group.host("a"), await group.host("b")

    async def declared() -> bool:
        seen = await group.robot("a")
        verdict = await group.store.declare_failed(
            group.id, "a", a.incarnation, observed_heartbeat=seen.heartbeat, reason="hung", detected_by="b"
        )
        return bool(verdict.outcome is Outcome.PROMOTED)

    await until(declared, "a is declared failed", LIMIT_S)

    async def settled() -> bool:
        return b.role is Role.ACTIVE and a.role is Role.PASSIVE and a.serving(time.monotonic()).ok

    await until(settled, "b is active, a passive and serving", LIMIT_S)
    await group.agrees(a)
    await group.agrees(b)


@pytest.fixture
def own_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    server = PostgresServer(postgres.version)
    server.start()
    yield server
    server.destroy()


@pytest.fixture
async def pair(own_server: PostgresServer) -> AsyncIterator[tuple[Store, int, HostedRobot, HostedRobot]]:
    """Two robots on the server that the test may stop."""
    dsn = own_server.dsn()
    await migrations.migrate(dsn)
    async with await Store.open(dsn, pool_timeout_s=1) as store:
        group_id = await store.ensure_group(
            GroupKey("local", "default", "restart"), GroupSettings(heartbeat_ms=200, lease_ms=1500)
        )
        await store.reconcile_members(group_id, ["a"], ["b"])
        async with HostedRobot(store, group_id, "a") as a, HostedRobot(store, group_id, "b") as b:
            yield store, group_id, a, b


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_postgres_away_and_back_is_no_failover(
    own_server: PostgresServer,
    pair: tuple[Store, int, HostedRobot, HostedRobot],
    mode: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, group_id, a, b = pair
    kept = await a.remember("acknowledged before the crash")
    await a.caught_up()
    epoch = (await store.status(group_id)).epoch
    with caplog.at_level(logging.WARNING, logger="robotgroups"):
        await anyio.to_thread.run_sync(own_server.stop, mode)
        reason = await until_serving(a, ok=False)
    assert "its heartbeat was last renewed" in reason
    assert "Postgres is not available" in reason
    assert "robot a: Postgres is not available" in caplog.text
    with pytest.raises(MemoryUnavailableError):
        await a.remember("while it is away")
    assert a.context(strategy="recent").text == "acknowledged before the crash"

    await anyio.to_thread.run_sync(own_server.start)
    await until_serving(a, ok=True)
    await until_serving(b, ok=True)
    status = await store.status(group_id)
    assert (status.epoch, status.active, status.passive, status.failovers) == (epoch, ("a",), ("b",), 0)
    done = await a.remember("after the crash")
    with anyio.fail_after(LIMIT_S):
        await b.wait_revision(done.revision)
    assert {m.id for m in b.cache.memories.values()} == {kept.id, done.id}


async def test_recall_is_widened_by_relations_and_tags_relate_by_themselves(group: Any) -> None:
    a = await group.host("a")
    hit = (await a.remember("the invoice was wrong", tags=["billing:errors"])).id
    by_tag = (await a.remember("a credit note was sent", tags=["billing:errors"])).id
    by_word = (await a.remember("the caller was angry")).id
    further = (await a.remember("a present calms people")).id
    await a.relate(hit, by_word, "explains", 0.5)
    await a.relate(by_word, further, "suggests", 0.5)
    assert [m.id for m in await a.recall("invoice")] == [hit]

    async def related() -> bool:
        return len(await a.recall("invoice", widen=1)) == 3

    await until(related, "the tags are related", LIMIT_S)
    wide = await a.recall("invoice", widen=1, explain=True)
    assert [m.id for m in wide] == [hit, by_tag, by_word]
    assert (wide[2].score, wide[2].parts) == (0.5, {"related_by": ["explains"], "path": [hit, by_word]})
    assert [m.id for m in await a.recall("invoice", widen=2)] == [hit, by_tag, by_word, further]
    assert [m.id for m in await a.recall("invoice", widen=2, tags=["billing"])] == [hit, by_tag]
