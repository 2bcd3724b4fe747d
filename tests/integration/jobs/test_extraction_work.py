"""Tags and propositions of an LLM come to the memories in the background, and every cache hears of them."""

import json

import pytest
from fake_llm import FakeLlm, Fault
from jobs_group import Group
from robot_process import until

from robotgroups.errors import UnknownMemoryError
from robotgroups.jobs import Job, JobKind
from robotgroups.models import ChangeKind, GroupKey, GroupSettings

TEXT = "PostgreSQL stores memories. Robots share memories."
TAGS = ("topic:memories", "topic:postgresql", "topic:stores")


async def all_extracted(group: Group) -> None:
    """Waits until nothing is left to extract."""

    async def done() -> bool:
        return not [kind for _, kind, *_ in await group.jobs() if kind in {"tags", "propositions"}]

    await until(done, "everything is extracted")


async def propositions(group: Group, memory_id: int) -> list[str] | None:
    ((stored,),) = await group.sql("SELECT propositions FROM robotgroups.memories WHERE id = %s", memory_id)
    return stored  # type: ignore[no-any-return]


async def tag_job(group: Group, robot: str = "a") -> tuple[Job, object]:
    """A claimed job of tags, and what finishes it."""
    who = await group.present(robot)
    (job,) = await group.claim(who, JobKind.TAGS)

    async def finish(*tags: str) -> bool:
        return await group.store.finish_tags(group.id, who, job, tags)

    return job, finish


async def test_tags_and_propositions_come_to_a_new_memory(group: Group, fake: FakeLlm) -> None:
    await group.declare(extraction=group.extraction())
    a, b = await group.host("a"), await group.host("b")
    done = await a.remember(TEXT, tags=["given:by-me"])
    await all_extracted(group)
    assert (await group.memory(done.id)).tags == ("given:by-me", *TAGS)
    assert await propositions(group, done.id) == ["PostgreSQL stores memories.", "Robots share memories."]
    # it is a change like any other: one event, and every cache has it (M3)
    changes = await group.store.changes(group.id, done.revision)
    assert [(c.kind, c.memory_id, c.payload["tags"], c.robot) for c in changes if c.kind is not ChangeKind.ROLE] == [
        (ChangeKind.UPDATED, done.id, ["given:by-me", *TAGS], "a")
    ]
    for robot in (a, b):
        await robot.wait_revision(changes[-1].revision)
        assert robot.cache.memories[done.id].tags == ("given:by-me", *TAGS)
    assert len(fake.asked("/v1/chat/completions")) == 2
    # by its tags it is related to others
    other = await a.remember("A memory with a tag.", tags=["topic:memories"])

    async def related() -> bool:
        return await group.jobs() == [] and [r.memory.id for r in await a.related(done.id)] == [other.id]

    await until(related, "they are related")


async def test_only_what_is_wanted_is_extracted_and_only_of_new_memories(group: Group, fake: FakeLlm) -> None:
    (old,) = await group.remember("An old memory without tags.")
    await group.declare(extraction=group.extraction(tags=False))
    await group.host("a")
    (new,) = await group.remember(TEXT)
    await all_extracted(group)
    assert await propositions(group, old) is None
    assert await propositions(group, new) == ["PostgreSQL stores memories.", "Robots share memories."]
    assert (await group.memory(new)).tags == ()
    assert len(fake.asked("/v1/chat/completions")) == 1


async def test_the_tags_in_use_are_told_the_most_used_first(group: Group, fake: FakeLlm) -> None:
    await group.remember("one", tags=["rare:one"])
    await group.remember("two", "three", tags=["common:many"])
    await group.remember("four", tags=["common:many", "also:once"])
    assert await group.store.tags_in_use(group.id, 2) == ["common:many", "also:once"]
    await group.declare(extraction=group.extraction(propositions=False))
    await group.host("a")
    await group.remember(TEXT)
    await all_extracted(group)
    (asked,) = fake.asked("/v1/chat/completions")
    prompt = asked.body["messages"][0]["content"]
    assert prompt.endswith("\ncommon:many\nalso:once\nrare:one")


async def test_tags_that_are_there_change_nothing(group: Group, fake: FakeLlm) -> None:
    fake.says = [json.dumps({"tags": ["given:by-me"]})]
    await group.declare(extraction=group.extraction(propositions=False))
    await group.host("a")
    await group.remember(TEXT, tags=["given:by-me"])
    before = (await group.status()).revision
    await all_extracted(group)
    assert (await group.status()).revision == before


async def test_no_memory_gets_more_tags_than_it_may_have(group: Group) -> None:
    await group.declare(extraction=group.extraction(propositions=False))
    given = [f"given:{n:02}" for n in range(63)]
    (memory,) = await group.remember(TEXT, tags=given)
    _, finish = await tag_job(group)
    assert await finish("given:00", "zeta:first", "alpha:second")  # type: ignore[operator]
    assert (await group.memory(memory)).tags == (*given, "zeta:first")


