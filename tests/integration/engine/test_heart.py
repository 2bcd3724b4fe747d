"""Presence apart from the robot's own event loop: busy is not dead, and a doorbell proves nothing."""

import asyncio
import time

import psycopg
import pytest
from robot_process import until

from robotgroups.doorbell import DoorbellPlace
from robotgroups.errors import RobotGroupsError
from robotgroups.heart import _thread
from robotgroups.robot import HostedRobot

from .conftest import Group


async def test_an_event_loop_that_is_blocked_for_longer_than_a_lease_is_not_dead(group: Group) -> None:
    """The lease is 1.5 s; b is in the same blocked loop, but its heart watches on."""
    a, b = await group.host("a"), await group.host("b")
    before = await group.robot("a")
    time.sleep(3)  # noqa: ASYNC251  that is the point
    after = await group.robot("a")
    assert after.heartbeat >= before.heartbeat + 8, "a beat each 200 ms"
    assert (after.live, after.incarnation, a.role) == (True, before.incarnation, "active")
    assert await group.writer.failovers(group.id) == []
    assert (a.serving(time.monotonic()).ok, b.serving(time.monotonic()).ok) == (True, True)


async def test_who_is_blocked_is_not_promoted_meanwhile(group: Group) -> None:
    await group.host("a")
    b = await group.host("b")
    assert (await group.robot("b")).warm
    time.sleep(2.5)  # noqa: ASYNC251  the lease is 1.5 s
    assert not (await group.robot("b")).warm, "its heart says that it cannot serve now"

    async def warm() -> bool:
        return (await group.robot("b")).warm

    await until(warm, "it is warm again")
    assert b.role == "passive"


async def test_a_doorbell_that_breaks_by_itself_is_no_failure(group: Group) -> None:
    a, _ = await group.host("a"), await group.host("b")
    heart = a._heart

    async def watched() -> bool:
        return len(heart._doorbell._held) == 1

    for _ in range(3):
        await until(watched, "the other robot holds the doorbell")
        (held,) = heart._doorbell._held
        heart._doorbell._held.clear()
        _thread().call_soon(held.transport.abort)
    await until(watched, "it is held again")
    assert (a.role, (await group.robot("a")).live) == ("active", True)
    assert await group.writer.failovers(group.id) == []


async def test_a_port_that_is_taken_costs_the_doorbell_and_nothing_else(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    a = await group.host("a", doorbell=DoorbellPlace("127.0.0.1", port, "127.0.0.1"))
    assert f"robot a has no doorbell at 127.0.0.1 port {port}" in caplog.text
    assert a.serving(time.monotonic()).ok
    server.close()


async def test_who_leaves_cleanly_is_not_declared_failed(group: Group) -> None:
    a, b = await group.host("a"), await group.host("b")
    await b.stop()
    roles = {r.name: r.role.value for r in (await group.writer.status(group.id)).robots}
    assert roles == {"a": "active", "b": "passive", "c": "passive"}
    assert a.serving(time.monotonic()).ok


async def test_a_robot_that_leaves_the_group_while_it_is_suspected_ends_no_heart(group: Group) -> None:
    a, b = await group.host("a"), await group.host("b")

    async def watching() -> object:
        return a._heart._watcher.watched

    peer = await until(watching, "a watches b")
    await group.writer.leave(group.id, "b")
    a._heart._rang(peer, True)

    async def settled() -> bool:
        return a._heart._suspects.next_due == float("inf")

    await until(settled, "the suspicion is settled")
    assert (a.registered, a.ended) == (True, None)

    async def over() -> bool:
        return isinstance(b.ended, RobotGroupsError)

    await until(over, "b has ended: it is no member any more")


async def test_a_start_that_fails_leaves_no_presence(group: Group) -> None:
    robot = HostedRobot(group.store, group.id, "a")

    async def fails() -> int:
        raise RuntimeError("no cache today")

    robot._replica.catch_up = fails  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no cache today"):
        await robot.start()
    assert await group.sql("SELECT robot FROM robotgroups.presence") == []
    assert not robot.registered


async def test_a_database_that_stands_still_for_longer_than_a_lease_is_nobodys_death(group: Group) -> None:
    """Everybody's heartbeat waits; who cannot read the others' has seen nothing stand still. They fence themselves."""
    a, b = await group.host("a"), await group.host("b")
    async with await psycopg.AsyncConnection.connect(group.admin_dsn) as slow:
        await slow.execute("LOCK TABLE robotgroups.presence IN ACCESS EXCLUSIVE MODE")

        async def fenced() -> bool:
            now = time.monotonic()
            return min(a.heartbeat_age(now), b.heartbeat_age(now)) > 2 and not a.serving(now).ok

        await until(fenced, "both have not beaten for longer than a lease")
        assert a.serving(time.monotonic()).reason.startswith("its heartbeat was last renewed")

    async def serving() -> bool:
        now = time.monotonic()
        return a.serving(now).ok and b.serving(now).ok

    await until(serving, "they go on")
    assert (a.role, b.role) == ("active", "passive")
    assert await group.writer.failovers(group.id) == []
