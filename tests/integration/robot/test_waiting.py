"""Requests that wait for an active robot: nothing of theirs keeps its successor from its work."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio
import pytest
from robot_process import free_port
from starlette.requests import Request

from robotgroups.models import GroupStatus, Remembered
from robotgroups.robot import HostedRobot
from robotgroups.store import Store
from robotgroups_robot import forwarding
from robotgroups_robot.forwarding import Forwarder, Writer
from robotgroups_robot.problems import ProblemError

from .conftest import KEY, SETTINGS

pytestmark = pytest.mark.anyio
LIMIT_S = 20


@dataclass
class Waiting:
    """``standby`` knows that ``primary`` is active, and that nobody listens where it should be."""

    store: Store
    group: int
    standby: HostedRobot
    writer: Writer

    async def write(self) -> Remembered:
        """What a client's request does at the standby, as soon as that one is active."""

        async def body() -> dict[str, object]:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        scope = {"type": "http", "method": "POST", "path": "/v1/memories", "query_string": b"", "headers": []}
        done = await self.writer.run(Request(scope, body), lambda robot: robot.remember("it was worth the wait"))
        assert isinstance(done, Remembered)
        return done


@pytest.fixture
async def waiting(dsn: str) -> AsyncIterator[Waiting]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(await Store.open(dsn))
        group = await store.ensure_group(KEY, SETTINGS)
        await store.reconcile_members(group, ["primary"], ["standby"])
        for name in ("primary", "standby"):
            endpoint = f"http://127.0.0.1:{free_port()}"
            robot = await stack.enter_async_context(HostedRobot(store, group, name, endpoint=endpoint))
        forwarder = Forwarder("standby", lambda _: None)
        stack.push_async_callback(forwarder.aclose)
        yield Waiting(store, group, robot, Writer(robot, forwarder))


def counted(robot: HostedRobot, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the robot has asked Postgres for the group's status."""
    asked, status = [], robot.status

    async def ask() -> GroupStatus:
        asked.append(True)
        return await status()

    monkeypatch.setattr(robot, "status", ask)
    return lambda: len(asked)


async def test_postgres_is_asked_once_for_all_that_wait(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "PATIENCE_S", 1.0)
    times = counted(waiting.standby, monkeypatch)
    refused = []

    async def wait() -> None:
        with pytest.raises(ProblemError) as raised:
            await waiting.write()
        refused.append(raised.value.problem.detail)

    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(wait)
    assert len(refused) == 16
    assert "primary at http://127.0.0.1:" in refused[0]
    most = (1.0 + forwarding.LONGEST_PAUSE_S - forwarding.ASK_AFTER_S) / forwarding.ASK_EVERY_S + 1
    assert 1 <= times() <= most, "each by itself, they would ask more than three times as often"


async def test_a_promotion_ends_the_wait_at_once(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are as long here as the test may take: only the change of roles can end one."""
    for name in ("PAUSE_S", "LONGEST_PAUSE_S", "PATIENCE_S"):
        monkeypatch.setattr(forwarding, name, 2.0 * LIMIT_S)
    times = counted(waiting.standby, monkeypatch)
    written: list[Remembered] = []

    async def write() -> None:
        written.append(await waiting.write())

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            assert (
                await waiting.store.failover(waiting.group, "primary", detected_by="a person")
            ).promoted == "standby"
    assert [memory.created for memory in written] == [True]
    assert times() == 0, "the change feed says it all"
