"""Processes that open the same group: what one does the other sees, and what SIGKILL of all of them leaves."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from robot_process import until

from robotgroups import AsyncRobotGroup, RobotGroup
from robotgroups.errors import HostedElsewhereError, UnknownRobotError
from robotgroups.models import GroupKey
from robotgroups.store import Store

NAME = "customer-support-ha"
HOST = f"""
import sys
from robotgroups import RobotGroup
group = RobotGroup({NAME!r}, active=["support-primary"], passive=["support-standby"], max_tokens=8000, dsn=sys.argv[1])
for number in range(20):
    print(group.remember(f"Customer {{number}}"), flush=True)
print(group.status()["epoch"], flush=True)
sys.stdin.read()
group.shutdown()
"""


@contextmanager
def host(dsn: str) -> Iterator[tuple["subprocess.Popen[str]", list[int], int]]:
    """A process that hosts both robots; the ids that it was acknowledged, and the epoch it saw."""
    with subprocess.Popen(
        [sys.executable, "-c", HOST, dsn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            ids = [int(process.stdout.readline()) for _ in range(20)]
            yield process, ids, int(process.stdout.readline())
        finally:
            process.kill()


async def failovers(dsn: str) -> int:
    async with await Store.open(dsn) as store:
        return len(await store.failovers(await store.find_group(GroupKey("local", "default", NAME))))


def test_a_second_process_sees_the_same_group_and_both_may_write(dsn: str) -> None:
    with host(dsn) as (process, ids, epoch), RobotGroup(NAME, dsn=dsn) as group:
        status = group.status()
        assert (status["active"], status["passive"]) == (["support-primary"], ["support-standby"])
        assert (status["epoch"], status["max_tokens"]) == (epoch, 8000)
        assert [m.id for m in group.working_memory()] == ids
        assert group.remember("from here") not in ids
        with pytest.raises(HostedElsewhereError, match=rf"support-primary is .* \(process {process.pid} on "):
            RobotGroup(NAME, active=["support-primary"], dsn=dsn)
        # nothing ends with a process that hosts nobody
        group.shutdown()
        with RobotGroup(NAME, dsn=dsn) as again:
            assert (again.active, again.passive) == (["support-primary"], ["support-standby"])
        process.communicate("")
        assert process.returncode == 0


async def test_all_robots_killed_at_once_and_started_again_are_no_failover(dsn: str) -> None:
    """Nobody was left to take over: the roles stay, under a new tenure, and everything acknowledged is there."""
    with host(dsn) as (process, ids, epoch):
        process.send_signal(signal.SIGKILL)
        process.wait()
    async with await AsyncRobotGroup.open(
        NAME, active=["support-primary"], passive=["support-standby"], dsn=dsn
    ) as group:
        status = await group.group_status()
        assert (status.active, status.passive, status.failed) == (("support-primary",), ("support-standby",), ())
        assert (status.max_tokens, status.in_sync) == (8000, True)
        (primary,) = [r for r in status.robots if r.name == "support-primary"]
        assert primary.tenure == epoch + 1
        assert [m.id for m in await group.working_memory()] == ids
        assert await group.remember("after the restart") not in ids
        assert await failovers(dsn) == 0
        # and from here on a failover is one
        assert await group.failover() == "support-standby"
        assert await failovers(dsn) == 1


async def test_started_again_the_other_way_round_the_standby_finds_the_primary_dead(dsn: str) -> None:
    with host(dsn) as (process, ids, _):
        process.kill()
        process.wait()
    async with await AsyncRobotGroup.open(NAME, passive=["support-standby"], dsn=dsn) as group:

        async def took_over() -> bool:
            status = await group.group_status()
            return (status.active, status.failed) == (("support-standby",), ("support-primary",))

        await until(took_over, "the standby has taken over")
        assert [m.id for m in await group.working_memory()] == ids
    assert await failovers(dsn) == 1


async def test_the_default_originator_is_who_is_active_now_whatever_another_process_has_changed(dsn: str) -> None:
    async with (
        await AsyncRobotGroup.open(NAME, active=["a", "b"], dsn=dsn) as here,
        await AsyncRobotGroup.open(NAME, dsn=dsn) as elsewhere,
    ):
        await elsewhere.remove("a")
        await here.remember("by whoever is there")  # at once: it need not have heard of it
        assert (await here.working_memory())[0].originator == "b"
        with pytest.raises(UnknownRobotError, match="originator a is no member"):
            await here.remember("by who has left", originator="a")
