"""The life of a group: suspension, deletion, retention, successors."""

import asyncio

import pytest
from operator_bench import Bench, eventually

from robotgroups.errors import UnknownGroupError
from robotgroups.store import Store
from robotgroups_operator.names import CHILDREN, Kind

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


async def delete_group(bench: Bench, name: str = "team") -> None:
    """Deletes a group, and its children as the garbage collector would."""
    for robot in bench.robots:
        await robot.die()
    bench.robots.clear()
    body = await bench.get(Kind.ROBOT_GROUP, name)
    await bench.api.delete(Kind.ROBOT_GROUP, bench.namespace, name, uid=body["metadata"]["uid"])
    for kind in (*CHILDREN, Kind.POD):
        for child in (await bench.api.list(kind, bench.namespace, labels=f"robotgroups.dev/group={name}")).items:
            await bench.api.delete(kind, bench.namespace, child["metadata"]["name"], uid=child["metadata"]["uid"])
    secret = await bench.get(Kind.SECRET, f"{name}-robotgroups")
    await bench.api.delete(Kind.SECRET, bench.namespace, f"{name}-robotgroups", uid=secret["metadata"]["uid"])


async def test_suspends_and_resumes(bench: Bench, store: Store) -> None:
    number = await ready(bench, store)
    await bench.apply("team", SPEC | {"suspend": True})
    await bench.until_phase("team", "Suspended")

    async def stopped() -> bool:
        deployments = await bench.api.list(Kind.DEPLOYMENT, bench.namespace)
        return [body["spec"]["replicas"] for body in deployments.items] == [0, 0]

    await eventually(stopped)
    before = await store.status(number)
    assert before.suspended
    for robot in bench.robots:
        await robot.withdraw()
    bench.robots.clear()
    bench.server.kubectl("delete", "pods", "--all", "-n", bench.namespace, "--force", "--grace-period=0")
    await bench.until_condition("team", "Progressing", "False", "Suspended")

    await bench.apply("team", SPEC | {"suspend": False})

    async def started() -> bool:
        deployments = await bench.api.list(Kind.DEPLOYMENT, bench.namespace)
        return [body["spec"]["replicas"] for body in deployments.items] == [1, 1]

    await eventually(started)
    for name in ("second", "first"):
        await bench.start_robot("team", number, await bench.start_pod("team", name))
    status = await bench.until_phase("team", "Ready")
    # neither the stop nor the start was a failover: the same robot is active, under a new tenure
    assert (status["active"], status["failovers"]) == (["first"], 0)
    assert "lastFailover" not in status
    assert status["epoch"] == before.epoch + 1


async def test_keeps_the_rows_of_a_deleted_group_for_its_successor(bench: Bench, store: Store) -> None:
    number = await ready(bench, store)
    first = await store.status(number)
    memory = await store.remember(number, robot=None, tenure=None, content="the customer likes tea", tokens=5)
    await delete_group(bench)

    async def retired() -> bool:
        records = {record.id: record for record in await store.list_groups((await bench.key("team")).cluster)}
        return records[number].login is None

    await eventually(retired)
    assert (await store.memory(number, memory.id)).content == "the customer likes tea"
    await bench.apply("team", dict(SPEC))
    await bench.until_children("team", ["first", "second"])
    assert await store.find_group(await bench.key("team")) == number

    async def seen() -> bool:
        return bool((await bench.status("team")).get("workingMemoryNodes") == 1)

    await eventually(seen)
    async with await Store.open((await bench.secret("team"))["dsn"]) as robots:
        assert (await robots.status(number)).working_memory_nodes == 1
    assert first.working_memory_nodes == 0


async def test_deletes_the_rows_of_a_group_that_says_so(bench: Bench, store: Store) -> None:
    await bench.apply("team", SPEC | {"memory": {"retention": "Delete"}})
    await bench.until_children("team", ["first", "second"])
    key = await bench.key("team")
    await store.find_group(key)
    await delete_group(bench)

    async def gone() -> bool:
        with pytest.raises(UnknownGroupError):
            await store.find_group(key)
        return True

    async def swept() -> bool:
        return not [record for record in await store.list_groups(key.cluster) if record.key == key]

    await eventually(swept)
    await gone()


