"""What a robot's process lives through: signals, death, and Postgres going away."""

import re
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import psycopg
import pytest
from postgres_server import OWNER, PostgresServer
from robot_process import RobotProcess, free_port, until

from robotgroups import migrations
from robotgroups.models import FailoverMode

from .conftest import KEY, SETTINGS, Group, declared


@pytest.fixture
async def running(group: Group) -> Group:
    await group.start("primary", "standby")
    return group


async def test_draining_says_so_and_still_serves(running: Group) -> None:
    primary = running["primary"]
    await primary.kill()
    primary.drain_seconds = 15
    primary.start()
    await primary.ready()
    primary.signal(signal.SIGTERM)
    told = await primary.until_probe("/readyz", lambda status, _: status == 503)
    assert told["detail"] == "the robot is draining: it has been told to stop"
    assert (await primary.probe("/healthz"))[0] == 200
    assert (await primary.client.get("/v1/working-memory")).status_code == 200
    primary.signal(signal.SIGTERM)
    assert await primary.ended(5) == 0, "a second signal hurries it"


async def test_sigterm_ends_event_streams_and_exits_0_within_the_grace_period(running: Group) -> None:
    primary = running["primary"]
    async with primary.client.stream("GET", "/v1/events") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        primary.signal(signal.SIGTERM)
        with anyio.fail_after(10):
            try:
                async for _ in lines:
                    pass
            except httpx.RemoteProtocolError:
                pytest.fail("the stream was cut, not ended")
    assert await primary.ended(10) == 0


async def test_a_lone_active_robot_keeps_its_role_over_a_restart(running: Group) -> None:
    await running["standby"].kill()
    primary = running["primary"]
    primary.signal(signal.SIGTERM)
    assert await primary.ended(10) == 0
    assert (await running.roles())["primary"] == "active"
    await running.start("primary")
    assert (await running.roles())["primary"] == "active"
    assert [f.kind for f in await running.store.failovers(running.id)] == []


async def test_a_dead_mans_return_promotes_the_other(group: Group) -> None:
    """SIGKILL and a restart faster than any detector (its doorbell's port is taken): a failover all the same."""
    running = group
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        running["primary"].settings["ROBOTGROUPS_DOORBELL_PORT"] = str(taken.getsockname()[1])
        taken.listen()
        await running.store.ensure_group(KEY, replace(SETTINGS, lease_ms=30_000))  # and so is any lease
        await running.start("primary", "standby")
        await _dead_mans_return(running)


async def _dead_mans_return(running: Group) -> None:
    kept = (await running["primary"].client.post("/v1/memories", json={"content": "the customer is kept"})).json()["id"]
    await running["primary"].kill()
    running["primary"].start()
    told = await running["primary"].ready()
    assert told["role"] == "passive"
    assert await running.roles() == {"primary": "passive", "standby": "active"}
    (failover,) = await running.store.failovers(running.id)
    assert (failover.kind, failover.source, failover.target) == ("failover", "primary", "standby")
    assert failover.reason == "restarted without handing over"
    for name in ("primary", "standby"):
        found = (await running[name].client.get("/v1/recall", params={"q": "customer"})).json()["memories"]
        assert [m["id"] for m in found] == [kept]
        written = await running[name].client.post("/v1/memories", json={"content": f"written at {name}"})
        assert (written.status_code, written.headers["x-robotgroups-robot"]) == (201, "standby")


async def test_a_newer_process_lets_the_older_one_hand_over(running: Group) -> None:
    """A deleted pod's replacement may be up before the pod was told to stop: a switchover all the same, no failover."""
    older = running["primary"]
    newer = RobotProcess("primary", KEY, older.dsn, older.token, older.directory)
    newer.start()
    try:
        waiting = await newer.until_probe("/startupz", lambda _, told: "hosted elsewhere" in told.get("detail", ""))
        assert waiting["status"] == 503
        assert await running.roles() == {"primary": "active", "standby": "passive"}
        older.signal(signal.SIGTERM)
        assert (await newer.ready())["role"] == "passive"
        assert await older.ended(10) == 0
        (switchover,) = await running.store.failovers(running.id)
        assert (switchover.kind, switchover.source, switchover.target) == ("switchover", "primary", "standby")
    finally:
        newer.signal(signal.SIGTERM)
        assert await newer.ended(10) == 0
        await newer.client.aclose()


