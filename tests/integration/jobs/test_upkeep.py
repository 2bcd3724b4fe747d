"""Indexes of embeddings come and go by themselves; one owner at a time sees to it, and may be interrupted anywhere."""

import asyncio
import logging
import random
from typing import Any

import psycopg
import pytest
from jobs_group import DIMENSIONS, Group
from pgvector import HalfVector, Vector
from robot_process import until

from robotgroups import indexing, tending, upkeep
from robotgroups.errors import ArgumentError

ENOUGH = 50


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "INDEX_FROM", ENOUGH)


async def filled(group: Group, count: int = ENOUGH, dimensions: int = DIMENSIONS) -> int:
    """A model with that many more embeddings, of random vectors; its id."""
    await group.declare(embedding=group.embedding(dimensions=dimensions))
    model = int((await group.space())["target"])
    rows = await group.sql(
        "INSERT INTO robotgroups.memories (space_id, content, content_hash, originator, tokens) "
        "SELECT g.space_id, 'memory', uuid_send(gen_random_uuid()), 'a', 2 "
        "FROM robotgroups.groups g, generate_series(1, %s) WHERE g.id = %s RETURNING id",
        count,
        group.id,
    )
    source = random.Random(1)
    single = dimensions <= 2000
    column, kind = ("embedding", Vector) if single else ("half", HalfVector)
    connection = await psycopg.AsyncConnection.connect(group.dsn, autocommit=True)
    async with connection, connection.cursor() as cursor:
        await cursor.executemany(
            f"INSERT INTO robotgroups.embeddings (model_id, memory_id, {column}) VALUES (%s, %s, %s)".encode(),
            [(model, i, kind([source.gauss(0, 1) for _ in range(dimensions)]).to_text()) for (i,) in rows],
        )
    return model


async def indexes(group: Group) -> dict[str, bool]:
    """The indexes over embeddings, and whether they are valid."""
    return dict(
        await group.sql(
            "SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE c.relname ~ '^embeddings_hnsw' ORDER BY c.relname"
        )
    )


async def indexed(group: Group, model: int) -> bool:
    """Whether the model is marked as having its index."""
    return [(model,)] == await group.sql("SELECT id FROM robotgroups.embedding_models WHERE indexed AND id = %s", model)


async def round_of(group: Group) -> dict[str, int]:
    report = await upkeep.run_once(group.store)
    assert report is not None
    assert report.failed == {}
    return {name: count for name, count in report.done.items() if count}


async def plan_of_recall(group: Group, model: int, column: str, kind: str) -> str:
    """How Postgres searches by vector, when it does not sort."""
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as connection:
        await connection.execute("SET enable_sort = off")
        vector = f"(SELECT {column}::public.{kind} FROM robotgroups.embeddings LIMIT 1)"
        cursor = await connection.execute(
            f"EXPLAIN SELECT memory_id FROM robotgroups.embeddings e WHERE model_id = {model} "
            f"ORDER BY e.{column}::public.{kind} OPERATOR(public.<=>) {vector} LIMIT 5".encode()
        )
        return "\n".join(line for (line,) in await cursor.fetchall())


@pytest.mark.parametrize(
    ("dimensions", "column", "kind"), [(32, "embedding", "vector(32)"), (2001, "half", "halfvec(2001)")]
)
async def test_a_model_with_many_embeddings_gets_an_index(
    group: Group, dimensions: int, column: str, kind: str
) -> None:
    model = await filled(group, ENOUGH - 1, dimensions)
    assert await round_of(group) == {}
    assert await indexes(group) == {}
    await filled(group, 1, dimensions)
    assert await round_of(group) == {"build_indexes": 1}
    assert await indexes(group) == {f"embeddings_hnsw_{model}": True}
    assert await indexed(group, model)
    assert f"embeddings_hnsw_{model}" in await plan_of_recall(group, model, column, kind)
    assert await round_of(group) == {}