async def test_a_successor_inherits_nothing_that_was_to_be_deleted(bench: Bench, store: Store) -> None:
    """Even when it is made at once: the rows are not given away before they are swept."""
    await bench.apply("team", SPEC | {"memory": {"retention": "Delete"}})
    await bench.until_children("team", ["first", "second"])
    number = await store.find_group(await bench.key("team"))
    await store.remember(number, robot=None, tenure=None, content="a secret", tokens=2)
    await delete_group(bench)
    await bench.apply("team", dict(SPEC))
    await bench.until_children("team", ["first", "second"])

    async def successor() -> int | None:
        key = await bench.key("team")
        found = [record.id for record in await store.list_groups(key.cluster) if record.key == key]
        return found[0] if found and found != [number] else None

    assert (await store.status(await eventually(successor))).working_memory_nodes == 0


async def test_another_namespace_of_the_same_name_finds_nothing(bench: Bench, store: Store) -> None:
    number = await ready(bench, store)
    other = f"{bench.namespace}-b"
    bench.server.kubectl("create", "namespace", other)
    elsewhere = Bench(bench.api, other, bench.server)
    await elsewhere.apply("team", dict(SPEC))
    await elsewhere.until_children("team", ["first", "second"])
    assert await store.find_group(await elsewhere.key("team")) != number
    body = await elsewhere.get(Kind.ROBOT_GROUP, "team")
    await bench.api.delete(Kind.ROBOT_GROUP, other, "team", uid=body["metadata"]["uid"])


async def test_a_group_that_waits_for_its_children_is_terminating(bench: Bench, store: Store) -> None:
    await ready(bench, store)
    bench.server.kubectl("delete", "rg/team", "-n", bench.namespace, "--cascade=foreground", "--wait=false")
    await bench.until_phase("team", "Terminating")
    service = await bench.get(Kind.SERVICE, "team")
    await bench.api.delete(Kind.SERVICE, bench.namespace, "team", uid=service["metadata"]["uid"])
    await asyncio.sleep(3)  # a resync: time in which it is not to come back
    assert await bench.api.get(Kind.SERVICE, bench.namespace, "team") is None
    bench.server.kubectl(
        "patch", "rg/team", "-n", bench.namespace, "--type=json", '-p=[{"op":"remove","path":"/metadata/finalizers"}]'
    )


async def test_waits_for_the_children_of_a_predecessor_to_go(bench: Bench) -> None:
    await bench.apply("team", dict(SPEC))
    await bench.until_children("team", ["first", "second"])
    old = await bench.get(Kind.DEPLOYMENT, "team-first")
    body = await bench.get(Kind.ROBOT_GROUP, "team")
    await bench.api.delete(Kind.ROBOT_GROUP, bench.namespace, "team", uid=body["metadata"]["uid"])
    await bench.apply("team", dict(SPEC))
    condition = await bench.until_condition("team", "Progressing", "True", "Applying")
    assert "of the deleted group of this name to go" in condition["message"]
    assert (await bench.get(Kind.DEPLOYMENT, "team-first"))["metadata"]["uid"] == old["metadata"]["uid"]
    for kind in (*CHILDREN, Kind.SECRET):
        names = ["team-robotgroups"] if kind is Kind.SECRET else [
            child["metadata"]["name"]
            for child in (await bench.api.list(kind, bench.namespace, labels="robotgroups.dev/group=team")).items
        ]  # fmt: skip
        for name in names:
            child = await bench.get(kind, name)
            await bench.api.delete(kind, bench.namespace, name, uid=child["metadata"]["uid"])
    await bench.until_children("team", ["first", "second"])
    await bench.until_condition("team", "Progressing", "True", "RobotsStarting")
