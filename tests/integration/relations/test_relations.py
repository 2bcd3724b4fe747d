"""Explicit relations: what may be said, and what is reached by walking from memory to memory."""

import pytest

from robotgroups.errors import ArgumentError, InvalidTextError, NotFoundError, UnknownMemoryError
from robotgroups.group import AsyncRobotGroup
from robotgroups.recall import Filters

from .conftest import Bench

pytestmark = pytest.mark.anyio


async def chain(group: AsyncRobotGroup, *weights: float) -> list[int]:
    """Memories m0, m1, ... of which each "leads to" the next with a weight."""
    ids = [await group.remember(f"m{n}") for n in range(len(weights) + 1)]
    for source, target, weight in zip(ids, ids[1:], weights, strict=False):
        assert await group.relate(source, target, "leads to", weight)
    return ids


async def reached(group: AsyncRobotGroup, memory_id: int, **how: object) -> list[tuple[str, float, int]]:
    """Content, weight (6 digits) and depth of what is related, in order."""
    found = await group.related(memory_id, **how)  # type: ignore[arg-type]
    return [(r.memory.content, round(r.weight, 6), r.depth) for r in found]


async def test_a_relation_is_new_once_takes_another_weight_and_is_taken_back_once(group: AsyncRobotGroup) -> None:
    a, b = await group.remember("a"), await group.remember("b")
    assert await group.relate(a, b, "supports", 0.5)
    assert not await group.relate(a, b, "supports", 0.25)
    assert await reached(group, a) == [("b", 0.25, 1)]
    assert await group.relate(b, a, "supports")  # the other direction is another one
    assert await reached(group, a) == [("b", 1.0, 1)]
    assert await group.unrelate(b, a, "supports")
    assert not await group.unrelate(b, a, "supports")
    assert await reached(group, b) == [("a", 0.25, 1)]  # relations lead both ways


async def test_weights_multiply_along_the_best_way_up_to_a_depth(group: AsyncRobotGroup) -> None:
    m0, m1, m2, m3, m4, m5 = await chain(group, 0.9, 0.9, 0.9, 0.9, 0.9)
    assert await group.relate(m0, m3, "shortcut", 0.5)
    expected = [("m1", 0.9, 1), ("m2", 0.81, 2), ("m3", 0.729, 3), ("m4", 0.6561, 4), ("m5", 0.59049, 5)]
    assert await reached(group, m0, depth=5) == expected
    # the long way to m4 has four steps, the way by the shortcut two
    assert await reached(group, m0, depth=3) == [*expected[:3], ("m4", 0.45, 2), ("m5", 0.405, 3)]
    assert await reached(group, m0, depth=2) == [("m1", 0.9, 1), ("m2", 0.81, 2), ("m3", 0.5, 1), ("m4", 0.45, 2)]
    assert await reached(group, m0, depth=5, min_weight=0.7) == expected[:3]
    assert await reached(group, m0, depth=5, limit=2) == expected[:2]
    found = (await group.related(m0, depth=5))[4]
    assert found.path == (m0, m1, m2, m3, m4, m5)
    assert found.kinds == ("leads to",) * 5


async def test_ties_go_to_the_nearer_then_to_the_older(group: AsyncRobotGroup) -> None:
    ids = await chain(group, 1.0, 1.0, 1.0)
    for content in ("late", "later"):
        await group.relate(await group.remember(content), ids[0], "near", 1.0)
    assert await reached(group, ids[0], depth=3) == [
        ("m1", 1.0, 1), ("late", 1.0, 1), ("later", 1.0, 1), ("m2", 1.0, 2), ("m3", 1.0, 3)
    ]  # fmt: skip
    twice = await group.remember("twice")
    for kind in ("zeta", "alpha"):
        await group.relate(ids[0], twice, kind, 1.0)
    assert [r.kinds for r in await group.related(ids[0]) if r.memory.id == twice] == [("alpha",)]


async def test_a_circle_ends_and_never_comes_back_to_its_start(group: AsyncRobotGroup) -> None:
    ids = await chain(group, 1.0, 1.0)
    await group.relate(ids[2], ids[0], "leads to", 1.0)
    assert await reached(group, ids[0], depth=5) == [("m1", 1.0, 1), ("m2", 1.0, 1)]


