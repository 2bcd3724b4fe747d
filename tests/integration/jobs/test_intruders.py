"""S1: what a robot's login can do in the background, and what it holds while it stays in a transaction for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import psycopg
import pytest
from jobs_group import KEY, Group
from psycopg import conninfo
from robot_process import until

from robotgroups import intruders, migrations, upkeep
from robotgroups.erasing import Erasure
from robotgroups.errors import NotPermittedError
from robotgroups.jobs import Claimant, JobKind
from robotgroups.logins import robot_dsn
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.presence import PresenceSession
from robotgroups.store import Store

LIMIT_S = 10


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
    assert set(report.failed) == {step.name for step in upkeep.all_steps()}
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


# -- what it holds -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def idle(store: Store, statement: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A session of the login that has run a statement, and stays in its transaction."""
    async with await psycopg.AsyncConnection.connect(store.dsn) as connection:
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        await connection.execute(statement.encode())
        yield connection
        await connection.rollback()


@pytest.mark.parametrize(
    "attack",
    [
        "SELECT robotgroups.finish_embeddings({own}, 0, gen_random_uuid(), ARRAY(SELECT generate_series(1, 100000)), "
        "'{{}}', NULL, NULL)",
        "SELECT robotgroups.finish_propositions({own}, gen_random_uuid(), n, 1, '{{}}') FROM generate_series(1, 100) n",
        "SELECT robotgroups.finish_tags({own}, 'a', gen_random_uuid(), n, 1, '{{}}') FROM generate_series(1, 100) n",
    ],
    ids=["embeddings", "propositions", "tags"],
)
async def test_who_names_others_jobs_holds_none_of_their_memories(
    group: Group, intruder: tuple[Store, int], attack: str
) -> None:
    store, own = intruder
    await group.declare(embedding=group.embedding(), extraction=group.extraction())
    kept, erased = await group.remember("water boils", "iron rusts")
    assert len(await group.jobs()) == 6
    async with idle(store, attack.format(own=own)):
        with anyio.fail_after(LIMIT_S):
            await group.sql("SET lock_timeout = '5s'; UPDATE robotgroups.memories SET propositions = '{}'")
            done = await group.store.erase(group.id, robot=None, tenure=None, erasure=Erasure(ids=(erased,)))
    assert done.count == 1
    assert await group.sql("SELECT id FROM robotgroups.memories") == [(kept,)]


async def test_another_groups_relations_by_tags_go_on_whatever_locks_a_login_takes(
    group: Group, intruder: tuple[Store, int]
) -> None:
    store, own = intruder
    ((space,), (others,)) = await group.sql("SELECT space_id FROM robotgroups.groups ORDER BY id = %s", own)
    assert await group.store.relate_by_tags(group.id) == 0  # nothing waits
    one, two = await group.remember("water boils", "water freezes", tags=["water"])
    await group.store.remember(own, robot=None, tenure=None, content="iron rusts", tokens=2, tags=["iron"])
    async with idle(
        store,
        "SELECT pg_advisory_lock(hashtextextended('relate ' || s, 5249)) "
        f"FROM unnest('{{{space},{others}}}'::bigint[]) s",
    ) as held:
        await held.execute("SELECT robotgroups.relate_by_tags(%s, 100)", (own,))
        with anyio.fail_after(LIMIT_S):
            assert await group.store.relate_by_tags(group.id) == 2
            # one robot of a space at a time: nobody waits
            assert await group.store.relate_by_tags(own) == 0
    assert await group.sql("SELECT source, target FROM robotgroups.relations ORDER BY 1") == [(one, two), (two, one)]
    assert await group.store.relate_by_tags(own) == 1


async def test_two_at_once_relate_a_spaces_memories_once(group: Group) -> None:
    await group.remember("water boils", tags=["water"])
    async with await psycopg.AsyncConnection.connect(group.dsn) as first:
        ((done,),) = await (await first.execute("SELECT robotgroups.relate_by_tags(%s, 100)", (group.id,))).fetchall()
        assert done == 1
        await group.remember("water freezes", tags=["water"])
        await first.commit()
        await first.execute("SELECT robotgroups.relate_by_tags(%s, 100)", (group.id,))
        await group.remember("iron rusts", tags=["iron"])
        with anyio.fail_after(LIMIT_S):
            assert await group.store.relate_by_tags(group.id) == 0
        await first.commit()
    assert await group.store.relate_by_tags(group.id) == 1


