"""Relations by tags when memories come back or are erased; weights that are what they were said to be."""

import pytest

from robotgroups.group import AsyncRobotGroup

from .conftest import Bench

pytestmark = pytest.mark.anyio


async def by_tags(group: AsyncRobotGroup, memory_id: int) -> list[str]:
    return [r.memory.content for r in await group.related(memory_id, kinds=["tags"])]


@pytest.mark.parametrize("how", ["restored", "said again"])
async def test_what_comes_back_finds_what_was_remembered_meanwhile(
    group: AsyncRobotGroup, bench: Bench, how: str
) -> None:
    y = await group.remember("y", tags=["db"])
    await bench.settle(group)
    await group.forget(y)
    x = await group.remember("x", tags=["db"])
    await bench.settle(group)
    assert await by_tags(group, x) == []
    if how == "restored":
        await group.restore(y)
    else:
        assert await group.remember("y") == y
    assert await bench.settle(group) == 1
    assert await by_tags(group, x) == ["y"]
    assert await by_tags(group, y) == ["x"]


async def test_what_comes_back_without_tags_looks_for_nothing(group: AsyncRobotGroup, bench: Bench) -> None:
    memory = await group.remember("no tags")
    await group.forget(memory)
    await group.restore(memory)
    assert await bench.settle(group) == 0


async def test_a_memory_most_of_whose_best_relations_are_erased_looks_for_the_next_ones(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    ids = [await group.remember(f"m{n}", tags=["db"]) for n in range(1, 14)]
    await bench.settle(group)
    own = "SELECT array_agg(target ORDER BY target) FROM robotgroups.relations WHERE source = %s"
    assert await bench.sql(own, ids[0]) == [(ids[1:11],)]
    assert await group.erase(ids[1:6]) == 5
    assert await bench.settle(group) == 0  # half of them are left
    assert await group.erase(ids[6]) == 1
    assert await bench.settle(group) == 1
    assert await bench.sql(own, ids[0]) == [(ids[7:],)]
    assert await by_tags(group, ids[0]) == [f"m{n}" for n in range(8, 14)]


async def test_who_is_erased_with_what_it_was_related_to_looks_for_nothing(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    ids = [await group.remember(f"m{n}", tags=["db"]) for n in range(3)]
    await bench.settle(group)
    assert await group.erase(ids) == 3
    assert await bench.sql("SELECT * FROM robotgroups.jobs") == []


async def test_a_weight_that_real_cannot_hold_is_what_it_was_said_to_be(group: AsyncRobotGroup) -> None:
    a, b, c = [await group.remember(text) for text in "abc"]
    await group.relate(a, b, "supports", 0.7)
    await group.relate(b, c, "supports", 0.7)
    found = await group.related(a, depth=2, min_weight=0.49)
    assert [(r.memory.content, r.weight) for r in found] == [("b", 0.7), ("c", 0.49)]
    assert [r.weight for r in await group.related(a, min_weight=0.7)] == [0.7]
    assert await group.related(a, min_weight=0.700001) == []
    await group.relate(a, c, "supports", 0.12345678)
    ((found_c,),) = [[r.weight for r in await group.related(c, kinds=["supports"]) if r.memory.content == "a"]]
    assert found_c == 0.12345678
    (widened,) = [m for m in await group.recall("b", widen=1) if m.content == "a"]
    assert widened.score == 0.7