async def test_kinds_choose_the_relations_that_are_walked(group: AsyncRobotGroup) -> None:
    a, b, c = [await group.remember(content) for content in "abc"]
    await group.relate(a, b, "supports", 0.5)
    await group.relate(b, c, "refutes", 0.5)
    assert await reached(group, a, depth=2, kinds=["supports"]) == [("b", 0.5, 1)]
    assert await reached(group, a, depth=2, kinds=["supports", "refutes"]) == [("b", 0.5, 1), ("c", 0.25, 2)]
    assert await reached(group, a, depth=2, kinds=[]) == []


async def test_what_is_forgotten_or_expired_is_not_reached_nor_walked_through(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    m0, m1, m2 = await chain(group, 0.9, 0.8)
    await group.forget(m1)
    assert await reached(group, m0, depth=2) == []
    with pytest.raises(UnknownMemoryError, match=f"no memory has id {m1}"):
        await group.related(m1)
    with pytest.raises(UnknownMemoryError, match=f"no memory has id {m1}"):
        await group.relate(m0, m1, "supports")
    await group.restore(m1)
    assert await reached(group, m0, depth=2) == [("m1", 0.9, 1), ("m2", 0.72, 2)]
    await bench.sql("UPDATE robotgroups.memories SET expires_at = now() - interval '1 s' WHERE id = %s", m1)
    assert await reached(group, m0, depth=2) == []
    assert await reached(group, m2) == []


async def test_no_way_leads_out_of_a_scope(group: AsyncRobotGroup) -> None:
    mine, yours = {"user": "u1"}, {"user": "u2"}
    a = await group.remember("a", scope=mine)
    b = await group.remember("b", scope=yours)
    c = await group.remember("c", scope=mine | {"conversation": "c1"})
    await group.relate(a, b, "near", 1.0)
    await group.relate(b, c, "near", 1.0)
    await group.relate(a, c, "near", 0.1)
    assert await reached(group, a, depth=2) == [("b", 1.0, 1), ("c", 1.0, 2)]
    assert await reached(group, a, depth=2, scope=mine) == [("c", 0.1, 1)]
    with pytest.raises(UnknownMemoryError):
        await group.related(b, scope=mine)


async def test_a_memory_takes_its_relations_along_when_it_is_erased(group: AsyncRobotGroup, bench: Bench) -> None:
    a, b, c = await chain(group, 0.9, 0.9)
    assert await group.erase(b) == 1
    assert await reached(group, a, depth=2) == []
    assert await bench.sql("SELECT * FROM robotgroups.relations") == []
    assert await group.relate(a, c, "leads to")


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.5, float("nan"), float("inf"), 1e-9])
async def test_a_weight_is_above_0_and_at_most_1(group: AsyncRobotGroup, weight: float) -> None:
    a, b = await group.remember("a"), await group.remember("b")
    with pytest.raises(ArgumentError, match="weight must be above 0 and at most 1, not"):
        await group.relate(a, b, "supports", weight)


async def test_wrong_relations_are_refused_by_name(group: AsyncRobotGroup) -> None:
    a, b = await group.remember("a"), await group.remember("b")
    with pytest.raises(InvalidTextError, match="kind must not be blank"):
        await group.relate(a, b, " \n")
    with pytest.raises(ArgumentError, match="kind 'tags' is kept for relations by tags"):
        await group.relate(a, b, " tags ")
    with pytest.raises(ArgumentError, match="kind has 101 characters; at most 100 are taken"):
        await group.relate(a, b, "x" * 101)
    with pytest.raises(ArgumentError, match=f"memory {a} cannot be related to itself"):
        await group.relate(a, a, "supports")
    with pytest.raises(UnknownMemoryError, match="no memory has id 12345"):
        await group.relate(a, 12345, "supports")
    for depth in (0, 6):
        with pytest.raises(ArgumentError, match=f"depth must be between 1 and 5, not {depth}"):
            await group.related(a, depth=depth)
    with pytest.raises(ArgumentError, match=r"min_weight must be between 0\.0 and 1\.0, not 1\.5"):
        await group.related(a, min_weight=1.5)
    with pytest.raises(ArgumentError, match="limit must be between 1 and 1000, not 1001"):
        await group.related(a, limit=1001)