async def test_a_write_at_the_passive_robot_outlasts_the_failover(running: Group) -> None:
    """The active robot is stopped, nobody has noticed: the write waits, and the promoted robot carries it out."""
    running["primary"].signal(signal.SIGSTOP)
    answer = await running["standby"].client.post("/v1/memories", json={"content": "patience"})
    assert (answer.status_code, answer.headers["x-robotgroups-robot"]) == (201, "standby")
    assert await running.roles() == {"primary": "failed", "standby": "active"}
    running["primary"].signal(signal.SIGCONT)


async def test_a_stopped_robot_is_fenced_and_a_write_that_hung_at_it_goes_on(running: Group) -> None:
    """SIGSTOP: the write forwarded to it hangs until it is replaced; continued, it acknowledges nothing of its own."""
    primary, standby = running["primary"], running["standby"]
    primary.signal(signal.SIGSTOP)
    answers: list[httpx.Response] = []

    async def write(robot: RobotProcess, content: str) -> None:
        answers.append(await robot.client.post("/v1/memories", json={"content": content}))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, standby, "by way of the standby")
    assert (answers[0].status_code, answers[0].headers["x-robotgroups-robot"]) == (201, "standby")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, primary, "to the stopped one")  # it is in its socket when the process goes on
        await anyio.sleep(0.1)
        primary.signal(signal.SIGCONT)
    # either it has learnt of its replacement soon enough to forward, or it says that it does not serve
    late = answers[1]
    if late.status_code == 503:
        assert late.json()["type"] == "urn:robotgroups:problem:not-serving", late.text
    else:
        assert (late.status_code, late.headers["x-robotgroups-robot"]) == (201, "standby")
    await primary.until_probe("/readyz", lambda status, told: status == 200 and told["role"] == "passive")
    acknowledged = ["to the stopped one"] if late.status_code == 201 else []
    assert await running.contents() == ["by way of the standby", *acknowledged]


async def test_the_newer_of_two_processes_of_one_robot_is_the_robot(running: Group, tmp_path: Path) -> None:
    """A pod that comes back from a cut-off node finds its successor: it waits, alive, not ready, and fights nobody."""
    old = running["standby"]
    place = tmp_path / "newer"
    place.mkdir()
    newer = RobotProcess("standby", old.key, old.dsn, old.token, place)
    try:
        newer.start()
        await newer.ready()
        told = await old.until_probe("/readyz", lambda _status, told: "elsewhere" in told.get("detail", ""))
        assert f":{newer.port}" in told["detail"], "it says where"
        assert (await old.probe("/healthz"))[0] == 200
        assert (await newer.probe("/readyz"))[0] == 200
        await newer.kill()
        assert (await old.ready())["role"] == "passive"
    finally:
        await newer.aclose()
    assert await running.roles() == {"primary": "active", "standby": "passive"}


async def test_an_active_robot_that_came_back_elsewhere_is_found_by_the_others(group: Group) -> None:
    """No failover mode, no change of roles: only the address is another."""
    await group.store.ensure_group(KEY, replace(SETTINGS, failover_mode=FailoverMode.MANUAL))
    await group.start("primary", "standby")
    await group["primary"].kill()
    moved = group["primary"]
    moved.port = free_port()
    moved.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{moved.port}") as client:

        async def ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(ready, "it is ready at its new address")
    answer = await group["standby"].client.post("/v1/memories", json={"content": "found"})
    assert (answer.status_code, answer.headers["x-robotgroups-robot"]) == (201, "primary")


async def test_a_port_that_is_taken_is_said_and_ends_the_process(group: Group) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", group["primary"].port))
        taken.listen()
        group["primary"].start()
        assert await group["primary"].ended() not in {0, 2}
    assert "address already in use" in group["primary"].log.read_text()


