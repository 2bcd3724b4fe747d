"""The rotation of a group's login: asked for by an annotation, robot by robot, and nobody is cut off by it."""

import asyncio

from operator_bench import Bench, OperatorProcess, eventually
from operator_rotation import SPEC, come_over, connects, marks, ready, until_login, until_marks

from robotgroups.store import Store, login_number, login_of, password_of
from robotgroups_operator.names import Kind


async def test_rotates_the_login_robot_by_robot(bench: Bench, store: Store, running: OperatorProcess) -> None:
    number, pods, robots = await ready(bench, store)
    old = (await bench.secret("team"))["dsn"]
    token = (await bench.secret("team"))["token"]
    await bench.annotate("team", rotate_credentials="on monday")
    new = await until_login(bench, 2)
    secret = await bench.get(Kind.SECRET, "team-robotgroups")
    assert secret["metadata"]["annotations"] == {"robotgroups.dev/rotate-credentials": "on monday"}
    assert (await bench.secret("team"))["token"] == token
    assert password_of(new) != password_of(old)

    # the standby first; the active one goes on under its own login until that is back
    await until_marks(bench, None, "2")
    condition = await bench.until_condition("team", "Progressing", "True", "Applying")
    assert "the login is being rotated: first, second still under the previous one" in condition["message"]
    async with await Store.open(old) as robot:
        tenure = next(r.tenure for r in (await robot.status(number)).robots if r.name == "first")
        await robot.remember(number, robot="first", tenure=tenure, content="while it is rotated", tokens=4)
    await robots["second"].withdraw()
    bench.robots.remove(robots["second"])
    await come_over(bench, number, pods["second"])
    await until_marks(bench, "2", "2")
    assert await connects(old)
    assert await bench.events("RotatedCredentials") == []

    assert await robots["first"].hand_over() == "second"
    bench.robots.remove(robots["first"])
    await come_over(bench, number, pods["first"])
    status = await bench.until_phase("team", "Ready")
    assert (status["active"], status["passive"], status["failovers"]) == (["second"], ["first"], 0)
    assert not await connects(old)
    assert await connects(new)
    [begun], [ended] = await bench.events("RotatingCredentials"), await bench.events("RotatedCredentials")
    assert begun == f"the robots come over to the login {login_of(new)}, one by one; the previous one works until then"
    assert ended == f"every robot has come over; the previous login {login_of(old)} is gone"
    text = running.log.read_text()
    for dsn in (old, new):
        assert str(password_of(dsn)) not in text

    # the same request asks for nothing more, another one does
    await bench.annotate("team", note="something else")
    await asyncio.sleep(3)  # a resync: time in which it is to do nothing
    assert (await bench.secret("team"))["dsn"] == new
    await bench.annotate("team", rotate_credentials="on tuesday")
    await until_login(bench, 3)
    await until_marks(bench, "3", "2")  # the standby is the other one now


async def test_a_suspended_group_is_rotated_at_once(bench: Bench, store: Store) -> None:
    await bench.apply("team", SPEC | {"suspend": True})
    await bench.until_phase("team", "Suspended")
    old = await until_login(bench, 1)

    async def stopped() -> bool:
        deployments = await bench.api.list(Kind.DEPLOYMENT, bench.namespace)
        return [body["spec"]["replicas"] for body in deployments.items] == [0, 0]

    await eventually(stopped)
    await bench.annotate("team", rotate_credentials="now")
    new = await until_login(bench, 2)
    await until_marks(bench, "2", "2")
    for name in ("first", "second"):
        await bench.roll_out("team", name)

    async def dropped() -> bool:
        return not await connects(old)

    await eventually(dropped)
    assert await connects(new)
    assert len(await bench.events("RotatedCredentials")) == 1


async def test_a_group_that_is_made_with_the_annotation_has_its_first_login(bench: Bench) -> None:
    manifest = {
        "apiVersion": Kind.ROBOT_GROUP.value.api_version,
        "kind": "RobotGroup",
        "metadata": {
            "name": "team",
            "namespace": bench.namespace,
            "annotations": {"robotgroups.dev/rotate-credentials": "x"},
        },
        "spec": SPEC,
    }
    await bench.api.create(Kind.ROBOT_GROUP, manifest)
    await bench.until_children("team", ["first", "second"])
    assert login_number(login_of((await bench.secret("team"))["dsn"]) or "") == 1
    assert await marks(bench) == {"first": None, "second": None}
    assert await bench.events("RotatingCredentials") == []
