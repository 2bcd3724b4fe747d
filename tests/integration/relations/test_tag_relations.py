"""Relations by tags, kept up in the background: the same likeness as in Python, the best of each memory, in bounds."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import anyio
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robotgroups.group import AsyncRobotGroup
from robotgroups.relating import relate_step
from robotgroups.tags import expand, inverse_frequency, weighted_jaccard

from .conftest import Bench

MOST = 10
LEAST = 0.1
LOOKED_BY = 8


# -- the same formula in SQL and in Python ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection(shared_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shared_dsn, autocommit=True) as made:
        made.execute("INSERT INTO robotgroups.spaces (cluster, namespace_uid) VALUES ('c', 'n')")
        yield made


def remembered(connection: psycopg.Connection, tags: Sequence[Sequence[str]]) -> list[int]:
    """Ids of memories that have these tags, the only ones of their space."""
    connection.execute("TRUNCATE robotgroups.memories, robotgroups.tag_counts, robotgroups.tag_totals CASCADE")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO robotgroups.memories (space_id, content, content_hash, originator, tokens, tags) "
            "SELECT id, %s, %s, 'a', 1, %s::text[] FROM robotgroups.spaces",
            [(str(n), str(n).encode(), list(own)) for n, own in enumerate(tags)],
        )
    return [row[0] for row in connection.execute("SELECT id FROM robotgroups.memories ORDER BY id").fetchall()]


def key(tag: str) -> int:
    """What a tag is known by in the tables of relations by tags."""
    return int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8], signed=True)


def expected_relations(tags: Sequence[Sequence[str]]) -> dict[tuple[int, int], float]:
    """The relations of memories 0, 1, ... by Python's formula.

    The best 10 of each, ties to the nearest, of those that have one of its 8 rarest tags.
    """
    expanded = [expand(own) for own in tags]
    tagged = sum(bool(own) for own in expanded)
    counts = {tag: sum(tag in own for own in expanded) for own in expanded for tag in own}
    weights = inverse_frequency(counts, tagged)
    found: dict[tuple[int, int], float] = {}
    for a, own in enumerate(tags):
        rarest = sorted(expanded[a], key=lambda tag: (-weights[tag], key(tag)))[:LOOKED_BY]
        likeness = {
            b: weighted_jaccard(own, other, weights)
            for b, other in enumerate(tags)
            if b != a and not expanded[b].isdisjoint(rarest)
        }
        best = sorted(likeness, key=lambda b: (-round(likeness[b], 6), abs(b - a), b))
        found |= {(a, b): likeness[b] for b in best[:MOST] if likeness[b] >= LEAST}
    return found


LEVEL = st.sampled_from(["a", "b", "c", "Δ", "a b"])
TAG = st.lists(LEVEL, min_size=1, max_size=4).map(":".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tags=st.lists(st.lists(TAG, max_size=4, unique=True), max_size=8))
def test_sql_and_python_agree_on_the_likeness(connection: psycopg.Connection, tags: list[list[str]]) -> None:
    ids = remembered(connection, tags)
    connection.execute(
        "SELECT robotgroups.note_tags((SELECT id FROM robotgroups.spaces), %s::bigint[])", (ids,)
    ).fetchall()
    rows = connection.execute(
        "SELECT source, target, weight, own FROM robotgroups.tag_relations((SELECT id FROM robotgroups.spaces), %s)",
        (ids,),
    ).fetchall()
    assert all(own for *_, own in rows)
    found = {(ids.index(source), ids.index(target)): weight for source, target, weight, _ in rows}
    expected = expected_relations(tags)
    assert found.keys() == expected.keys()
    for pair, weight in expected.items():
        assert math.isclose(found[pair], weight, rel_tol=1e-6), pair
        assert (found[pair] == 1.0) == (expand(tags[pair[0]]) == expand(tags[pair[1]]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tags=st.lists(st.text("ab:", max_size=130), max_size=5))
def test_sql_and_python_agree_on_the_tags_above(connection: psycopg.Connection, tags: list[str]) -> None:
    """Also of older tags that break the rules of today: blank levels, more than 50 of them."""
    ((found,),) = connection.execute("SELECT robotgroups.expand_tags(%s::text[])", (tags,)).fetchall()
    assert set(found) == expand(tags)
    assert len(found) == len(set(found))


# -- in the background -----------------------------------------------------------------------------------------------


async def by_tags(group: AsyncRobotGroup, memory_id: int, **how: object) -> list[tuple[str, float]]:
    """Content and weight (4 digits) of what a memory is related to by its tags."""
    found = await group.related(memory_id, kinds=["tags"], **how)  # type: ignore[arg-type]
    return [(r.memory.content, round(r.weight, 4)) for r in found]


@pytest.mark.anyio
async def test_memories_that_share_a_tag_or_one_above_are_related_soon_after(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    one = await group.remember("one", tags=["db:postgres"])
    two = await group.remember("two", tags=["db:postgres"])
    three = await group.remember("three", tags=["db:sqlite"])
    four = await group.remember("four", tags=["food"])
    await group.remember("five")
    assert await by_tags(group, one) == []
    assert await bench.settle(group) == 4
    # db: 3 of the 4 that have tags, db:postgres: 2, db:sqlite: 1
    db, postgres, sqlite = math.log1p(4 / 3), math.log1p(4 / 2), math.log1p(4 / 1)
    apart = round(db / (db + postgres + sqlite), 4)
    assert apart == 0.2383
    assert await by_tags(group, one) == [("two", 1.0), ("three", apart)]
    assert await by_tags(group, two) == [("one", 1.0), ("three", apart)]
    assert await by_tags(group, three) == [("one", apart), ("two", apart)]
    assert await by_tags(group, four) == []
    assert await bench.settle(group) == 0


@pytest.mark.anyio
async def test_a_memory_whose_tags_change_gets_its_relations_anew_and_so_do_the_others_theirs_to_it(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    one = await group.remember("one", tags=["db"])
    two = await group.remember("two", tags=["db"])
    await group.remember("three", tags=["food"])
    await bench.settle(group)
    assert await by_tags(group, one) == [("two", 1.0)]
    await group.untag(two, "db")
    await group.tag(two, "food")
    assert await by_tags(group, one) == [("two", 1.0)]  # until the background work comes to it
    assert await bench.settle(group) == 1
    assert await by_tags(group, one) == []
    assert await by_tags(group, two) == [("three", 1.0)]
    await group.tag(two, "db")
    assert await bench.settle(group) == 1
    assert [content for content, _ in await by_tags(group, two)] == ["one", "three"]
    assert [content for content, _ in await by_tags(group, one)] == ["two"]
    await group.untag(two, "db", "food")
    assert await bench.settle(group) == 1
    assert await by_tags(group, two) == []
    assert await bench.sql("SELECT * FROM robotgroups.relations") == []
    assert await bench.sql("SELECT * FROM robotgroups.tag_members WHERE memory_id = %s", two) == []


@pytest.mark.anyio
async def test_what_is_said_again_with_another_tag_is_related_by_both(group: AsyncRobotGroup, bench: Bench) -> None:
    one = await group.remember("one", tags=["db"])
    await group.remember("two", tags=["food"])
    await bench.settle(group)
    assert await group.remember("one", tags=["food"]) == one
    assert await bench.settle(group) == 1
    assert [content for content, _ in await by_tags(group, one)] == ["two"]


@pytest.mark.anyio
async def test_explicit_relations_are_not_touched_by_it(group: AsyncRobotGroup, bench: Bench) -> None:
    one, two = await group.remember("one", tags=["db"]), await group.remember("two", tags=["db"])
    await group.relate(one, two, "supports", 0.25)
    await bench.settle(group)
    await group.untag(one, "db")
    await bench.settle(group)
    assert [(r.memory.content, r.weight, r.kinds) for r in await group.related(one)] == [("two", 0.25, ("supports",))]


async def alike(bench: Bench, group: AsyncRobotGroup, count: int) -> None:
    """More memories with the tag ``common``, which wait for their relations."""
    await bench.sql(
        "INSERT INTO robotgroups.memories (space_id, content, content_hash, originator, tokens, tags) "
        "SELECT g.space_id, gen_random_uuid(), sha256(gen_random_uuid()::text::bytea), 'robot', 1, '{common}' "
        "FROM robotgroups.groups g, generate_series(1, %s) WHERE g.id = %s",
        count,
        group._group_id,
    )
    await bench.sql(
        "INSERT INTO robotgroups.jobs (space_id, memory_id, kind) SELECT space_id, id, 'relate' FROM "
        "robotgroups.memories m WHERE NOT EXISTS (SELECT FROM robotgroups.relations WHERE source = m.id) ORDER BY 2"
    )


async def pages_read(bench: Bench, memory_id: int) -> int:
    """How many pages it takes to find a memory's relations by tags."""
    ((((plan),),),) = (
        await bench.sql(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM robotgroups.tag_relations("
            "(SELECT id FROM robotgroups.spaces), ARRAY[%s::bigint])",
            memory_id,
        ),
    )
    root = plan[0]["Plan"]
    return int(root["Shared Hit Blocks"]) + int(root["Shared Read Blocks"])


@pytest.mark.anyio
async def test_each_memory_gets_its_10_nearest_of_very_many_that_are_all_alike(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    """A tag that everything has is no more work for a memory than another tag."""
    await alike(bench, group, 1000)
    assert await bench.settle(group) == 1000
    ((first, fewest, most, weights),) = await bench.sql(
        "SELECT min(source), min(n), max(n), (SELECT array_agg(DISTINCT weight) FROM robotgroups.relations) "
        "FROM (SELECT source, count(*) AS n FROM robotgroups.relations GROUP BY source) s"
    )
    assert (fewest, most, weights) == (MOST, MOST, [1.0])
    ((into,),) = await bench.sql(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM robotgroups.relations GROUP BY target) t"
    )
    assert into <= 3 * MOST  # nobody is everybody's neighbour
    ((places,),) = await bench.sql(
        "SELECT array_agg(target - source ORDER BY target) FROM robotgroups.relations WHERE source = %s", first + 525
    )
    assert places == [*range(-5, 0), *range(1, 6)]  # it was in the middle of a step
    before = await pages_read(bench, first + 525)
    await alike(bench, group, 9000)
    await bench.sql(
        "SELECT robotgroups.note_tags(space_id, array_agg(memory_id)) FROM robotgroups.jobs GROUP BY space_id"
    )
    assert await pages_read(bench, first + 525) < 1.5 * before


@pytest.mark.anyio
async def test_relations_by_tags_do_not_lead_from_one_user_to_another(group: AsyncRobotGroup, bench: Bench) -> None:
    mine = await group.remember("mine", tags=["db"], scope={"user": "u1"})
    yours = await group.remember("yours", tags=["db"], scope={"user": "u2"})
    also = await group.remember("mine too", tags=["db"], scope={"user": "u1"})
    everybodys = await group.remember("everybody's", tags=["db"])
    await bench.settle(group)
    assert await by_tags(group, mine) == [("mine too", 1.0), ("everybody's", 1.0)]
    assert await by_tags(group, yours) == [("everybody's", 1.0)]
    assert await by_tags(group, also, scope={"user": "u1"}) == [("mine", 1.0)]
    assert [content for content, _ in await by_tags(group, everybodys)] == ["mine", "yours", "mine too"]


@pytest.mark.anyio
async def test_what_is_forgotten_or_of_another_space_is_nobodys_neighbour(group: AsyncRobotGroup, bench: Bench) -> None:
    other = await bench.group("other")
    one, two = await group.remember("one", tags=["db"]), await group.remember("two", tags=["db"])
    await other.remember("three", tags=["db"])
    await group.forget(two)
    while await relate_step(bench.store, group._group_id):
        pass
    await bench.settle(other)
    assert await by_tags(group, one) == []
    await group.restore(two)
    assert await by_tags(group, one) == [("two", 1.0)]  # it had looked for its own
    assert await bench.sql("SELECT count(*) FROM robotgroups.relations") == [(1,)]


@pytest.mark.anyio
async def test_work_that_somebody_is_in_the_way_of_is_left_for_the_next_time(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    """A memory that is being changed is not waited for, and its change is not lost."""
    one, two = await group.remember("one", tags=["db"]), await group.remember("two", tags=["db"])
    async with await psycopg.AsyncConnection.connect(bench.dsn) as writer:
        await writer.execute("UPDATE robotgroups.memories SET tags = '{food}' WHERE id = %s", (two,))
        assert await relate_step(bench.store, group._group_id) == 1  # one's; it sees two as it was
        assert await relate_step(bench.store, group._group_id) == 0
    assert await by_tags(group, one) == [("two", 1.0)]
    assert await bench.settle(group) == 1
    assert await by_tags(group, one) == []
    async with await psycopg.AsyncConnection.connect(bench.dsn) as writer:
        await group.tag(one, "food")
        await writer.execute("SELECT FROM robotgroups.memories WHERE id = %s FOR UPDATE", (two,))
        assert await relate_step(bench.store, group._group_id) == 0  # two, to which it leads, may be going
    assert await bench.settle(group) == 1
    assert [content for content, _ in await by_tags(group, one)] == ["two"]


@pytest.mark.anyio
async def test_one_robot_at_a_time_works_in_a_space(group: AsyncRobotGroup, bench: Bench) -> None:
    await group.remember("one", tags=["db"])
    async with await psycopg.AsyncConnection.connect(bench.dsn) as busy:
        cursor = await busy.execute("SELECT robotgroups.relate_by_tags(%s, 10)", (group._group_id,))
        assert await cursor.fetchone() == (1,)
        assert await relate_step(bench.store, group._group_id) == 0
        await busy.rollback()
    assert await bench.settle(group) == 1


@pytest.mark.anyio
async def test_counts_of_tags_are_taken_anew_as_memories_come(group: AsyncRobotGroup, bench: Bench) -> None:
    """Until a tenth has changed the last counts are used, a new tag weighing as one that a single memory has."""
    for n in range(40):
        await group.remember(f"memory {n}", tags=["db"])
    await bench.settle(group)
    counts = "SELECT tag, memories FROM robotgroups.tag_counts ORDER BY tag"
    assert await bench.sql(counts) == [(key("db"), 40)]
    await group.remember("another", tags=["db", "new"])
    await bench.settle(group)
    assert await bench.sql(counts) == [(key("db"), 40)]
    for n in range(3):
        await group.remember(f"one more {n}", tags=["new"])
    await bench.settle(group)
    assert await bench.sql(counts) == sorted([(key("db"), 41), (key("new"), 4)])
    assert await bench.sql("SELECT memories, changed FROM robotgroups.tag_totals") == [(44, 0)]


@pytest.mark.anyio
async def test_nothing_of_a_tag_stays_when_the_last_memory_that_had_it_is_erased(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    one = await group.remember("one", tags=["db:secret"])
    await group.remember("two", tags=["db"])
    await bench.settle(group)
    tables = "SELECT tag FROM robotgroups.tag_members UNION SELECT tag FROM robotgroups.tag_counts"
    assert {tag for (tag,) in await bench.sql(tables)} == {key("db"), key("db:secret")}
    await group.erase(one)
    assert {tag for (tag,) in await bench.sql(tables)} == {key("db")}


@pytest.mark.anyio
async def test_an_erasure_does_not_wait_for_tags_that_are_being_counted(group: AsyncRobotGroup, bench: Bench) -> None:
    one = await group.remember("one", tags=["db:secret"])
    await group.remember("two", tags=["db"])
    await bench.settle(group)
    async with await psycopg.AsyncConnection.connect(bench.dsn) as counting:
        await counting.execute("DELETE FROM robotgroups.tag_counts")
        with anyio.fail_after(10):
            assert await group.erase(one) == 1
        await counting.rollback()
    await group.tag((await bench.memories(group))["two"].id, "food")
    await bench.settle(group)
    counts = await bench.sql("SELECT tag FROM robotgroups.tag_counts")
    assert {tag for (tag,) in counts} == {key("db"), key("food")}
