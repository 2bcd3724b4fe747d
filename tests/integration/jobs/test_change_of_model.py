"""Another embedding model: everything is embedded anew, and recall works throughout."""

from collections.abc import Iterator

import pytest
from fake_llm import FakeLlm, Fault
from jobs_group import API_KEY, Group, vector_of
from robot_process import until

from robotgroups import upkeep
from robotgroups.errors import MissingFeatureError
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.robot import HostedRobot

CONTENTS = ("water boils", "iron rusts", "wood burns")
OTHER_KEY = "sk-other-0123456789"


@pytest.fixture
def other() -> Iterator[FakeLlm]:
    """Another endpoint, which asks for another key."""
    with FakeLlm(dimensions=16, key=OTHER_KEY) as running:
        yield running


async def embedded(group: Group) -> tuple[HostedRobot, list[int]]:
    """A robot of a group whose model has embedded CONTENTS, and the memories."""
    await group.declare(embedding=group.embedding())
    robot = await group.host("a")
    ids = await group.remember(*CONTENTS)
    await group.all_embedded()
    return robot, ids


async def finds(robot: HostedRobot, query: str) -> str:
    """What vector recall finds first."""
    (best,) = await robot.recall(query, strategy="vector", limit=1)
    return best.content


async def backfilled(group: Group) -> None:
    """Waits until the model that is to serve next has embedded everything."""

    async def done() -> bool:
        return (await group.status()).backfill == 0

    await until(done, "the other model has embedded everything")


async def a_minute_later(group: Group) -> None:
    await group.sql("UPDATE robotgroups.spaces SET serving_since = serving_since - interval '1 minute'")


async def round_of_upkeep(group: Group) -> dict[str, int]:
    """What one round has done."""
    report = await upkeep.run_once(group.store)
    assert report is not None
    assert report.failed == {}
    return {name: count for name, count in report.done.items() if count}


async def test_recall_changes_over_when_everything_is_embedded_and_not_before(group: Group, other: FakeLlm) -> None:
    robot, ids = await embedded(group)
    former = (await group.space())["serving"]
    other.fail(Fault.SERVER_ERROR)
    await group.declare(embedding=group.embedding("other", 16, base_url=other.base_url))
    group.key_file.write_text(OTHER_KEY)
    target = (await group.space())["target"]
    assert await group.space() == {"serving": former, "target": target}
    assert target != former
    assert ((await group.status()).unembedded, (await group.status()).backfill) == (0, 3)
    # what is new is embedded by the former model too, as long as that one serves; the other key is none of its business
    (new,) = await group.remember("snow melts")

    async def known() -> bool:
        return new in await group.vectors(former)

    await until(known, "recall knows the new memory")
    assert await finds(robot, "boiling water") == "water boils"
    assert await finds(robot, "snow") == "snow melts"
    assert (await robot.embed_query("snow"))[0] == former
    assert await round_of_upkeep(group) == {}
    other.recover()
    await group.all_embedded()
    await backfilled(group)
    assert await group.space() == {"serving": former, "target": target}
    assert await finds(robot, "melting snow") == "snow melts"
    assert await round_of_upkeep(group) == {"finish_models": 1}
    assert await group.space() == {"serving": target, "target": target}
    assert await group.vectors() == {
        i: vector_of(content, 16) for i, content in zip([*ids, new], [*CONTENTS, "snow melts"], strict=True)
    }

    # every robot hears of it, and what it compared with until then stays for a while
    async def compares() -> bool:
        return bool((await robot.embed_query("snow"))[0] == target)

    await until(compares, "the robot compares with the other model")
    assert await finds(robot, "boiling water") == "water boils"
    assert await round_of_upkeep(group) == {}
    assert len(await group.vectors(former)) == 4
    await a_minute_later(group)
    assert await round_of_upkeep(group) == {"prune_models": 4}
    assert await group.sql("SELECT id FROM robotgroups.embedding_models") == [(target,)]
    assert await group.sql("SELECT DISTINCT model_id FROM robotgroups.embeddings") == [(target,)]


async def test_a_robot_that_restarts_with_the_next_models_key_sends_it_nowhere_else_and_recalls(
    group: Group, fake: FakeLlm, other: FakeLlm
) -> None:
    robot, ids = await embedded(group)
    former = (await group.space())["serving"]
    await robot.stop()
    group.key_file.write_text(OTHER_KEY)
    await group.declare(embedding=group.embedding("other", 16, base_url=other.base_url))
    await group.sql("UPDATE robotgroups.jobs SET not_before = now() + interval '1 hour' WHERE memory_id <> %s", ids[0])
    robot = await group.host("a")
    await group.remember("snow melts")

    async def half_done() -> bool:
        return await group.store.unembedded(group.id, (await group.space())["target"]) == 2

    await until(half_done, "the next model has embedded two of four")
    # the former one asks for a key that is not here any more: what the next one knows is found, the rest by its words
    found = await robot.recall("boiling water", strategy="vector")
    assert [m.content for m in found] == ["water boils", "snow melts"]
    assert found.unembedded == 2
    found = await robot.recall("iron", strategy="hybrid")
    assert "iron rusts" in [m.content for m in found]
    assert found.unembedded == 2
    assert (await group.space())["serving"] == former
    await group.sql("UPDATE robotgroups.jobs SET not_before = now()")
    await backfilled(group)
    assert await round_of_upkeep(group) == {"finish_models": 1}
    assert await finds(robot, "rusty iron") == "iron rusts"
    assert {seen.authorization for seen in fake.requests} == {f"Bearer {API_KEY}", None}
    assert {seen.authorization for seen in other.requests} == {f"Bearer {OTHER_KEY}"}