@pytest.mark.parametrize(
    "attack",
    ["SELECT pg_advisory_lock(52470001)", "SELECT robotgroups.group_status({own})"],
    ids=["the lock of migrations", "a table"],
)
async def test_a_robots_login_keeps_nobody_from_migrating(
    group: Group, intruder: tuple[Store, int], monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    store, own = intruder
    monkeypatch.setattr(intruders, "EVERY_S", 0.1)
    change = migrations.Migration(9999, "9999_change", "ALTER TABLE robotgroups.groups ADD COLUMN changed integer;")
    known = migrations.known()
    monkeypatch.setattr(migrations, "known", lambda: (*known, change))
    statement = attack.format(own=own).encode()
    async with (
        await psycopg.AsyncConnection.connect(store.dsn) as waiting,
        await psycopg.AsyncConnection.connect(store.dsn) as held,
    ):
        for session in (held, waiting):
            await session.execute("SET idle_in_transaction_session_timeout = 0")
        await held.execute(statement)
        queued = asyncio.create_task(waiting.execute(statement))
        with anyio.fail_after(LIMIT_S):
            assert await migrations.migrate(group.dsn) == ["9999_change"]
        with pytest.raises(psycopg.OperationalError):
            await held.execute("SELECT 1")
        await asyncio.gather(queued, return_exceptions=True)
        await waiting.close()


async def test_an_owner_that_migrates_is_waited_for(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intruders, "EVERY_S", 0.01)
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as owner:
        await owner.execute("SELECT pg_advisory_lock(52470001)")
        migrating = asyncio.create_task(migrations.migrate(group.dsn))

        async def looked() -> bool:
            return bool(
                await group.sql(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                    "AND query LIKE '%%pg_terminate_backend%%' AND application_name = 'robotgroups migrate'"
                )
            )

        await until(looked, "the migration is watched over")
        await owner.execute("SELECT pg_advisory_unlock(52470001)")
        assert await migrating == []


async def test_a_migration_waits_for_a_backup(group: Group, admin_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intruders, "EVERY_S", 0.05)
    change = migrations.Migration(9999, "9999_change", "ALTER TABLE robotgroups.groups ADD COLUMN changed integer;")
    known = migrations.known()
    monkeypatch.setattr(migrations, "known", lambda: (*known, change))
    name = f"backup_{uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' IN ROLE pg_read_all_data".encode())
        try:
            dsn = conninfo.make_conninfo(group.dsn, user=name, password="secret")
            async with await psycopg.AsyncConnection.connect(dsn) as backup:
                await backup.execute("SELECT count(*) FROM robotgroups.groups")
                migrating = asyncio.create_task(migrations.migrate(group.dsn))
                looks: set[object] = set()

                async def looked_thrice() -> bool:
                    looks.update(
                        await group.sql(
                            "SELECT query_start FROM pg_stat_activity WHERE datname = current_database() "
                            "AND query LIKE '%%pg_blocking_pids(%%' AND application_name = 'robotgroups migrate'"
                        )
                    )
                    return len(looks) > 3

                await until(looked_thrice, "whom the migration waits for is looked for")
                await backup.execute("SELECT 1")
                await backup.commit()
                assert await migrating == ["9999_change"]
        finally:
            await admin.execute(f"DROP ROLE {name}".encode())


async def test_sessions_of_a_login_that_is_rotated_away_end_with_a_migration_too(
    group: Group, intruder: tuple[Store, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, own = intruder
    change = migrations.Migration(9999, "9999_change", "SELECT 1;")
    known = migrations.known()
    monkeypatch.setattr(migrations, "known", lambda: (*known, change))
    async with await psycopg.AsyncConnection.connect(store.dsn, autocommit=True) as session:
        await group.sql("UPDATE robotgroups.groups SET previous_login = login, login = 'rg_next' WHERE id = %s", own)
        assert await migrations.migrate(group.dsn) == ["9999_change"]
        with pytest.raises(psycopg.OperationalError):
            await session.execute("SELECT 1")
    await group.sql("UPDATE robotgroups.groups SET login = previous_login, previous_login = NULL WHERE id = %s", own)
