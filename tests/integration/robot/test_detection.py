"""Robots find each other's deaths: real processes, no operator."""

import contextlib
import os
import re
import select
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo
from robot_process import LIMIT_S, RobotProcess, until

from robotgroups.models import Failover

from .conftest import Group, declared

PRESENCE = """
SELECT a.pid, a.client_port, split_part(p.doorbell, ':', 2)::int
FROM robotgroups.presence p JOIN pg_stat_activity a ON a.pid = p.backend_pid WHERE p.robot = 'primary'
"""


@pytest.fixture
async def three(dsn: str, tmp_path: Path) -> AsyncIterator[Group]:
    """Ring of three: a is watched by c, b by a, c by b."""
    async with declared(dsn, tmp_path, ["a"], ["b", "c"]) as group:
        await group.start("a", "b", "c")
        yield group


async def first_failover(group: Group) -> Failover:
    async def found() -> list[Failover]:
        return await group.store.failovers(group.id)

    (failover,) = await until(found, "a failover")
    assert isinstance(failover, Failover)
    return failover


async def test_a_killed_robot_is_replaced_by_the_one_that_watches_it(group: Group) -> None:
    await group.start("primary", "standby")
    kept = (await group["primary"].client.post("/v1/memories", json={"content": "acknowledged"})).json()["id"]
    await group["primary"].kill()
    failover = await first_failover(group)
    assert (failover.kind, failover.source, failover.target) == ("failover", "primary", "standby")
    assert (failover.detected_by, failover.reason) == ("standby", "its doorbell fell silent")
    assert await group.roles() == {"primary": "failed", "standby": "active"}
    written = await group["standby"].client.post("/v1/memories", json={"content": "after it"})
    assert (written.status_code, written.headers["x-robotgroups-robot"]) == (201, "standby")
    found = (await group["standby"].client.get("/v1/recall", params={"q": "acknowledged"})).json()["memories"]
    assert [memory["id"] for memory in found] == [kept]
    metrics = (await group["standby"].client.get("/metrics")).text
    for phase in ("detect", "promote", "first_write"):
        assert f'robotgroups_robot_failover_seconds_count{{phase="{phase}"}} 1.0' in metrics
    await group.start("primary")
    assert await group.roles() == {"primary": "passive", "standby": "active"}
    assert len(await group.store.failovers(group.id)) == 1, "one death, one failover (R3)"


def deathwatch_of(robot: RobotProcess) -> int:
    """The process that waits for the robot's death."""
    assert robot.process is not None
    found = []
    for thread in Path(f"/proc/{robot.process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            found += (thread / "children").read_text().split()
    (pid,) = found
    assert b"deathwatcher.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return int(pid)


def guarded(robot: RobotProcess) -> set[tuple[int, int]]:
    """Local and remote port of each TCP connection of the robot of which its deathwatch holds a copy."""
    assert robot.process is not None
    held = sockets(robot.process.pid) & sockets(deathwatch_of(robot))
    lines = [line.split() for line in Path(f"/proc/{robot.process.pid}/net/tcp").read_text().splitlines()[1:]]
    ports = {line[9]: tuple(int(line[column].partition(":")[2], 16) for column in (1, 2)) for line in lines}
    return {(ports[inode][0], ports[inode][1]) for inode in held if inode in ports}


def sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    return found


async def test_presence_and_doorbell_are_the_deathwatchs_to_end(group: Group) -> None:
    """Of the session that it has, and of the next one."""
    await group.start("primary", "standby")
    port = int(str(conninfo.conninfo_to_dict(group.store.dsn)["port"]))
    async with await psycopg.AsyncConnection.connect(group.store.dsn, autocommit=True) as connection:
        row = await (await connection.execute(PRESENCE)).fetchone()
        assert row is not None
        pid, client, doorbell = row

        async def held() -> bool:
            return {local for local, _ in guarded(group["primary"])} == {client, doorbell}

        await until(held, "its presence session and the standby's connection to its doorbell are guarded")
        assert (client, port) in guarded(group["primary"])
        await connection.execute("SELECT pg_terminate_backend(%s)", (pid,))

        async def another() -> bool:
            row = await (await connection.execute(PRESENCE)).fetchone()
            return row is not None and row[0] != pid and (row[1], port) in guarded(group["primary"])

        await until(another, "its next presence session is guarded")
        assert (client, port) not in guarded(group["primary"])


async def test_the_deathwatch_ends_with_its_robot(group: Group) -> None:
    await group.start("primary", "standby")
    watcher = os.pidfd_open(deathwatch_of(group["primary"]))
    try:
        await group["primary"].kill()
        assert select.select([watcher], [], [], LIMIT_S)[0]
    finally:
        os.close(watcher)
    assert (await first_failover(group)).target == "standby"


async def test_a_robot_whose_deathwatch_has_ended_is_replaced_all_the_same(group: Group) -> None:
    await group.start("primary", "standby")
    os.kill(deathwatch_of(group["primary"]), signal.SIGKILL)
    await group["primary"].kill()
    failover = await first_failover(group)
    assert (failover.target, failover.detected_by) == ("standby", "standby")


async def test_a_stopped_robot_is_replaced_when_its_lease_is_over(group: Group) -> None:
    await group.start("primary", "standby")
    group["primary"].signal(signal.SIGSTOP)
    failover = await first_failover(group)
    assert (failover.source, failover.target, failover.detected_by) == ("primary", "standby", "standby")
    stood_still = re.fullmatch(r"its heartbeat stood still for (\d\.\d) s", failover.reason)
    assert stood_still is not None, failover.reason
    assert float(stood_still[1]) >= 3.0, "not before its lease was over"
    group["primary"].signal(signal.SIGCONT)
    await group.until_roles(primary="passive", standby="active")
    assert len(await group.store.failovers(group.id)) == 1


async def test_a_dead_passive_robot_is_failed_and_comes_back_passive(group: Group) -> None:
    await group.start("primary", "standby")
    await group["standby"].kill()
    await group.until_roles(primary="active", standby="failed")
    assert await group.store.failovers(group.id) == []
    await group.start("standby")
    assert await group.roles() == {"primary": "active", "standby": "passive"}


async def test_the_robot_and_its_watcher_die_at_once(three: Group) -> None:
    three["c"].signal(signal.SIGSTOP)  # or it would be quick enough to take over from the other
    for name in ("a", "c"):
        three[name].signal(signal.SIGKILL)
    await three.until_roles(a="failed", b="active", c="failed")
    (failover,) = await three.store.failovers(three.id)
    assert (failover.source, failover.target) == ("a", "b")


async def test_one_death_after_the_other(three: Group) -> None:
    await three["a"].kill()
    await three.until_roles(a="failed")
    active = next(name for name, role in (await three.roles()).items() if role == "active")
    last = "b" if active == "c" else "c"
    await three[active].kill()
    await three.until_roles(**{active: "failed", last: "active"})
    moves = [(f.source, f.target) for f in await three.store.failovers(three.id)]
    assert moves == [(active, last), ("a", active)]


async def test_all_die_and_the_first_that_comes_back_serves(three: Group) -> None:
    for name in ("a", "b", "c"):
        three[name].signal(signal.SIGKILL)
    for name in ("a", "b", "c"):
        await three[name].kill()
    await three.start("b")
    # nobody was there to declare anything: a's lease has to run out before b takes over
    await three.until_roles(b="active")
    written = await three["b"].client.post("/v1/memories", json={"content": "b alone"})
    assert (written.status_code, written.headers["x-robotgroups-robot"]) == (201, "b")
