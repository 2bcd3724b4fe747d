"""A rotation that the operator's end interrupts, and a Secret that is lost while it is not there."""

import asyncio

from operator_bench import Bench, OperatorProcess, eventually, open_migrated
from operator_rotation import come_over, connects, ready, until_login, until_marks
from postgres_server import PostgresServer

from robotgroups.models import Role
from robotgroups.store import login_of, password_of
from robotgroups_operator.names import Kind


async def test_goes_on_with_a_rotation_that_was_interrupted(
    own_bench: tuple[Bench, OperatorProcess, PostgresServer],
) -> None:
    """The login was made, and nobody had stored its password yet."""
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()) as store:
        number, pods, robots = await ready(bench, store)
        old = (await bench.secret("team"))["dsn"]
        await asyncio.to_thread(process.kill)
        await store.rotate_login(number, str(login_of(old)), "lost")
        await bench.annotate("team", rotate_credentials="on monday")
        await asyncio.to_thread(process.start)
        new = await until_login(bench, 2)
        assert password_of(new) not in ("lost", password_of(old))
        await until_marks(bench, None, "2")
        await robots["second"].withdraw()
        bench.robots.remove(robots["second"])
        await come_over(bench, number, pods["second"])
        await until_marks(bench, "2", "2")

        # interrupted again, before the end was told
        await asyncio.to_thread(process.kill)
        await robots["first"].hand_over()
        bench.robots.remove(robots["first"])
        await come_over(bench, number, pods["first"])
        await asyncio.to_thread(process.start)

        async def dropped() -> bool:
            return not await connects(old)

        await eventually(dropped)
        assert (await bench.until_phase("team", "Ready"))["failovers"] == 0


async def test_a_lost_secret_cuts_no_robot_off(
    own_bench: tuple[Bench, OperatorProcess, PostgresServer],
) -> None:
    """Its password is known to the robots alone: they come over to a second login."""
    bench, process, postgres = own_bench
    async with await open_migrated(postgres.dsn()) as store:
        number, _, _ = await ready(bench, store)
        old = (await bench.secret("team"))["dsn"]
        await asyncio.to_thread(process.kill)
        secret = await bench.get(Kind.SECRET, "team-robotgroups")
        await bench.api.delete(Kind.SECRET, bench.namespace, "team-robotgroups", uid=secret["metadata"]["uid"])
        await asyncio.to_thread(process.start)

        async def back() -> bool:
            return await bench.api.get(Kind.SECRET, bench.namespace, "team-robotgroups") is not None

        await eventually(back)
        new = await until_login(bench, 2)
        await until_marks(bench, None, "2")
        assert await connects(old)
        assert await connects(new)
        live = {robot.name: (robot.live, robot.role) for robot in (await store.status(number)).robots}
        assert live == {"first": (True, Role.ACTIVE), "second": (True, Role.PASSIVE)}
