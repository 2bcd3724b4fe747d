"""The operator as a process: Postgres away, restarts, signals, two at once, the namespaces that it serves."""

import asyncio
from pathlib import Path

import httpx
from operator_bench import Bench, OperatorProcess, PlayedRobot, open_migrated
from postgres_server import PostgresServer

from robotgroups.store import Store, password_of
from robotgroups_operator.names import Kind

FAILOVER = {"heartbeat": "100ms", "lease": "3s"}
SPEC = {"active": [{"name": "first"}], "passive": [{"name": "second"}], "failover": FAILOVER}


async def ready(bench: Bench, store: Store) -> int:
    await bench.apply("team", dict(SPEC))
    await bench.until_children("team", ["first", "second"])
    number = await store.find_group(await bench.key("team"))
    for name in ("first", "second"):
        await bench.start_robot("team", number, await bench.start_pod("team", name))
    await bench.until_phase("team", "Ready")
    return number


async def test_lives_through_the_absence_of_postgres(own_bench: tuple[Bench, OperatorProcess, PostgresServer]) -> None:
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()) as store:
        number = await ready(bench, store)
    before = await bench.status("team")
    for robot in bench.robots:
        await robot.die()
    await asyncio.to_thread(postgres.stop, "immediate")
    await bench.until_condition("team", "MemoryAvailable", "False", "MemoryUnavailable")
    status = await bench.until_phase("team", "Unavailable")
    # what was known stays, and nobody is replaced or stopped
    for field in ("active", "passive", "failed", "epoch", "revision", "maxTokens"):
        assert status[field] == before[field]
    deployments = (await bench.api.list(Kind.DEPLOYMENT, bench.namespace)).items
    assert [body["spec"]["replicas"] for body in deployments] == [1, 1]
    await bench.api.delete(Kind.DEPLOYMENT, bench.namespace, "team-first", uid=deployments[0]["metadata"]["uid"])
    await bench.until_children("team", ["first", "second"])
    assert process.healthy()

    pods = [
        (body["metadata"]["labels"]["robotgroups.dev/robot"], body["status"]["podIP"])
        for body in (await bench.api.list(Kind.POD, bench.namespace)).items
    ]
    bench.robots.clear()
    await asyncio.to_thread(postgres.start)
    await bench.until_condition("team", "MemoryAvailable", "True", "Connected")
    dsn = (await bench.secret("team"))["dsn"]
    for name, ip in pods:
        bench.robots.append(await PlayedRobot.start(dsn, number, name, ip))
    status = await bench.until_phase("team", "Ready")
    assert (status["active"], status["failovers"]) == (["first"], 0)


async def test_a_restart_changes_nothing(own_bench: tuple[Bench, OperatorProcess, PostgresServer]) -> None:
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()) as store:
        await ready(bench, store)
    await bench.until_condition("team", "InSync", "True", "Applied")
    status = await bench.status("team")

    async def versions() -> list[str]:
        kinds = ((Kind.ROBOT_GROUP, "team"), (Kind.DEPLOYMENT, "team-first"), (Kind.SERVICE, "team"),
                 (Kind.SERVICE_ACCOUNT, "team"), (Kind.SECRET, "team-robotgroups"))  # fmt: skip
        return [(await bench.get(kind, name))["metadata"]["resourceVersion"] for kind, name in kinds]

    before = await versions()
    assert await asyncio.to_thread(process.stop) == 0  # in a thread: the robots go on beating
    await asyncio.to_thread(process.start)
    await asyncio.sleep(4)  # a resync and more: time in which it is to do nothing
    assert await bench.status("team") == status
    assert await versions() == before
    await asyncio.to_thread(process.kill)
    await asyncio.to_thread(process.start)
    await asyncio.sleep(4)
    assert await bench.status("team") == status
    assert await versions() == before
    applied = [line for line in process.lines() if line["event"] == "applied"]
    assert len(applied) == 5  # those of the first start


async def test_serves_the_named_namespaces_only(own_bench: tuple[Bench, OperatorProcess, PostgresServer]) -> None:
    mine, process, _ = own_bench
    foreign = Bench(mine.api, "default", mine.server)
    body = await foreign.apply("foreign", dict(SPEC))
    await mine.apply("team", dict(SPEC))
    await mine.until_phase("team", "Pending")
    await foreign.api.delete(Kind.ROBOT_GROUP, "default", "foreign", uid=body["metadata"]["uid"])
    assert {line["group"] for line in process.lines() if line["event"] == "phase changed"} == {f"{mine.namespace}/team"}


async def test_two_at_once_do_no_harm(
    own_bench: tuple[Bench, OperatorProcess, PostgresServer], access: Path, tmp_path: Path
) -> None:
    """One promotion (R3), one set of children, one Event for each thing that happened."""
    bench, _, postgres = own_bench
    second = OperatorProcess(access, tmp_path / "dsn", tmp_path, namespaces=bench.namespace)
    await asyncio.to_thread(second.start)
    try:
        async with await open_migrated(postgres.dsn()) as store:
            number = await ready(bench, store)
            pods = {pod.robot: pod for pod in bench.pods}
            await bench.robots[0].die()
            await pods["first"].end()
            status = await bench.until_phase("team", "Degraded")
            assert (status["active"], status["failovers"]) == (["second"], 1)
            assert len(await store.failovers(number)) == 1
            await pods["first"].run()
            await bench.start_robot("team", number, pods["first"])
            await bench.until_phase("team", "Ready")
            await bench.until_children("team", ["first", "second"])
            for reason, count in (("Failover", 1), ("RobotPromoted", 1), ("RobotReturned", 1), ("RobotJoined", 2)):
                assert len(await bench.events(reason)) == count
    finally:
        assert await asyncio.to_thread(second.stop) == 0


async def test_tells_its_figures(own_bench: tuple[Bench, OperatorProcess, PostgresServer]) -> None:
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()) as store:
        await ready(bench, store)
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{process.metrics}/metrics")).text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert figures[f'robotgroups_group_phase{{group="team",namespace="{bench.namespace}",phase="Ready"}}'] == "1.0"
    assert figures["robotgroups_operator_database_up"] == "1.0"


async def test_its_log_has_no_secrets(own_bench: tuple[Bench, OperatorProcess, PostgresServer]) -> None:
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()) as store:
        await ready(bench, store)
    secret = await bench.secret("team")
    password = password_of(secret["dsn"])
    assert password
    text = process.log.read_text()
    for value in (password, secret["token"], secret["dsn"]):
        assert value not in text
