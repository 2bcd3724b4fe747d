"""Memories are embedded in the background: all of them, each once, whatever breaks meanwhile."""

import asyncio
from collections import Counter

import pytest
from fake_llm import FakeLlm, Fault
from jobs_group import API_KEY, Group, vector_of
from robot_process import until

from robotgroups.claims import Claims
from robotgroups.errors import ArgumentError
from robotgroups.jobs import JobKind


def sent(fake: FakeLlm) -> Counter[str]:
    """How often each text was sent to be embedded."""
    return Counter(text for request in fake.asked() for text in request.texts)


async def test_what_is_remembered_is_embedded(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.host("a")
    first, second = await group.remember("water boils", "iron rusts")
    await group.all_embedded()
    assert await group.vectors() == {first: vector_of("water boils"), second: vector_of("iron rusts")}
    assert await group.jobs() == []
    status = (await group.status()).as_dict()
    assert [status[name] for name in ("unembedded", "backfill", "failing_jobs", "job_error")] == [0, 0, 0, None]


async def test_a_group_without_a_provider_queues_nothing(group: Group, fake: FakeLlm) -> None:
    await group.host("a")
    await group.remember("water boils")
    assert await group.jobs() == []
    assert (await group.status()).unembedded == 0
    # switched on: what was there is embedded too
    await group.declare(embedding=group.embedding())
    await group.all_embedded()
    assert len(await group.vectors()) == 1


async def test_two_robots_embed_many_in_batches_and_none_of_them_twice(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    contents = [f"memory {n}" for n in range(500)]
    ids = await group.remember(*contents)
    assert (await group.status()).unembedded == 500
    await asyncio.gather(group.host("a"), group.host("b"))
    await group.all_embedded()
    assert sent(fake) == dict.fromkeys(contents, 1)
    assert max(len(request.texts) for request in fake.asked()) == 64
    assert await group.vectors() == {i: vector_of(content) for i, content in zip(ids, contents, strict=True)}


async def test_what_a_dead_robot_was_at_is_done_by_another(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    fake.fail(Fault.HANG)
    first, second = await group.remember("water boils", "iron rusts")
    a = await group.host("a")  # it finds both at once

    async def asked() -> bool:
        return bool(fake.asked())

    await until(asked, "the robot is at it")
    await group.crash(a)
    fake.recover()
    assert await group.vectors() == {}
    await group.host("b")
    assert [claimed for *_, claimed, _, _ in await group.jobs()] == [True, True]
    await group.time_runs_out()
    await group.all_embedded()
    assert await group.vectors() == {first: vector_of("water boils"), second: vector_of("iron rusts")}


async def test_a_claim_keeps_others_off_until_its_time_runs_out(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    (memory,) = await group.remember("water boils")
    a, b = await group.present("a"), await group.present("b")
    (job,) = await group.claim(a)
    assert (job.memory_id, job.kind, job.content, job.version, job.attempts) == (
        memory,
        JobKind.EMBED,
        "water boils",
        1,
        1,
    )
    assert await group.claim(b) == []
    await group.time_runs_out()
    (again,) = await group.claim(b)
    assert (again.id, again.attempts) == (job.id, 2)
    # the first one is late: nothing of it counts
    assert job.model is not None
    assert await group.store.finish_embeddings(group.id, job.model, a, [(job, [1.0] * 32)]) == 0
    assert await group.store.fail_jobs(group.id, a, {job.id: "late"}, refused=False) == 0
    assert await group.store.release_jobs(group.id, a, [job.id]) == 0
    assert await group.store.renew_jobs(group.id, a, [job.id]) == 0
    assert await group.vectors() == {}
    assert await group.store.finish_embeddings(group.id, job.model, b, [(again, [0.5] * 32)]) == 1
    assert await group.vectors() == {memory: [0.5] * 32}


async def test_who_is_not_present_claims_nothing(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.remember("water boils")
    former = await group.present("a")
    await group.present("a")
    assert await group.claim(former) == []


async def test_claims_are_held_for_as_long_as_the_work_takes(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.remember("water boils", "iron rusts")
    a, b = await group.present("a"), await group.present("b")
    claims = Claims(group.store, group.id, lease_s=1.0)

    async def claimed_until() -> float:
        ((seconds,),) = await group.sql("SELECT extract(epoch FROM min(not_before)) FROM robotgroups.jobs")
        return float(seconds)

    async with claims.held(a, [JobKind.EMBED], 10) as jobs:
        at_first = await claimed_until()

        async def renewed() -> bool:
            assert await group.claim(b) == []
            return await claimed_until() > at_first + 2

        await until(renewed, "the claims have been renewed for longer than a lease")
        await claims.settle([jobs[0].id], lambda: group.store.fail_jobs(group.id, a, {jobs[0].id: "no"}, refused=True))
    # what has no outcome is given back at the end
    assert [(claimed, error) for _, _, _, claimed, error, _ in await group.jobs()] == [(False, "no"), (False, None)]
    assert [job.id for job in await group.claim(b)] == [jobs[1].id]


async def test_a_robot_that_stops_gives_back_what_it_was_at(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    a = await group.host("a")
    fake.fail(Fault.HANG)
    (memory,) = await group.remember("water boils")

    async def asked() -> bool:
        return bool(fake.asked())

    await until(asked, "the robot is at it")
    await a.stop()
    assert await group.jobs() == [(memory, "embed", 0, False, None, False)]
    assert len(await group.claim(await group.present("b"))) == 1


async def test_an_endpoint_that_is_away_holds_nothing_up(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    a = await group.host("a")
    fake.stop()
    await a.remember("water boils")
    await a.remember("iron rusts")

    async def told() -> bool:
        return (await group.status()).failing_jobs > 0

    await until(told, "the failure is visible")
    status = await group.status()
    assert status.unembedded == 2
    assert status.job_error is not None
    assert status.job_error.startswith(f"the embedding endpoint {fake.base_url} (model fake) cannot be reached")
    fake.start()
    await group.all_embedded(60)
    assert len(await group.vectors()) == 2
    assert (await group.status()).job_error is None


async def test_a_wrong_key_is_told_and_a_right_one_is_taken_without_a_restart(group: Group, fake: FakeLlm) -> None:
    wrong = "sk-wrong-987"
    group.key_file.write_text(f"{wrong}\n")
    await group.declare(embedding=group.embedding())
    await group.host("a")
    await group.remember("water boils")

    async def told() -> str | None:
        return (await group.status()).job_error

    error = await until(told, "the failure is visible")
    assert "answered 401" in error
    assert error.endswith(": check the API key")
    assert wrong not in error
    group.key_file.write_text(f"{API_KEY}\n")
    await group.all_embedded()
    assert len(await group.vectors()) == 1


async def test_settings_that_are_put_right_are_taken_without_a_restart(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding(base_url=f"{fake.base_url}/wrong"))
    await group.host("a")
    await group.remember("water boils")

    async def told() -> str | None:
        return (await group.status()).job_error

    assert "answered 404" in await until(told, "the failure is visible")
    await group.declare(embedding=group.embedding())
    await group.all_embedded()
    # the same model as before: there is nothing to change over
    assert (await group.space())["serving"] == (await group.space())["target"]


async def test_a_text_that_the_model_refuses_spares_the_others(group: Group, fake: FakeLlm) -> None:
    fake.poison = "poison"
    await group.declare(embedding=group.embedding())
    await group.host("a")
    good, bad, other = await group.remember("water boils", "a poison", "iron rusts")

    async def one_left() -> bool:
        return await group.store.unembedded(group.id) == 1

    await until(one_left, "all but one are embedded")
    assert set(await group.vectors()) == {good, other}
    ((memory, kind, attempts, _, error, refused),) = await group.jobs()
    assert (memory, kind, refused) == (bad, "embed", True)
    assert attempts >= 1
    assert "answered 400 (input is invalid)" in error
    fake.poison = None  # it is tried again and again
    await group.all_embedded()
    assert set(await group.vectors()) == {good, bad, other}


async def test_pauses_grow_to_an_hour_for_a_text_and_to_a_minute_for_an_endpoint(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.remember("water boils")
    a = await group.present("a")

    async def pause(*, refused: bool) -> float:
        (job,) = await group.claim(a)
        assert await group.store.fail_jobs(group.id, a, {job.id: "no" * 1000}, refused=refused) == 1
        ((seconds, length),) = await group.sql(
            "SELECT extract(epoch FROM not_before - now()), length(error) FROM robotgroups.jobs"
        )
        await group.sql("UPDATE robotgroups.jobs SET not_before = now()")
        assert length == 500
        return round(float(seconds))

    assert [await pause(refused=True) for _ in range(13)] == [
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        512,
        1024,
        2048,
        3600,
        3600,
    ]
    assert await pause(refused=False) == 60


async def test_a_memory_that_is_updated_meanwhile_is_embedded_as_it_is_now(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    (memory,) = await group.remember("water boils")
    a = await group.present("a")
    (job,) = await group.claim(a)
    assert job.model is not None
    await group.sql(
        "UPDATE robotgroups.memories SET content = 'water freezes', version = version + 1, "
        "content_hash = robotgroups.memory_hash('water freezes', scope) WHERE id = %s",
        memory,
    )
    assert await group.store.finish_embeddings(group.id, job.model, a, [(job, [1.0] * 32)]) == 0
    assert await group.vectors() == {}
    (again,) = await group.claim(a)
    assert (again.content, again.version, again.attempts) == ("water freezes", 2, 1)
    # by its version alone, whoever changed it and however
    await group.sql("UPDATE robotgroups.memories SET version = version + 1")
    assert await group.store.finish_embeddings(group.id, job.model, a, [(again, [1.0] * 32)]) == 0
    assert await group.vectors() == {}
    await group.host("b")
    await group.all_embedded()
    assert await group.vectors() == {memory: vector_of("water freezes")}


async def test_an_embedded_memory_that_is_updated_loses_its_vector_and_gets_another(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.host("a")
    (memory,) = await group.remember("water boils")
    await group.all_embedded()
    await group.sql("UPDATE robotgroups.memories SET content = 'iron rusts', version = version + 1")
    await group.all_embedded()
    assert await group.vectors() == {memory: vector_of("iron rusts")}


async def test_a_forgotten_memory_is_shown_to_no_model_until_it_is_restored(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    first, second = await group.remember("water boils", "iron rusts")
    a = await group.present("a")
    jobs = await group.claim(a)
    assert jobs[0].model is not None
    await group.store.forget(group.id, robot=None, tenure=None, memory_id=first)
    # in the middle of it
    late = [(job, [1.0] * 32) for job in jobs]
    assert await group.store.finish_embeddings(group.id, jobs[0].model, a, late) == 1
    assert set(await group.vectors()) == {second}
    assert await group.store.unembedded(group.id) == 0
    assert await group.claim(a) == []
    # what was embedded before is not embedded again
    await group.store.forget(group.id, robot=None, tenure=None, memory_id=second)
    await group.store.restore(group.id, robot=None, tenure=None, memory_id=second)
    assert await group.claim(a) == []
    await group.store.restore(group.id, robot=None, tenure=None, memory_id=first)
    assert await group.store.unembedded(group.id) == 1
    await group.host("b")
    await group.all_embedded()
    assert set(await group.vectors()) == {first, second}
    assert sent(fake) == {"water boils": 1}


async def test_an_expired_memory_is_shown_to_no_model(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    _, kept = await group.remember("water boils", "iron rusts")
    await group.sql("UPDATE robotgroups.memories SET expires_at = now() - interval '1 second' WHERE id <> %s", kept)
    assert [job.memory_id for job in await group.claim(await group.present("a"))] == [kept]


async def test_a_memory_that_is_deleted_meanwhile_is_over(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.remember("water boils")
    a = await group.present("a")
    (job,) = await group.claim(a)
    assert job.model is not None
    await group.sql("DELETE FROM robotgroups.memories")
    assert await group.store.finish_embeddings(group.id, job.model, a, [(job, [1.0] * 32)]) == 0
    assert await group.jobs() == []


async def test_long_vectors_are_stored_in_half_precision(group: Group, fake: FakeLlm) -> None:
    fake.dimensions = 2001
    await group.declare(embedding=group.embedding(dimensions=2001))
    await group.host("a")
    (memory,) = await group.remember("water boils")
    await group.all_embedded()
    ((single, half),) = await group.sql(
        "SELECT embedding IS NULL, public.vector_dims(half) FROM robotgroups.embeddings"
    )
    assert (single, half) == (True, 2001)
    (vector,) = (await group.vectors()).values()
    assert vector == pytest.approx(vector_of("water boils", 2001).expected, abs=1e-3)
    found = await (await group.host("b")).recall("boiling water", strategy="vector")
    assert [m.id for m in found] == [memory]


async def test_vectors_of_another_length_than_the_models_are_refused(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.remember("water boils")
    a = await group.present("a")
    (job,) = await group.claim(a)
    assert job.model is not None
    for length in (31, 33, 2001):
        with pytest.raises(ArgumentError, match=r"has vectors of 32 dimensions .*, not "):
            await group.store.finish_embeddings(group.id, job.model, a, [(job, [1.0] * length)])


async def test_only_the_beginning_of_a_long_text_is_read(group: Group) -> None:
    await group.declare(embedding=group.embedding())
    await group.remember("0123456789" * 100)
    a = await group.present("a")
    (job,) = await group.store.claim_jobs(group.id, a, [JobKind.EMBED], 1, max_characters=12)
    assert job.content == "012345678901"


async def test_a_text_at_which_the_endpoint_fails_is_found_and_spares_the_others(group: Group, fake: FakeLlm) -> None:
    fake.breaks = "poison"
    await group.declare(embedding=group.embedding())
    good, bad, other, worse = await group.remember("water boils", "a poison", "iron rusts", "more poison")
    await group.host("a")

    async def found() -> bool:
        return [(m, attempts >= 3) for m, _, attempts, _, _, refused in await group.jobs() if refused] == [
            (bad, True),
            (worse, True),
        ]

    await until(found, "both were tried three times", 120)

    async def others() -> bool:
        return set(await group.vectors()) == {good, other}

    await until(others, "the others are embedded")
    error = (await group.status()).job_error
    assert error is not None
    assert error.endswith("answered 500 (unsupported value: NaN). It has answered for another text just before")
    fake.breaks = None  # it is tried again and again
    await group.sql("UPDATE robotgroups.jobs SET not_before = now()")
    await group.all_embedded()
    assert set(await group.vectors()) == {good, bad, other, worse}


async def test_while_the_endpoint_is_away_no_text_is_blamed(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    (memory,) = await group.remember("water boils")
    await group.sql("UPDATE robotgroups.jobs SET attempts = 7")
    fake.fail(Fault.SERVER_ERROR)
    await group.host("a")

    async def failed() -> bool:
        return (await group.status()).job_error is not None

    await until(failed, "the failure is noted")
    assert [(m, attempts, refused) for m, _, attempts, _, _, refused in await group.jobs()] == [(memory, 8, False)]
    assert {text for request in fake.asked() for text in request.texts} == {"probe"}


@pytest.mark.parametrize(("batch_size", "most"), [(10, 10), (200, 200), (2048, 256)])
async def test_a_robot_takes_as_many_at_a_time_as_a_request_may_carry_within_bounds(
    group: Group, fake: FakeLlm, batch_size: int, most: int
) -> None:
    await group.declare(embedding=group.embedding(batch_size=batch_size))
    await group.remember(*(f"memory {n}" for n in range(300)))
    await group.host("a")
    await group.all_embedded()
    assert max(len(request.texts) for request in fake.asked()) == most


async def test_an_error_that_postgres_cannot_store_as_it_came_is_noted(group: Group, fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding())
    await group.remember("water boils")
    fake.fail(Fault.UNSTORABLE)
    await group.host("a")

    async def told() -> str | None:
        return (await group.status()).job_error

    assert "answered 500 (\ufffd and \ufffd)" in await until(told, "the failure is noted")
