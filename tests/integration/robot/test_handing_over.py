"""Roles that move on purpose, while both robots are written to: each request is tried once, and none fails."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import httpx
import psycopg
import pytest
from anyio.abc import TaskGroup
from robot_process import RobotProcess, until

from robotgroups.models import Failback

from .conftest import KEY, SETTINGS, Group, events

LIMIT_S = 20
ENOUGH = 20


@dataclass
class Writers:
    """Write as fast as they are answered, one request after the other each, in one try."""

    tasks: TaskGroup
    acknowledged: dict[int, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    over: bool = False
    left: set[str] = field(default_factory=set)  # robots that nobody asks any more

    def at(self, robot: RobotProcess, label: str) -> None:
        """One more writer, at this robot."""
        self.tasks.start_soon(self._write, robot, label)

    async def _write(self, robot: RobotProcess, label: str) -> None:
        number = 0
        while not self.over and robot.name not in self.left:
            content = f"{label} {number}"
            number += 1
            try:
                answer = await robot.client.post("/v1/memories", json={"content": content})
            except httpx.TransportError as error:
                self.refused.append(f"{content}: {error!r}")
                continue
            if answer.status_code == 201:
                self.acknowledged[answer.json()["id"]] = content
            else:
                self.refused.append(f"{content}: {answer.text}")

    async def more(self) -> None:
        """Waits for some more acknowledgements."""
        enough = len(self.acknowledged) + ENOUGH
        with anyio.fail_after(LIMIT_S):
            while len(self.acknowledged) < enough:
                await anyio.sleep(0.01)


@asynccontextmanager
async def writing(group: Group, *names: str) -> AsyncIterator[Writers]:
    """Within, three writers at each robot; afterwards, none was refused, and what was acknowledged is all there is."""
    async with anyio.create_task_group() as tasks:
        writers = Writers(tasks)
        for name in names:
            for i in range(3):
                writers.at(group[name], f"{name}-{i}")
        yield writers
        writers.over = True
    assert writers.refused == []
    assert await group.contents() == sorted(writers.acknowledged.values())


@pytest.fixture
async def running(group: Group) -> Group:
    await group.start("primary", "standby")
    return group


async def test_sigterm_hands_over_and_no_request_fails(group: Group) -> None:
    primary = group["primary"]
    primary.drain_seconds = 1.0
    await group.start("primary", "standby")
    async with writing(group, "primary", "standby") as writers:
        await writers.more()
        primary.signal(signal.SIGTERM)
        await primary.until_probe("/readyz", lambda status, _: status != 200)
        await group.until_roles(primary="passive", standby="active")
        writers.left.add("primary")  # its probe has told that it is not ready: its Service stops asking it
        assert await primary.ended(10) == 0
    (switchover,) = await group.store.failovers(group.id)
    assert (switchover.kind, switchover.source, switchover.target) == ("switchover", "primary", "standby")
    logged = [line["event"] for line in primary.lines()]
    assert [e for e in logged if e in ("signal", "handed over", "stopped")] == ["signal", "handed over", "stopped"]


async def test_no_request_fails_by_switchovers(running: Group) -> None:
    """Three of them, back and forth."""
    async with writing(running, "primary", "standby") as writers:
        for target in ("standby", "primary", "standby"):
            await writers.more()
            answer = await running["primary"].client.post("/v1/switchover", json={"to": target})
            assert (answer.status_code, answer.json().get("promoted")) == (200, target), answer.text
        await writers.more()
    assert await running.roles() == {"primary": "passive", "standby": "active"}
    assert [(f.kind, f.target) for f in await running.store.failovers(running.id)] == [
        ("switchover", "standby"), ("switchover", "primary"), ("switchover", "standby"),
    ]  # fmt: skip


async def test_no_request_fails_by_a_failback(running: Group) -> None:
    """The declared robot died, comes back, and gets its place back once it has stood for a lease."""
    await running.store.ensure_group(
        KEY, replace(SETTINGS, lease_ms=1000, failover_cooldown_ms=0, failback=Failback.PREFERRED)
    )
    await running["primary"].kill()
    await running.until_roles(primary="failed", standby="active")
    async with writing(running, "standby") as writers:
        await writers.more()
        await running.start("primary")
        writers.at(running["primary"], "back")
        await running.until_roles(primary="active", standby="passive")
        await writers.more()
    assert [(f.kind, f.target, f.reason) for f in await running.store.failovers(running.id)] == [
        ("switchover", "primary", "failback"), ("failover", "standby", "its doorbell fell silent"),
    ]  # fmt: skip


@pytest.mark.parametrize("asked", ["primary", "standby"])
async def test_a_stream_outlasts_a_switchover(running: Group, asked: str) -> None:
    """The robot at which it is open has another role then, and goes on telling."""
    client = running[asked].client
    seen = []
    async with client.stream("GET", "/v1/events") as stream:
        feed = events(stream)
        with anyio.fail_after(LIMIT_S):
            for content in ("before", "after"):
                assert (await client.post("/v1/memories", json={"content": content})).status_code == 201
                seen.append(await anext(feed))
                if content == "before":
                    answer = await client.post("/v1/switchover", json={"to": "standby"})
                    assert answer.status_code == 200, answer.text
                    seen.append(await anext(feed))
    assert [event["event"] for event in seen] == ["added", "role", "added"]
    first = int(seen[0]["id"])
    assert [int(event["id"]) for event in seen] == [first, first + 1, first + 2]
    assert await running.contents() == ["after", "before"]


@pytest.mark.parametrize("asked", ["primary", "standby"])
async def test_a_write_that_a_switchover_overtakes_is_carried_out_by_the_other(running: Group, asked: str) -> None:
    """It waits in Postgres, under the old tenure, for the transaction that ends that tenure."""
    answers: list[httpx.Response] = []

    async def write() -> None:
        answers.append(await running[asked].client.post("/v1/memories", json={"content": "overtaken"}))

    waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    async with await psycopg.AsyncConnection.connect(running.store.dsn) as connection:
        await connection.execute("SELECT robotgroups.switchover(%s, NULL, NULL, 'test')", (running.id,))

        async def waits() -> bool:
            return await (await connection.execute(waiting)).fetchone() == (True,)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await until(waits, "a write waits")
            await connection.commit()
    assert (answers[0].status_code, answers[0].headers["x-robotgroups-robot"]) == (201, "standby"), answers[0].text
    assert await running.contents() == ["overtaken"]
