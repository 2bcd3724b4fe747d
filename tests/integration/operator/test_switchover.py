"""A switchover that is asked for by an annotation: done once for each value, told, and not enforced again."""

import asyncio

from operator_bench import Bench, OperatorProcess, eventually

from robotgroups.store import Store

from .test_failover import SPEC, ready_pair, until_role


async def until_handled(bench: Bench, value: str | None) -> None:
    async def handled() -> bool:
        return bool((await bench.status("team")).get("observedSwitchover") == value)

    await eventually(handled)


async def until_active(bench: Bench, name: str) -> None:
    async def active() -> bool:
        return bool((await bench.status("team"))["active"] == [name])

    await eventually(active)


async def test_an_annotation_moves_the_role_once(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store)
    await bench.annotate("team", switchover="second")
    await until_role(pair.second_pod, "active", "true")
    await until_role(pair.first_pod, "passive", "true")
    await until_handled(bench, "second")
    await until_active(bench, "second")
    status = await bench.status("team")
    last = status["lastFailover"]
    assert (last["kind"], last["from"], last["to"]) == ("switchover", "first", "second")
    assert (last["reason"], last["detectedBy"], status["failovers"]) == ("requested", "annotation", 0)
    assert await bench.events("SwitchoverDone") == ["robotgroups.dev/switchover=second: first handed over to second"]

    # the role moves on; the annotation is still there, and is not enforced again
    await store.switchover(pair.id, asked_by="test")
    await until_active(bench, "first")
    await bench.annotate("team", note="something else")
    await asyncio.sleep(3)  # a resync: time in which it is to do nothing
    assert (await bench.status("team"))["active"] == ["first"]

    # taken away and given again it is another request
    await bench.annotate("team", switchover=None)
    await until_handled(bench, None)
    await bench.annotate("team", switchover="second")
    await until_active(bench, "second")
    await bench.annotate("team", switchover="first")
    await until_handled(bench, "first")
    await until_active(bench, "first")
    assert len(await store.failovers(pair.id)) == 4


async def test_a_restarted_operator_does_not_do_it_again(bench: Bench, store: Store, running: OperatorProcess) -> None:
    pair = await ready_pair(bench, store)
    await bench.annotate("team", switchover="second")
    await until_handled(bench, "second")
    running.kill()
    await store.switchover(pair.id, asked_by="test")
    running.start()
    await until_active(bench, "first")
    await asyncio.sleep(3)  # a resync: time in which it is to do nothing
    assert (await bench.status("team"))["active"] == ["first"]
    assert len(await store.failovers(pair.id)) == 2


async def test_what_was_done_and_not_noted_is_found_done(bench: Bench, store: Store, running: OperatorProcess) -> None:
    """The operator died between the two: it asks for no second switchover."""
    pair = await ready_pair(bench, store)
    running.kill()
    await bench.annotate("team", switchover="second")
    await store.switchover(pair.id, target="second", asked_by="annotation")
    running.start()
    await until_handled(bench, "second")
    assert len(await store.failovers(pair.id)) == 1
    assert await bench.events("SwitchoverDone") == ["robotgroups.dev/switchover=second: second is active already"]


async def test_a_standby_that_is_not_warm_is_waited_for_in_mode_manual_too(bench: Bench, store: Store) -> None:
    pair = await ready_pair(bench, store, SPEC | {"failover": SPEC["failover"] | {"mode": "Manual"}})
    pair.second.warm = False

    async def cold() -> bool:
        return not (await store.status(pair.id)).robots[1].warm

    await eventually(cold)
    await bench.annotate("team", switchover="second")

    async def told() -> list[str]:
        return await bench.events("SwitchoverWaits")

    words = "second is not warm: it has not caught up with the group, or is not running"
    assert await eventually(told) == [f"robotgroups.dev/switchover=second: {words}"]
    assert "observedSwitchover" not in await bench.status("team")
    assert await store.failovers(pair.id) == []
    pair.second.warm = True
    await until_handled(bench, "second")
    await until_active(bench, "second")
    assert len(await told()) == 1


async def test_a_robot_that_there_is_not_is_refused_for_good(bench: Bench, store: Store) -> None:
    await ready_pair(bench, store)
    await bench.annotate("team", switchover="Nobody / at all")
    await until_handled(bench, "Nobody / at all")
    words = "the group has no robot Nobody / at all: name one of its robots (first, second)"
    assert await bench.events("SwitchoverRefused") == [f"robotgroups.dev/switchover=Nobody / at all: {words}"]
    assert (await bench.status("team"))["active"] == ["first"]