async def test_what_no_index_takes_is_searched_exactly(group: Group) -> None:
    await filled(group, dimensions=4001)
    assert await round_of(group) == {}
    assert await indexes(group) == {}


async def test_an_interrupted_build_is_begun_anew(group: Group) -> None:
    model = await filled(group)
    async with await psycopg.AsyncConnection.connect(group.dsn) as writer:
        # a build waits for those who write
        await writer.execute("DELETE FROM robotgroups.embeddings WHERE false")
        building = asyncio.create_task(upkeep.run_once(group.store))

        async def waits() -> bool:
            return await indexes(group) == {f"embeddings_hnsw_{model}": False}

        await until(waits, "the build has begun")
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
    assert not await indexed(group, model)
    assert await indexes(group) == {f"embeddings_hnsw_{model}": False}

    async def free() -> Any:
        return await upkeep.run_once(group.store)

    report = await until(free, "the interrupted one has let go")
    assert (report.done["drop_indexes"], report.done["build_indexes"]) == (1, 1)
    assert await indexes(group) == {f"embeddings_hnsw_{model}": True}
    assert await indexed(group, model)


async def test_a_build_that_was_not_marked_any_more_is_marked(group: Group) -> None:
    model = await filled(group)
    await round_of(group)
    await group.sql("UPDATE robotgroups.embedding_models SET indexed = false")
    assert await round_of(group) == {"build_indexes": 1}
    assert await indexed(group, model)


async def test_an_index_that_somebody_dropped_is_built_again(group: Group) -> None:
    model = await filled(group)
    await round_of(group)
    await group.sql(f"DROP INDEX robotgroups.embeddings_hnsw_{model}")
    assert await round_of(group) == {"build_indexes": 1}
    assert await indexes(group) == {f"embeddings_hnsw_{model}": True}


async def test_the_index_goes_with_its_group(group: Group) -> None:
    model = await filled(group)
    await round_of(group)
    assert await indexes(group) == {f"embeddings_hnsw_{model}": True}
    assert await group.store.delete_group(group.id)
    assert await round_of(group) == {"drop_indexes": 1}
    assert await indexes(group) == {}


async def test_the_next_models_index_stands_before_it_serves_and_the_formers_goes_before_its_rows(
    group: Group,
) -> None:
    former = await filled(group)
    await round_of(group)
    await group.declare(embedding=group.embedding("other"))
    target = (await group.space())["target"]
    await group.sql(
        "INSERT INTO robotgroups.embeddings SELECT %s, memory_id, embedding FROM robotgroups.embeddings", target
    )
    assert await round_of(group) == {}  # the queue does not know yet
    await group.sql("DELETE FROM robotgroups.jobs")
    assert await round_of(group) == {"build_indexes": 1, "finish_models": 1}
    assert await indexes(group) == {f"embeddings_hnsw_{former}": True, f"embeddings_hnsw_{target}": True}
    await group.sql("UPDATE robotgroups.spaces SET serving_since = serving_since - interval '1 minute'")
    assert await round_of(group) == {"drop_indexes": 1, "prune_models": ENOUGH}
    assert await indexes(group) == {f"embeddings_hnsw_{target}": True}
    assert len(await group.vectors()) == ENOUGH


async def test_one_at_a_time_does_it(group: Group) -> None:
    await filled(group)
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as other:
        await other.execute("SELECT pg_advisory_lock(%s)", (upkeep.LOCK,))
        assert await upkeep.run_once(group.store) is None
        assert await indexes(group) == {}
        await other.execute("SELECT pg_advisory_unlock(%s)", (upkeep.LOCK,))  # its end alone is noticed a moment later
    assert len(await indexes(group)) == 0
    assert await round_of(group) == {"build_indexes": 1}