async def test_a_memory_that_is_updated_meanwhile_is_read_again(group: Group) -> None:
    await group.declare(extraction=group.extraction())
    (memory,) = await group.remember(TEXT)
    job, finish = await tag_job(group)
    who = await group.present("b")
    (other,) = await group.claim(who, JobKind.PROPOSITIONS)
    await group.sql("UPDATE robotgroups.memories SET version = version + 1")
    assert not await finish("too:late")  # type: ignore[operator]
    assert not await group.store.finish_propositions(group.id, who, other, ["Too late."])
    assert (await group.memory(memory)).tags == ()
    assert await propositions(group, memory) is None
    again = await group.claim(who, JobKind.TAGS, JobKind.PROPOSITIONS)
    assert [(j.id, j.version, j.attempts) for j in again] == [(job.id, 2, 1), (other.id, 2, 1)]


async def test_propositions_of_a_former_content_go_with_it(group: Group) -> None:
    await group.declare(extraction=group.extraction(tags=False))
    await group.host("a")
    (memory,) = await group.remember(TEXT)
    await all_extracted(group)
    await group.sql("UPDATE robotgroups.memories SET content = 'Snow melts.', version = version + 1")
    await all_extracted(group)
    assert await propositions(group, memory) == ["Snow melts."]


async def test_propositions_are_read_and_full_text_recall_does_not_search_them(group: Group) -> None:
    a = await group.host("a")
    (memory,) = await group.remember(TEXT)
    assert await a.propositions(memory) == []
    await group.sql("UPDATE robotgroups.memories SET propositions = '{Robots remember.,Databases last.}'")
    assert await a.propositions(memory) == ["Robots remember.", "Databases last."]
    assert [m.id for m in await a.recall("robots")] == [memory]
    assert await a.recall("databases") == []
    await a.forget(memory)
    assert await a.propositions(memory) == ["Robots remember.", "Databases last."]
    await group.sql("UPDATE robotgroups.memories SET expires_at = now()")
    for unknown in (memory, memory + 1):
        with pytest.raises(UnknownMemoryError, match=f"no memory has id {unknown}"):
            await a.propositions(unknown)


async def test_whose_claim_is_gone_adds_nothing(group: Group) -> None:
    await group.declare(extraction=group.extraction())
    (memory,) = await group.remember(TEXT)
    _, finish = await tag_job(group)
    await group.time_runs_out()
    _, finish_again = await tag_job(group, "b")
    assert not await finish("too:late")  # type: ignore[operator]
    assert (await group.memory(memory)).tags == ()
    assert await finish_again("in:time")  # type: ignore[operator]
    assert (await group.memory(memory)).tags == ("in:time",)


async def test_a_text_that_the_model_refuses_spares_the_others(group: Group, fake: FakeLlm) -> None:
    fake.poison = "poison"
    await group.declare(extraction=group.extraction(propositions=False))
    await group.host("a")
    bad, good = await group.remember("A poison for models.", TEXT)

    async def told() -> bool:
        return bool((await group.memory(good)).tags) and (await group.status()).failing_jobs == 1

    await until(told, "the one is tagged, and the other told")
    assert [(m, kind, refused) for m, kind, _, _, error, refused in await group.jobs() if error] == [
        (bad, "tags", True)
    ]
    fake.poison = None
    await all_extracted(group)
    assert (await group.memory(bad)).tags == ("topic:models", "topic:poison")


async def test_an_endpoint_that_fails_for_a_while_costs_nothing(group: Group, fake: FakeLlm) -> None:
    fake.fail(Fault.SERVER_ERROR, 4)
    await group.declare(extraction=group.extraction(propositions=False))
    await group.host("a")
    (memory,) = await group.remember(TEXT)
    await all_extracted(group)
    assert (await group.memory(memory)).tags == TAGS
    assert (await group.status()).failing_jobs == 0


async def test_what_is_wanted_no_more_is_not_done(group: Group, fake: FakeLlm) -> None:
    await group.declare(extraction=group.extraction())
    (memory,) = await group.remember(TEXT)
    await group.declare(extraction=group.extraction(propositions=False))
    assert [kind for _, kind, *_ in await group.jobs()] == ["tags"]
    await group.declare(extraction={"provider": "none"})
    assert await group.jobs() == []
    await group.host("a")
    await group.remember("Snow melts.")
    assert await group.jobs() == []
    assert (await group.memory(memory)).tags == ()
    assert fake.asked("/v1/chat/completions") == []


async def test_every_group_of_a_space_hears_of_the_tags(group: Group) -> None:
    both = []
    for name in ("first", "second"):
        settings = GroupSettings(space="common", extraction=group.extraction(propositions=False))
        both.append(await group.store.ensure_group(GroupKey("local", "default", name), settings))
        await group.store.reconcile_members(both[-1], ["a"], [])
    for group_id in both:
        done = await group.store.remember(group_id, robot=None, tenure=None, content=TEXT, tokens=9)
    group.id = both[0]
    await group.host("a")
    await all_extracted(group)
    for group_id in both:
        snapshot = await group.store.snapshot(group_id)
        assert [(m.id, m.tags) for m in snapshot.working_memory] == [(done.id, TAGS)]
        last = (await group.store.changes(group_id, 0))[-1]
        assert (last.revision, last.kind, last.payload["tags"]) == (snapshot.revision, ChangeKind.UPDATED, list(TAGS))