async def test_without_any_active_robot_in_reach_a_write_is_503_with_retry_after(running: Group) -> None:
    await running.store.ensure_group(KEY, replace(SETTINGS, failover_mode=FailoverMode.MANUAL))
    await running["primary"].kill()
    answer = await running["standby"].client.post("/v1/memories", json={"content": "nobody there"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (answer.json()["type"], answer.json()["active"]) == ("urn:robotgroups:problem:no-active-robot", ["primary"])
    assert await running.contents() == []


async def test_a_wrong_environment_exits_2_and_names_the_variable(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = group["primary"]
    good = robot.environment
    monkeypatch.setattr(robot, "environment", lambda: {k: v for k, v in good().items() if k != "ROBOTGROUPS_GROUP"})
    robot.start()
    assert await robot.ended() == 2
    assert "ROBOTGROUPS_GROUP: is not set; set it to the RobotGroup's name" in robot.log.read_text()


async def test_a_robot_waits_until_it_is_declared(group: Group) -> None:
    await group.store.reconcile_members(group.id, ["primary"], [])
    group["standby"].start()
    told = await group["standby"].until_probe("/startupz", lambda _status, told: "standby" in told.get("detail", ""))
    assert told["status"] == 503
    await group.store.reconcile_members(group.id, ["primary"], ["standby"])
    assert (await group["standby"].ready())["role"] == "passive"


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[PostgresServer, Group]]:
    """A group on a Postgres of its own, which the test may stop."""
    server = PostgresServer(18)
    server.start()
    try:
        server.create_owner()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE robotgroups OWNER {OWNER}")
        dsn = server.dsn("robotgroups", OWNER)
        await migrations.migrate(dsn)
        async with declared(dsn, tmp_path, ["primary"], ["standby"]) as group:
            yield server, group
    finally:
        server.destroy()


async def test_postgres_away_at_the_start_is_waited_for(own: tuple[PostgresServer, Group]) -> None:
    server, group = own
    server.stop()
    robot = group["primary"]
    robot.start()
    told = await robot.until_probe("/readyz", lambda _status, told: "Postgres" in told.get("detail", ""))
    assert (told["status"], told["phase"]) == (503, "starting")
    assert (await robot.probe("/startupz"))[0] == 503
    assert (await robot.probe("/healthz"))[0] == 200
    server.start()
    assert (await robot.ready())["role"] == "active"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_postgres_away_is_503_until_it_is_back_and_no_failover(
    own: tuple[PostgresServer, Group], mode: str
) -> None:
    server, group = own
    await group.start("primary", "standby")
    assert (await group["primary"].client.post("/v1/memories", json={"content": "before"})).status_code == 201
    server.stop(mode)
    for name in ("primary", "standby"):
        answer = await group[name].client.post("/v1/memories", json={"content": "while away"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
        # self-fencing: what cannot renew its lease serves nothing, and says why
        told = await group[name].until_probe("/readyz", lambda status, _: status == 503)
        assert told["detail"]
        for path in ("/v1/working-memory", "/v1/context", "/v1/recall?q=before", "/v1/status"):
            read = await group[name].client.get(path)
            assert (path, read.status_code, read.headers["retry-after"]) == (path, 503, "1")
        assert (await group[name].probe("/healthz"))[0] == 200
    server.start()
    for name in ("primary", "standby"):
        await group[name].ready()
    assert await group.roles() == {"primary": "active", "standby": "passive"}
    assert await group.store.failovers(group.id) == []
    for name in ("primary", "standby"):
        assert (await group[name].client.post("/v1/memories", json={"content": f"after {name}"})).status_code == 201
    assert await group.contents() == ["after primary", "after standby", "before"]
    assert [r.process.poll() for r in group.robots.values() if r.process] == [None, None], "no robot restarted"


async def test_a_robot_that_dies_while_postgres_crashes_is_replaced(own: tuple[PostgresServer, Group]) -> None:
    """The crash forgets who was present; the standby finds after a lease that the active one does not come back."""
    server, group = own
    await group.start("primary", "standby")
    server.stop("immediate")
    await group["primary"].kill()
    server.start()
    await group.until_roles(primary="failed", standby="active")
    (failover,) = await group.store.failovers(group.id)
    assert (failover.source, failover.target, failover.detected_by) == ("primary", "standby", "standby")
    assert re.fullmatch(r"it has not been seen for \d+\.\d s", failover.reason)
