"""Steps that tests of a rotation of a group's login share."""

from typing import Any

import psycopg
from operator_bench import Bench, PlayedPod, PlayedRobot, eventually

from robotgroups.store import Store, login_number, login_of
from robotgroups_operator.names import Kind

FAILOVER = {"heartbeat": "100ms", "lease": "3s"}
SPEC: dict[str, Any] = {"active": [{"name": "first"}], "passive": [{"name": "second"}], "failover": FAILOVER}


async def ready(bench: Bench, store: Store) -> tuple[int, dict[str, PlayedPod], dict[str, PlayedRobot]]:
    """A group of two that is Ready and rolled out."""
    await bench.apply("team", dict(SPEC))
    await bench.until_children("team", ["first", "second"])
    number = await store.find_group(await bench.key("team"))
    pods = {name: await bench.start_pod("team", name) for name in ("first", "second")}
    robots = {name: await bench.start_robot("team", number, pods[name]) for name in pods}
    for name in pods:
        await bench.roll_out("team", name)
    await bench.until_phase("team", "Ready")
    return number, pods, robots


async def until_login(bench: Bench, number: int) -> str:
    """Waits until the Secret has the group's n-th login; returns its DSN."""

    async def there() -> str | None:
        dsn = (await bench.secret("team"))["dsn"]
        return dsn if login_number(login_of(dsn) or "") == number else None

    return await eventually(there)


async def marks(bench: Bench) -> dict[str, str | None]:
    """The login that each Deployment starts its robot with."""
    found = {name: await bench.get(Kind.DEPLOYMENT, f"team-{name}") for name in ("first", "second")}
    templates = {name: body["spec"]["template"]["metadata"] for name, body in found.items()}
    return {name: t.get("annotations", {}).get("robotgroups.dev/login") for name, t in templates.items()}


async def until_marks(bench: Bench, first: str | None, second: str | None) -> None:
    async def are() -> bool:
        assert await marks(bench) == {"first": first, "second": second}
        return True

    await eventually(are)


async def connects(dsn: str) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(dsn):
            return True
    except psycopg.OperationalError:
        return False


async def come_over(bench: Bench, number: int, pod: PlayedPod) -> None:
    """A robot's old pod is gone, as it has said; the new one comes up with what the Secret holds now."""
    await pod.delete(grace=0)
    await bench.start_robot("team", number, await bench.start_pod("team", pod.robot))
    await bench.roll_out("team", pod.robot)