async def test_a_step_that_fails_keeps_nobody_else_from_its_work(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(connection: object) -> int:
        raise ArgumentError("no such thing")

    async def works(connection: object) -> int:
        return 7

    steps = [
        upkeep.Step("fails", fails),
        upkeep.Step("works", works),
        upkeep.repeated("counts", "SELECT nextval('robotgroups.jobs_id_seq') %% 3 + 0 * %s"),  # 1, 2, 0
    ]
    report = await upkeep.run_once(group.store, steps)
    assert report == upkeep.Report({"works": 7, "counts": 3}, {"fails": "no such thing"})
    assert "upkeep fails: no such thing" in caplog.text


async def test_an_owner_that_lives_keeps_everything_up(
    group: Group, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(upkeep, "FIRST_S", 0.01)
    model = await filled(group)
    keeper = upkeep.Upkeep(group.store)
    keeper.start()

    async def done() -> bool:
        return await indexed(group, model)

    await until(done, "the index stands")
    await keeper.stop()
    await keeper.stop()
    assert f"building the index of model {model}: {ENOUGH} embeddings of {DIMENSIONS} dimensions" in caplog.text


async def test_what_is_kept_no_longer_goes_and_so_does_the_feed(group: Group) -> None:
    kept, expired = await group.remember("water boils", "iron rusts")
    await group.sql("UPDATE robotgroups.memories SET expires_at = now() WHERE id = %s", expired)
    await group.sql("UPDATE robotgroups.changes SET created_at = now() - interval '1 hour'")
    await group.sql(
        "INSERT INTO robotgroups.changes (group_id, revision, kind, epoch, created_at) "
        "SELECT %s, n, 'cleared', 1, now() - interval '1 hour' FROM generate_series(10, 1010) n",
        group.id,
    )
    await group.sql("UPDATE robotgroups.groups SET revision = 1010 WHERE id = %s", group.id)
    # 1,011 changes by then, of which 1,000 stay: gone are 1 to 3, 10 and 11
    assert await round_of(group) == {"tend": 6}
    assert [m for (m,) in await group.sql("SELECT id FROM robotgroups.memories")] == [kept]
    assert await round_of(group) == {}


async def aged(group: Group) -> list[int]:
    """The last of 5,000 memories, remembered a day ago; the group keeps what was remembered within the hour."""
    await group.sql(
        "INSERT INTO robotgroups.memories (space_id, group_id, content, content_hash, originator, tokens, "
        "remembered_at) SELECT g.space_id, g.id, 'memory', uuid_send(gen_random_uuid()), 'a', 2, "
        "now() - CASE WHEN n > 4990 THEN interval '1 day' ELSE interval '0' END "
        "FROM robotgroups.groups g, generate_series(1, 5000) n WHERE g.id = %s ORDER BY n",
        group.id,
    )
    await group.sql("UPDATE robotgroups.groups SET expire_after_s = 3600 WHERE id = %s", group.id)
    return await old(group)


async def old(group: Group) -> list[int]:
    """What is too old."""
    rows = await group.sql("SELECT id FROM robotgroups.memories WHERE remembered_at < now() - interval '1 hour'")
    return [number for (number,) in rows]


async def test_one_round_finds_what_is_too_old_behind_thousands_that_are_not(group: Group) -> None:
    assert len(await aged(group)) == 10
    assert await round_of(group) == {"tend": 10}
    assert await old(group) == []
    assert await group.sql("SELECT count(*) FROM robotgroups.memories") == [(4990,)]


async def test_so_does_a_robots_round(group: Group) -> None:
    assert len(await aged(group)) == 10
    done = await tending.tend(group.store, group.id)
    assert (done.removed, done.after, done.more) == (10, 0, False)
    assert await old(group) == []


async def test_what_one_round_has_no_time_for_the_next_one_goes_on_with(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "LOOKING_S", 0.0)  # one step of 2,000 memories
    await aged(group)
    steps = upkeep.all_steps()
    done = []
    for _ in range(3):
        report = await upkeep.run_once(group.store, steps)
        assert report is not None
        done.append(report.done["tend"])
    assert done == [0, 0, 10]
