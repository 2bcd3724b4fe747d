"""How a robot keeps its presence: its end is no death, its settings are the group's, it knows when it is out."""

import logging
import time
from typing import Any

import anyio
import psycopg
import pytest
from robot_process import until

from robotgroups.errors import MemoryUnavailableError, ReplacedError
from robotgroups.models import GroupSettings
from robotgroups.presence import application_name
from robotgroups.robot import HostedRobot, OnReplaced

from .conftest import KEY

LIMIT_S = 15


async def sessions(group: Any, robot: HostedRobot) -> int:
    ((count,),) = await group.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", application_name(robot.incarnation)
    )
    return int(count)


async def locked(group: Any) -> psycopg.AsyncConnection[Any]:
    """A session that holds the group's row: whatever changes the group waits until it is closed."""
    holder = await psycopg.AsyncConnection.connect(group.admin_dsn)
    await holder.execute("SELECT FROM robotgroups.groups WHERE id = %s FOR UPDATE", (group.id,))
    return holder


async def test_its_presence_stands_until_its_withdrawal_is_done(group: Any) -> None:
    """The other way round a detector would see a session end that did not take leave: a death."""
    robot = HostedRobot(group.store, group.id, "a")
    await robot.start()
    holder = await locked(group)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(robot.stop)

        async def withdrawing() -> bool:
            return bool(
                await group.sql(
                    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%withdraw%%'"
                )
            )

        await until(withdrawing, "the withdrawal waits", LIMIT_S)
        assert (await group.robot("a")).live
        assert await sessions(group, robot) == 2, "presence, and what it listens by"
        assert robot.serving(time.monotonic()).reason == "it has been stopped"
        await holder.close()
    assert await group.sql("SELECT robot FROM robotgroups.presence") == []
    await until(lambda: _no_sessions(group, robot), "its session is closed", LIMIT_S)


async def _no_sessions(group: Any, robot: HostedRobot) -> bool:
    return await sessions(group, robot) == 0


async def test_stopped_in_the_moment_in_which_it_has_started_it_leaves_nothing_open(group: Any) -> None:
    robot = HostedRobot(group.store, group.id, "a")
    await robot.start()
    await robot.stop()
    await until(lambda: _no_sessions(group, robot), "its session is closed", LIMIT_S)


async def test_a_shorter_heartbeat_is_heard_of_at_once(group: Any) -> None:
    await group.store.ensure_group(KEY, GroupSettings(max_tokens=1000, heartbeat_ms=60_000, lease_ms=180_000))
    await group.host("a")
    before = (await group.robot("a")).heartbeat
    await group.store.ensure_group(KEY, GroupSettings(max_tokens=1000, heartbeat_ms=100, lease_ms=1000))

    async def beats() -> bool:
        return bool((await group.robot("a")).heartbeat >= before + 5)

    await until(beats, "a beats in the new rhythm", LIMIT_S)


async def test_told_that_its_place_is_taken_it_stops_serving_long_before_its_lease_ends(group: Any) -> None:
    await group.store.ensure_group(KEY, GroupSettings(max_tokens=1000, heartbeat_ms=100, lease_ms=180_000))
    robot: HostedRobot = await group.host("a")
    assert robot.serving(time.monotonic()).ok
    holder = await locked(group)  # it cannot register again
    await group.sql("DELETE FROM robotgroups.presence")

    async def fenced() -> bool:
        return robot.serving(time.monotonic()).ok is False

    await until(fenced, "a has stopped serving", LIMIT_S)
    assert robot.serving(time.monotonic()).reason == "a's presence was ended"
    await holder.close()

    async def back() -> bool:
        return robot.serving(time.monotonic()).ok is True

    await until(back, "a is back", LIMIT_S)
    assert (await group.robot("a")).live


async def test_behind_a_postgres_that_was_set_back_it_starts_from_a_snapshot(group: Any) -> None:
    """As after a restore from a backup: what was applied beyond it is not the group's any more."""
    robot = await group.host("a")
    kept = await robot.remember("in the backup")
    lost = await robot.remember("after the backup")
    await robot.wait_revision(lost.revision)
    await group.sql(
        "WITH changes AS (DELETE FROM robotgroups.changes WHERE revision > %s), "
        "memories AS (DELETE FROM robotgroups.memories WHERE id = %s RETURNING tokens) "
        "UPDATE robotgroups.groups SET revision = %s, working_memory_nodes = 1, "
        "working_memory_tokens = working_memory_tokens - (SELECT tokens FROM memories)",
        kept.revision,
        lost.id,
        kept.revision,
    )

    async def set_back() -> bool:
        return bool(robot.revision == kept.revision)

    await until(set_back, "the cache is where Postgres is", LIMIT_S)
    await group.agrees(robot)
    again = await robot.remember("after the restore")
    await robot.wait_revision(again.revision)
    await group.agrees(robot)
    assert [m.content for m in robot.cache.memories.values()] == ["in the backup", "after the restore"]


async def test_who_waits_for_a_robot_that_stops_is_told(group: Any) -> None:
    robot = HostedRobot(group.store, group.id, "a")
    await robot.start()
    told: list[str] = []

    async def read() -> None:
        with pytest.raises(ReplacedError) as ended:
            async for _ in robot.events(robot.revision):
                pass
        told.append(str(ended.value))

    async def wait() -> None:
        with pytest.raises(ReplacedError) as ended:
            await robot.wait_revision(10_000)
        told.append(str(ended.value))

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await robot.stop()
        await robot.wait_reported(10_000)
    assert told == ["robot a has stopped"] * 2


async def test_what_was_acknowledged_and_cannot_be_read_is_said_so(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = await group.host("a")
    monkeypatch.setattr("robotgroups.replica.READ_YOUR_WRITES_S", 0.1)
    robot._replica.acknowledge(10_000)
    with pytest.raises(MemoryUnavailableError, match=r"at revision \d+ and could not be brought to 10000"):
        await robot.working_memory()


async def test_a_robot_that_was_replaced_on_request_ends_without_alarm(
    group: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="robotgroups"):
        robot = await group.host("a", on_replaced=OnReplaced.STOP)
        await group.host("b", on_replaced=OnReplaced.STOP)
        await group.store.failover(group.id, "a", detected_by="test")

        async def ended() -> bool:
            return robot.ended is not None

        await until(ended, "a has ended", LIMIT_S)
    ours = [r for r in caplog.records if r.name.startswith("robotgroups")]
    assert "robot a ended: a was replaced by failover and stays out until it is added again" in [
        r.getMessage() for r in ours
    ]
    assert {r.levelname for r in ours} == {"INFO"}
    assert [r for r in ours if r.exc_info] == []
