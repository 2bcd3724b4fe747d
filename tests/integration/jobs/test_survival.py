"""Background work while Postgres goes away and comes back, and as somebody who may not do it."""

import logging
from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import psycopg
import pytest
from fake_llm import FakeLlm, Fault
from jobs_group import KEY, Group, vector_of
from postgres_server import PostgresServer
from robot_process import until

from robotgroups import upkeep
from robotgroups.errors import MemoryUnavailableError, NotPermittedError
from robotgroups.jobs import Claimant, JobKind
from robotgroups.logins import robot_dsn
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.presence import PresenceSession
from robotgroups.store import Store


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_vector_that_came_while_postgres_was_away_is_stored_when_it_is_back(
    group_of_its_own: Group, own_server: PostgresServer, fake: FakeLlm, mode: str
) -> None:
    group = group_of_its_own
    await group.declare(embedding=group.embedding())
    await group.host("a")
    fake.fail(Fault.HANG)
    (memory,) = await group.remember("water boils")

    async def asked() -> bool:
        return bool(fake.asked())

    await until(asked, "the robot is at it")
    await anyio.to_thread.run_sync(own_server.stop, mode)
    fake.recover()
    await anyio.to_thread.run_sync(own_server.start)
    await group.all_embedded(60)
    assert await group.vectors() == {memory: vector_of("water boils")}
    # and work goes on
    await group.remember("iron rusts")
    await group.all_embedded(60)
    assert len(await group.vectors()) == 2
    assert await group.jobs() == []
    texts = [text for request in fake.asked() for text in request.texts]
    if mode == "fast":
        assert texts == ["water boils", "iron rusts"]
    else:  # a crash may take the latest claims along: what was claimed is done again
        assert texts in (["water boils", "iron rusts"], ["water boils", "water boils", "iron rusts"])


async def test_upkeep_goes_on_when_postgres_is_back(
    group_of_its_own: Group,
    own_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    group = group_of_its_own
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(upkeep, "FIRST_S", 0.05)
    monkeypatch.setattr(upkeep, "EVERY_S", 0.05)
    await anyio.to_thread.run_sync(own_server.stop, "fast")
    with pytest.raises(MemoryUnavailableError):
        await upkeep.run_once(group.store)
    keeper = upkeep.Upkeep(group.store)
    keeper.start()

    async def told() -> bool:
        return "no upkeep now: Postgres is not available" in caplog.text

    await until(told, "it tells that Postgres is away")
    await anyio.to_thread.run_sync(own_server.start)
    await group.declare(embedding=group.embedding())
    await group.declare(embedding=group.embedding("other"))

    async def changed() -> bool:
        space = await group.space()
        return bool(space["serving"] == space["target"])

    await until(changed, "the empty model serves")
    await keeper.stop()


@pytest.fixture
async def intruder(group: Group) -> AsyncIterator[tuple[Store, int]]:
    """What another group's robot can do with its login, and that group."""
    other = await group.store.ensure_group(
        GroupKey(KEY.cluster, KEY.namespace_uid, "other"), GroupSettings(embedding=group.embedding())
    )
    await group.store.reconcile_members(other, ["a"], [])
    login = await group.store.ensure_login(other, "secret")
    async with await Store.open(robot_dsn(group.dsn, login, "secret")) as store:
        yield store, other


async def test_a_robots_login_does_no_other_groups_work(group: Group, intruder: tuple[Store, int]) -> None:
    store, other = intruder
    await group.declare(embedding=group.embedding())
    (memory,) = await group.remember("water boils")
    who = await group.present("a")
    (job,) = await group.claim(who)
    assert job.model is not None
    vectors = [(job, [1.0] * 32)]
    for attempt in (
        lambda: store.background_work(group.id),
        lambda: store.claim_jobs(group.id, who, [job.kind], 1),
        lambda: store.renew_jobs(group.id, who, [job.id]),
        lambda: store.release_jobs(group.id, who, [job.id]),
        lambda: store.fail_jobs(group.id, who, {job.id: "no"}, refused=True),
        lambda: store.finish_embeddings(group.id, job.model or 0, who, vectors),
        lambda: store.finish_tags(group.id, who, job, ["a"]),
        lambda: store.finish_propositions(group.id, who, job, ["a"]),
        lambda: store.tags_in_use(group.id, 1),
        lambda: store.unembedded(group.id),
    ):
        with pytest.raises(NotPermittedError, match=rf"may not use group {group.id}$"):
            await attempt()
    # by way of its own group it reaches no job and no model of the other one
    assert await store.renew_jobs(other, who, [job.id]) == 0
    assert await store.release_jobs(other, who, [job.id]) == 0
    assert await store.fail_jobs(other, who, {job.id: "no"}, refused=True) == 0
    assert await store.finish_embeddings(other, job.model, who, vectors) == 0
    assert not await store.finish_tags(other, who, job, ["a"])
    assert not await store.finish_propositions(other, who, job, ["a"])
    # and upkeep is none of its business
    report = await upkeep.run_once(store)
    assert report is not None
    assert report.done == {}
    assert set(report.failed) == {step.name for step in upkeep.STEPS}
    assert await group.jobs() == [(memory, "embed", 1, True, None, False)]
    assert await group.vectors() == {}


async def test_a_robots_login_does_its_own_groups_work(group: Group, intruder: tuple[Store, int]) -> None:
    store, own = intruder
    await group.store.remember(own, robot=None, tenure=None, content="iron rusts", tokens=2)
    who = Claimant("a", uuid4())
    async with await PresenceSession.open(store.dsn, own, who.incarnation) as session:
        await session.register("a", "", replace=False)
        (job,) = await store.claim_jobs(own, who, [JobKind.EMBED], 9)
        assert job.content == "iron rusts"
        assert job.model is not None
        assert await store.finish_embeddings(own, job.model, who, [(job, [1.0] * 32)]) == 1
    assert await store.unembedded(own) == 0


async def test_a_robots_login_keeps_nobody_from_upkeep(group: Group, intruder: tuple[Store, int]) -> None:
    store, _ = intruder
    async with await psycopg.AsyncConnection.connect(store.dsn, autocommit=True) as held:
        await held.execute("SELECT pg_advisory_lock(%s)", (upkeep.LOCK,))

        async def done() -> bool:
            return await upkeep.run_once(group.store) is not None

        await until(done, "upkeep is done")
        with pytest.raises(psycopg.OperationalError):
            await held.execute("SELECT 1")