async def test_a_hub_is_walked_within_bounds(group: AsyncRobotGroup, bench: Bench) -> None:
    """A memory with 2,000 relations: of the first one as many are followed as are asked for, of those behind it 50."""
    hub, start = await group.remember("hub"), await group.remember("start")
    await bench.sql(
        "INSERT INTO robotgroups.memories (space_id, content, content_hash, originator, tokens) "
        "SELECT m.space_id, 'spoke ' || n, sha256(n::text::bytea), 'robot', 1 "
        "FROM robotgroups.memories m, generate_series(1, 2000) n WHERE m.id = %s",
        hub,
    )
    await bench.sql(
        "INSERT INTO robotgroups.relations (source, target, kind, space_id, weight) "
        "SELECT %s, s.id, 'spoke', s.space_id, substr(s.content, 7)::real / 4000 "
        "FROM robotgroups.memories s WHERE s.content LIKE 'spoke %%'",
        hub,
    )
    await group.relate(start, hub, "near", 1.0)
    best = [(f"spoke {n}", n / 4000) for n in range(2000, 0, -1)]
    direct = await group.related(hub, kinds=["spoke"], limit=1000)
    assert [(r.memory.content, round(r.weight, 6)) for r in direct] == best[:1000]
    behind = [r for r in await group.related(start, depth=2, limit=1000) if r.depth == 2]
    assert [(r.memory.content, round(r.weight, 6)) for r in behind] == best[:50]
    assert len(await group.related(start, depth=5, limit=1000)) == 51


async def test_s1_relations_stay_within_a_space(group: AsyncRobotGroup, bench: Bench) -> None:
    """Another group's memory has an id, and is none of this group's."""
    other = await bench.group("other")
    mine, theirs = await group.remember("mine"), await other.remember("theirs")
    for attempt in (
        group.relate(mine, theirs, "near"),
        group.relate(theirs, mine, "near"),
        group.related(theirs),
        group.tag(theirs, "mine"),
        group.untag(theirs, "mine"),
    ):
        with pytest.raises(UnknownMemoryError, match=f"no memory has id {theirs}"):
            await attempt
    b = await other.remember("b")
    assert await other.relate(theirs, b, "near")
    assert not await group.unrelate(theirs, b, "near")
    assert await reached(other, theirs) == [("b", 1.0, 1)]
    # a row that somebody has forged leads nowhere either
    await bench.sql(
        "INSERT INTO robotgroups.relations (source, target, kind, space_id, weight) "
        "SELECT %s, %s, 'forged', space_id, 1 FROM robotgroups.memories WHERE id = %s",
        mine,
        theirs,
        mine,
    )
    assert await reached(group, mine, depth=5) == []
    found = await bench.store.neighbours(
        group._group_id, [mine, theirs, b], depth=5, min_weight=0.0, filters=Filters(), limit=10
    )
    assert found == []


async def test_groups_of_a_space_share_its_relations(hive: tuple[AsyncRobotGroup, AsyncRobotGroup]) -> None:
    first, second = hive
    a, b = await first.remember("a"), await second.remember("b")
    assert await second.relate(a, b, "near", 0.5)
    assert await reached(first, a) == [("b", 0.5, 1)]
    (related,) = await first.related(a)
    assert not related.memory.in_working_memory  # of the other group's it is
    (related,) = await second.related(a)
    assert related.memory.in_working_memory
    assert issubclass(UnknownMemoryError, NotFoundError)


async def test_neighbours_are_what_hits_are_related_to_and_recalls_filters_hold(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    a, b, c, d = [await group.remember(content, tags=[f"letter:{content}"]) for content in "abcd"]
    e = await group.remember("e", scope={"user": "u1"})
    for source, target, weight in ((a, b, 0.9), (a, c, 0.8), (d, c, 0.85), (b, e, 1.0)):
        await group.relate(source, target, "near", weight)

    async def near(*hits: int, depth: int = 1, limit: int = 10, **filters: object) -> list[tuple[str, float, int]]:
        found = await bench.store.neighbours(
            group._group_id,
            hits,
            depth=depth,
            min_weight=0.5,
            filters=Filters(**filters),  # type: ignore[arg-type]
            limit=limit,
        )
        return [(r.memory.content, round(r.weight, 6), r.path[0]) for r in found]

    assert await near(a) == [("b", 0.9, a), ("c", 0.8, a)]
    assert await near(a, d) == [("b", 0.9, a), ("c", 0.85, d)]
    assert await near(a, b) == [("e", 1.0, b), ("c", 0.8, a)]
    assert await near(a, depth=2) == [("b", 0.9, a), ("e", 0.9, a), ("c", 0.8, a), ("d", 0.68, a)]
    assert await near(a, depth=2, tags=("letter:d",)) == [("d", 0.68, a)]
    assert await near(a, depth=2, scope=("user=u1",)) == []  # a is not of it
    assert await near(a, d, limit=1, tags=("letter:c",)) == [("c", 0.85, d)]
    await group.forget(b)
    assert await near(a, b, depth=2) == [("c", 0.8, a), ("d", 0.68, a)]