async def test_new_memories_come_before_the_backfill(group: Group) -> None:
    await group.remember(*CONTENTS)
    await group.declare(embedding=group.embedding())
    await group.remember("snow melts")
    a = await group.present("a")
    jobs = [await group.claim(a, limit=1) for _ in range(4)]
    assert [(job.content, job.kind.value) for (job,) in jobs] == [
        ("snow melts", "embed"),
        ("wood burns", "backfill"),
        ("iron rusts", "backfill"),
        ("water boils", "backfill"),
    ]
    assert await group.store.unembedded(group.id) == 4


async def test_a_model_that_was_named_by_mistake_is_named_no_more(group: Group, other: FakeLlm) -> None:
    robot, ids = await embedded(group)
    former = await group.space()
    other.fail(Fault.SERVER_ERROR)
    await group.declare(embedding=group.embedding("other", 16, base_url=other.base_url))
    await group.declare(embedding=group.embedding())
    assert await group.space() == former
    assert await group.jobs() == []
    assert set(await group.vectors()) == set(ids)
    await a_minute_later(group)
    assert await round_of_upkeep(group) == {}
    assert await group.sql("SELECT id FROM robotgroups.embedding_models") == [(former["serving"],)]
    assert await finds(robot, "boiling water") == "water boils"


async def test_a_change_in_the_middle_of_the_work_stores_nothing_of_the_former_model(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    (memory,) = await group.remember("water boils")
    a = await group.present("a")
    (job,) = await group.claim(a)
    assert job.model is not None
    await group.declare(embedding=group.embedding("other", 16))
    assert await group.store.finish_embeddings(group.id, job.model, a, [(job, [1.0] * 32)]) == 0
    (again,) = await group.claim(a)
    assert (again.memory_id, again.kind, again.model) == (memory, "embed", (await group.space())["target"])


async def test_a_memory_that_the_model_refuses_does_not_hold_the_change_up(group: Group, fake: FakeLlm) -> None:
    _, ids = await embedded(group)
    fake.poison = "rusts"
    await group.declare(embedding=group.embedding("other", 16))

    async def refused() -> bool:
        return [(m, attempts >= 3) for m, _, attempts, _, _, refused in await group.jobs() if refused] == [
            (ids[1], True)
        ]

    await until(refused, "it was tried three times", 60)
    assert await round_of_upkeep(group) == {"finish_models": 1}
    assert set(await group.vectors()) == {ids[0], ids[2]}
    assert (await group.status()).unembedded == 1
    # and it is still tried
    fake.poison = None
    await group.sql("UPDATE robotgroups.jobs SET not_before = now()")
    await group.all_embedded()
    assert set(await group.vectors()) == set(ids)


async def test_a_memory_at_which_the_model_fails_does_not_hold_the_change_up(group: Group, fake: FakeLlm) -> None:
    _, ids = await embedded(group)
    fake.breaks = "rusts"
    await group.declare(embedding=group.embedding("other", 16))

    async def changed() -> bool:
        await upkeep.run_once(group.store)
        space = await group.space()
        return bool(space["serving"] == space["target"])

    await until(changed, "the other model serves", 120)
    assert set(await group.vectors()) == {ids[0], ids[2]}
    assert (await group.status()).unembedded == 1


async def test_a_model_that_has_embedded_nothing_gives_way_at_once(group: Group, fake: FakeLlm) -> None:
    fake.fail(Fault.NOT_FOUND)
    await group.declare(embedding=group.embedding("mistyped", 16))
    ids = await group.remember(*CONTENTS)
    mistyped = (await group.space())["serving"]
    robot = await group.host("a")

    async def told() -> bool:
        return (await group.status()).job_error is not None

    await until(told, "the model is not found")
    fake.recover()
    await group.declare(embedding=group.embedding())
    space = await group.space()
    assert space["serving"] == space["target"] != mistyped
    assert (await group.status()).unembedded == len(ids)
    await group.all_embedded()
    assert await finds(robot, "boiling water") == "water boils"
    # whoever still compares with the former one is not cut off from it
    assert await round_of_upkeep(group) == {}
    await a_minute_later(group)
    await round_of_upkeep(group)
    assert await group.sql("SELECT id FROM robotgroups.embedding_models") == [(space["target"],)]


async def test_what_the_serving_model_lacks_is_told_during_a_change(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    a = await group.present("a")
    await group.remember(*CONTENTS)
    (job,) = await group.claim(a, limit=1)
    assert job.model is not None
    assert await group.store.finish_embeddings(group.id, job.model, a, [(job, [1.0] * 32)]) == 1
    await group.sql("UPDATE robotgroups.jobs SET kind = 'backfill'")  # as if the model had been chosen after them
    assert await group.store.unembedded(group.id) == 2
    # the second model has yet to embed all of them; the first one, which serves, never gets two of them
    await group.declare(embedding=group.embedding("other", 16))
    assert ((await group.status()).unembedded, (await group.status()).backfill) == (2, 3)
    await group.declare(embedding=group.embedding("third", 16))
    assert await group.store.unembedded(group.id) == 2
    target = (await group.space())["target"]
    assert await group.store.unembedded(group.id, target) == 3
    # without a provider nothing is to be known; what comes meanwhile is not embedded by anything
    await group.declare(embedding={"provider": "none"})
    assert await group.store.unembedded(group.id) == 0
    await group.remember("snow melts")
    await group.declare(embedding=group.embedding("fourth", 16))
    assert await group.store.unembedded(group.id) == 3
    await group.declare(embedding=group.embedding())
    assert await group.store.unembedded(group.id) == 3
    await group.declare(embedding=group.embedding("fourth", 16))
    await group.host("b")
    await backfilled(group)
    assert await round_of_upkeep(group) == {"finish_models": 1}
    assert await group.store.unembedded(group.id) == 0


async def test_what_is_missing_for_no_reason_is_found_before_the_change(group: Group) -> None:
    _, ids = await embedded(group)
    await group.declare(embedding=group.embedding("other", 16))
    await backfilled(group)
    await group.sql("DELETE FROM robotgroups.embeddings WHERE memory_id = %s", ids[0])
    assert await round_of_upkeep(group) == {}
    await backfilled(group)
    assert await round_of_upkeep(group) == {"finish_models": 1}
    assert set(await group.vectors()) == set(ids)


async def test_without_a_provider_nothing_is_compared_and_nothing_is_lost(group: Group, fake: FakeLlm) -> None:
    robot, ids = await embedded(group)
    await group.declare(embedding={"provider": "none"})

    async def told() -> bool:
        try:
            await robot.embed_query("water")
        except MissingFeatureError as error:
            return "has no embedding provider" in str(error)
        return False

    await until(told, "the robot has heard of it")
    await group.remember("snow melts")
    assert await group.jobs() == []
    await a_minute_later(group)
    assert await round_of_upkeep(group) == {}
    asked = len(fake.asked())
    await group.declare(embedding=group.embedding())
    await group.all_embedded()
    assert len(await group.vectors()) == 4
    assert [request.texts for request in fake.asked()[asked:]] == [["snow melts"]]
    assert set(ids) < set(await group.vectors())


async def test_groups_of_one_space_embed_by_the_spaces_model(group: Group, fake: FakeLlm) -> None:
    keys = [GroupKey("local", "default", name) for name in ("first", "second")]
    settings = [
        GroupSettings(space="common", embedding=group.embedding()),
        GroupSettings(space="common"),
    ]
    first, second = [await group.store.ensure_group(k, s) for k, s in zip(keys, settings, strict=True)]
    for group_id in (first, second):
        await group.store.reconcile_members(group_id, ["a"], [])
    group.id = second
    await group.host("a")
    one = await group.store.remember(first, robot=None, tenure=None, content="water boils", tokens=2)
    two = await group.store.remember(second, robot=None, tenure=None, content="iron rusts", tokens=2)
    await group.all_embedded()
    assert set(await group.vectors()) == {one.id, two.id}
    assert [await group.store.unembedded(group_id) for group_id in (first, second)] == [0, 0]
    assert {text for request in fake.asked() for text in request.texts} == {"water boils", "iron rusts"}


async def test_recall_tells_how_much_is_not_embedded_yet(group: Group, fake: FakeLlm) -> None:
    robot, _ = await embedded(group)
    assert (await robot.recall("water", strategy="vector")).unembedded == 0
    await robot.embed_query("snow")  # it is kept: the endpoint is not asked again
    fake.fail(Fault.SERVER_ERROR)
    await group.remember("snow melts")
    for strategy in ("vector", "hybrid"):
        found = await robot.recall("snow", strategy=strategy)
        assert found.unembedded == 1
        assert ("snow melts" in [m.content for m in found]) is (strategy == "hybrid")
    assert (await robot.recall("snow")).unembedded is None
    assert (await robot.recall("snow", strategy="vector", tags=["no:such"])).unembedded == 1
    assert API_KEY not in str(await group.status())
