"""Deaths: what the operator sees of them, what it does, what it tells."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from operator_bench import Bench, OperatorProcess, PlayedPod, PlayedRobot, eventually

from robotgroups.models import Role
from robotgroups.store import Store
from robotgroups_operator.names import Kind

FAILOVER = {"heartbeat": "100ms", "lease": "3s"}
SPEC: dict[str, Any] = {"active": [{"name": "first"}], "passive": [{"name": "second"}], "failover": FAILOVER}


@dataclass
class Pair:
    """A group of two that is Ready."""

    id: int
    first_pod: PlayedPod
    second_pod: PlayedPod
    first: PlayedRobot
    second: PlayedRobot


async def ready_pair(bench: Bench, store: Store, spec: dict[str, Any] = SPEC) -> Pair:
    await bench.apply("team", dict(spec))
    await bench.until_children("team", ["first", "second"])
    number = await store.find_group(await bench.key("team"))
    first, second = [await bench.start_pod("team", name) for name in ("first", "second")]
    robots = [await bench.start_robot("team", number, pod) for pod in (first, second)]
    await bench.until_phase("team", "Ready")
    return Pair(number, first, second, robots[0], robots[1])


async def until_role(pod: PlayedPod, role: str, serving: str) -> None:
    async def look() -> bool:
        labels = await pod.labels()
        assert (labels.get("robotgroups.dev/role"), labels["robotgroups.dev/serving"]) == (role, serving)
        return True

    await eventually(look)


async def test_becomes_ready(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await until_role(pair.first_pod, "active", "true")
    await until_role(pair.second_pod, "passive", "true")
    for kind, reason in (
        ("Ready", "RobotsReady"),
        ("FailoverReady", "StandbyReady"),
        ("InSync", "Applied"),
        ("MemoryAvailable", "Connected"),
    ):
        await bench.until_condition("team", kind, "True", reason)
    await bench.until_condition("team", "Progressing", "False", "Settled")
    robots = {robot["name"]: robot for robot in (await bench.status("team"))["robots"]}
    assert robots["first"]["pod"] == pair.first_pod.name
    assert (robots["first"]["role"], robots["first"]["ready"], robots["first"]["live"]) == ("active", True, True)
    assert "message" not in robots["first"]


async def test_a_dead_container_is_replaced_by_the_standby(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await pair.first.die()
    await pair.first_pod.end()
    await until_role(pair.second_pod, "active", "true")
    await until_role(pair.first_pod, "failed", "false")
    status = await bench.until_phase("team", "Degraded")
    assert (status["active"], status["passive"], status["failed"]) == (["second"], [], ["first"])
    last = status["lastFailover"]
    assert (last["kind"], last["from"], last["to"], last["detectedBy"]) == ("failover", "first", "second", "operator")
    assert last["reason"] == "its container ended (Error, exit code 137)"
    assert 0 <= last["durationMs"] < 1000
    assert status["failovers"] == 1
    assert (await bench.condition("team", "FailoverReady"))["reason"] == "NoPassiveRobot"
    (event,) = await bench.events("Failover")
    assert event.startswith("first failed: its container ended")
    assert len(await bench.events("RobotPromoted")) == 1

    await pair.first_pod.run()
    await bench.start_robot("team", pair.id, pair.first_pod)
    status = await bench.until_phase("team", "Ready")
    assert (status["active"], status["passive"], status["failed"]) == (["second"], ["first"], [])
    await until_role(pair.first_pod, "passive", "true")
    assert len(await bench.events("RobotReturned")) == 1


async def test_what_a_failover_took_is_counted_by_phase(bench: Bench, store: Store, running: OperatorProcess) -> None:
    pair = await ready_pair(bench, store)
    phases = [
        f'robotgroups_operator_failover_seconds_count{{kind="failover",phase="{phase}"}}'
        for phase in ("promote", "relabel", "status")
    ]
    before = {phase: running.figures().get(phase, 0) for phase in phases}
    await pair.first.die()
    await pair.first_pod.end()
    await bench.until_phase("team", "Degraded")

    async def counted() -> bool:
        return {phase: running.figures().get(phase, 0) for phase in phases} == {p: n + 1 for p, n in before.items()}

    await eventually(counted)


async def test_a_container_that_was_restarted_unseen_is_still_a_death(bench: Bench, store: Store) -> None:
    """The kubelet restarts at once: the API server may never show the end."""
    pair = await ready_pair(bench, store)
    await pair.first.die()
    await pair.first_pod.run(ready=False)
    status = await bench.until_phase("team", "Degraded")
    assert (status["active"], status["lastFailover"]["reason"]) == (["second"], "its container was restarted")


async def test_a_pod_that_is_gone_is_a_death(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await pair.first.die()
    await pair.first_pod.delete(grace=0)
    status = await bench.until_phase("team", "Degraded")
    assert (status["active"], status["lastFailover"]["reason"]) == (["second"], "its pod is gone")


async def until_handed_over(bench: Bench, store: Store, pair: Pair, reason: str) -> None:
    """By a switchover that the operator asked for, at once: both robots live on."""
    await until_role(pair.second_pod, "active", "true")
    (row,) = await store.failovers(pair.id)
    assert (row.kind, row.source, row.target) == ("switchover", "first", "second")
    assert (row.reason, row.detected_by) == (reason, "operator")
    status = await store.status(pair.id)
    assert (status.active, status.passive, status.failovers) == (("second",), ("first",), 0)
    (event,) = await eventually(lambda: bench.events("Switchover"))
    assert event == f"first handed over to second in epoch 2: {reason}"


async def test_a_pod_that_is_being_deleted_hands_over_at_once_and_is_no_death(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await pair.first_pod.delete(grace=60)
    await until_handed_over(bench, store, pair, "its pod is being deleted")
    condition = await bench.until_condition("team", "Ready", "False", "RobotsNotReady")
    assert "robot first: its pod is being deleted" in condition["message"]
    await asyncio.sleep(4)  # more than a lease: time in which nobody is to be replaced
    status = await bench.status("team")
    assert (status["active"], status["failovers"], status["epoch"]) == (["second"], 0, 2)


async def test_the_last_robot_whose_pod_is_deleted_keeps_its_role(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    for pod in (pair.second_pod, pair.first_pod):
        await pod.delete(grace=60)

    async def told() -> bool:
        return "robot first: its pod is being deleted" in (await bench.condition("team", "Ready"))["message"]

    await eventually(told)
    await asyncio.sleep(1)  # full of looks
    assert ((await store.status(pair.id)).active, await store.failovers(pair.id)) == (("first",), [])


async def test_a_robot_on_a_node_that_is_lost_hands_over(bench: Bench, store: Store) -> None:
    """It beats on: only the cluster knows that its node is not heard of."""
    pair = await ready_pair(bench, store)
    await pair.first_pod.lose_node()
    await until_handed_over(bench, store, pair, "its node is not ready")


async def test_a_robot_whose_node_is_tainted_hands_over_before_its_pod_is_deleted(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await pair.first_pod.be_taken_away("DeletionByTaintManager")
    await until_handed_over(bench, store, pair, "its pod is taken away (DeletionByTaintManager)")


async def test_an_evicted_robot_is_replaced(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await pair.first.die()
    await pair.first_pod.be_evicted()
    status = await bench.until_phase("team", "Degraded")
    reason = "its container ended (Evicted, The node was low on resource: memory)"
    assert (status["active"], status["lastFailover"]["reason"]) == (["second"], reason)


async def test_a_crash_loop_gives_the_place_to_the_standby(bench: Bench, store: Store) -> None:
    """Its container ends before the robot has registered: nobody has seen it alive."""
    status = await bench_with_an_active_robot_that_never_came(bench, store, PlayedPod.loop)
    assert status["lastFailover"]["reason"] == "its pod cannot start (CrashLoopBackOff)"


async def test_a_pod_that_no_node_takes_gives_the_place_to_the_standby(bench: Bench, store: Store) -> None:
    status = await bench_with_an_active_robot_that_never_came(bench, store, PlayedPod.have_no_node)
    assert status["lastFailover"]["reason"] == "its pod cannot start (Unschedulable)"


async def bench_with_an_active_robot_that_never_came(
    bench: Bench, store: Store, happens: Callable[[PlayedPod], Awaitable[None]]
) -> dict[str, Any]:
    await bench.apply("team", dict(SPEC))
    await bench.until_children("team", ["first", "second"])
    number = await store.find_group(await bench.key("team"))
    second_pod = await bench.start_pod("team", "second")
    await bench.start_robot("team", number, second_pod)
    first_pod = await bench.start_pod("team", "first", ready=False)
    await happens(first_pod)
    status = await bench.until_phase("team", "Degraded")
    assert (status["active"], status["failed"]) == (["second"], ["first"])
    return status


async def test_a_robot_that_is_back_within_the_delay_keeps_its_place(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store, SPEC | {"failover": FAILOVER | {"delay": "60s"}})
    await pair.first.die()
    await pair.first_pod.end()
    await until_role(pair.first_pod, "active", "false")
    condition = await bench.until_condition("team", "Ready", "False", "FailingOver")
    assert condition["message"].startswith(
        "spec.failover.delay is waited out before a standby takes over; robot first: "
    )
    await pair.first_pod.run()
    await bench.start_robot("team", pair.id, pair.first_pod)
    status = await bench.until_phase("team", "Ready")
    assert (status["active"], status["failovers"], status["epoch"]) == (["first"], 0, 2)


async def test_who_is_dead_for_the_delay_is_replaced_when_it_ends(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store, SPEC | {"failover": FAILOVER | {"delay": "1500ms"}})
    await pair.first.die()
    await pair.first_pod.end()
    status = await bench.until_phase("team", "Degraded")
    assert (status["active"], status["failed"]) == (["second"], ["first"])
    assert status["lastFailover"]["durationMs"] >= 1500


async def test_a_living_robot_survives_false_evidence(bench: Bench, store: Store) -> None:
    """Postgres has the last word: the presence session stands, whatever the cluster says (R3)."""
    pair = await ready_pair(bench, store)
    await pair.first_pod.end()
    await until_role(pair.first_pod, "active", "false")
    await asyncio.sleep(1)  # full of refused attempts
    assert (await store.status(pair.id)).active == ("first",)
    await pair.first_pod.run()
    await until_role(pair.first_pod, "active", "true")
    assert (await bench.until_phase("team", "Ready"))["failovers"] == 0


async def test_a_hung_robot_is_replaced_when_its_lease_ends(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await pair.first.hang()
    await until_role(pair.second_pod, "active", "true")
    await until_role(pair.first_pod, "failed", "false")
    (last,) = await store.failovers(pair.id)
    assert (last.source, last.target, last.detected_by) == ("first", "second", "operator")
    assert last.reason.startswith("its heartbeat stood still for 3.")


async def test_an_image_that_cannot_be_had_gives_the_place_to_the_standby(bench: Bench, store: Store) -> None:
    await bench.apply("team", dict(SPEC))
    await bench.until_children("team", ["first", "second"])
    number = await store.find_group(await bench.key("team"))
    second_pod = await bench.start_pod("team", "second")
    await bench.start_robot("team", number, second_pod)
    first_pod = await bench.start_pod("team", "first", ready=False)
    await first_pod.wait_for_image()
    status = await bench.until_phase("team", "Degraded")
    assert (status["active"], status["failed"]) == (["second"], ["first"])
    condition = await bench.until_condition("team", "Ready", "False", "ImagePullBackOff")
    assert 'robot first: ImagePullBackOff: Back-off pulling image "registry.example/robot:1"' in condition["message"]
    assert "correct template.image of robot first or of the group" in condition["message"]


async def test_without_a_standby_the_place_is_kept_for_its_robot(bench: Bench, store: Store) -> None:
    await bench.apply("team", {"active": [{"name": "first"}], "failover": FAILOVER})
    await bench.until_children("team", ["first"])
    number = await store.find_group(await bench.key("team"))
    pod = await bench.start_pod("team", "first")
    robot = await bench.start_robot("team", number, pod)
    await bench.until_phase("team", "Ready")
    assert (await bench.condition("team", "FailoverReady"))["reason"] == "NoPassiveRobot"
    await robot.die()
    await pod.end()
    status = await bench.until_phase("team", "Unavailable")
    assert (status["active"], status["failed"]) == ([], ["first"])
    await pod.run()
    await bench.start_robot("team", number, pod)
    status = await bench.until_phase("team", "Ready")
    assert (status["active"], status["failed"], status["failovers"]) == (["first"], [], 0)


async def test_a_manual_group_waits_for_a_person(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store, SPEC | {"failover": FAILOVER | {"mode": "Manual"}})
    assert (await bench.condition("team", "FailoverReady"))["reason"] == "ManualFailover"
    await pair.first.die()
    await pair.first_pod.end()
    condition = await bench.until_condition("team", "Ready", "False", "Error")
    assert "robot first: Error: exit code 137" in condition["message"]
    await asyncio.sleep(4)  # more than a lease
    assert (await store.status(pair.id)).active == ("first",)


async def test_roles_that_a_failover_moved_stay_when_the_resource_is_edited(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await pair.first.die()
    await pair.first_pod.end()
    await until_role(pair.second_pod, "active", "true")
    await bench.apply("team", SPEC | {"passive": [{"name": "second"}, {"name": "third"}]})
    await bench.until_children("team", ["first", "second", "third"])
    status = await store.status(pair.id)
    assert (status.named(Role.ACTIVE), status.named(Role.PASSIVE), status.named(Role.FAILED)) == (
        ("second",), ("third",), ("first",),
    )  # fmt: skip


async def test_a_robot_that_is_no_longer_declared_leaves(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await bench.apply("team", {"active": [{"name": "first"}], "passive": [], "failover": FAILOVER})
    await bench.until_children("team", ["first"])
    await pair.second.hang()
    assert [robot.name for robot in (await store.status(pair.id)).robots] == ["first"]
    (event,) = await eventually(lambda: bench.events("RobotLeft"))  # told after its children have gone
    assert event == "second, which was passive, left (epoch 2)"


async def test_a_new_image_restarts_one_robot_at_a_time(bench: Bench, store: Store) -> None:
    await ready_pair(bench, store)
    await bench.roll_out("team", "first")
    await bench.roll_out("team", "second")
    await bench.apply("team", SPEC | {"template": {"image": "registry.example/robot:2"}})

    async def images() -> list[str]:
        found = [await bench.get(Kind.DEPLOYMENT, f"team-{name}") for name in ("first", "second")]
        return [body["spec"]["template"]["spec"]["containers"][0]["image"].split(":")[1] for body in found]

    async def are(*tags: str) -> bool:
        return await images() == list(tags)

    await eventually(lambda: are("1", "2"))
    condition = await bench.until_condition("team", "Progressing", "True", "Applying")
    assert condition["message"] == "robot first is restarted with its new template once the others are ready"
    await asyncio.sleep(3)  # looks again and again: time in which the active robot is to wait
    assert await images() == ["1", "2"]
    await bench.roll_out("team", "second")
    await eventually(lambda: are("2", "2"))
