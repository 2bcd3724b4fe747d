"""Recall among many: what few memories match is found behind the index, others' writes and what was forgotten."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from robotgroups.models import GroupSettings

from .conftest import KEY
from .library import Library
from .test_plans import recalled

pytestmark = pytest.mark.anyio
# An iterative scan of pgvector's gives up after so many (hnsw.max_scan_tuples).
SCANNED = 20_000
NEAR = "ARRAY[1, 0.0001 * i, 0]"


async def test_filters_fill_the_limit_with_what_the_indexs_scan_does_not_reach(library: Library) -> None:
    await library.fill("'near ' || i", SCANNED + 1500, vector=NEAR)
    wanted = [
        await library.remember(
            f"far {i}",
            [-1, 0.001 * i, 0.5],
            metadata={"far": True},
            tags=["place:far"],
            scope={"user": "ann"},
            originator="b",
        )
        for i in range(5)
    ]
    await library.index()
    filters: tuple[dict[str, Any], ...] = (
        {"metadata": {"far": True}},
        {"tags": ("place",)},
        {"scope": ("user=ann",)},
        {"originators": ("b",)},
    )
    for filtered in filters:
        assert sorted(await library.ids("", "vector", [1, 0, 0], limit=5, **filtered)) == wanted, filtered
        assert sorted(await library.ids("nothing", "hybrid", [1, 0, 0], limit=5, **filtered)) == wanted, filtered
        # fewer than are asked for, and then none
        assert sorted(await library.ids("", "vector", [1, 0, 0], limit=9, **filtered)) == wanted, filtered
    assert await library.ids("", "vector", [1, 0, 0], scope=("user=bob",)) == []


async def test_a_scope_is_found_by_its_index(library: Library) -> None:
    """A common word of a user with few memories: what is read is not what all have of it."""
    await library.fill("'common ' || i", 4000, vector=NEAR, set_to="scope = ARRAY['user=u' || id %% 1000]")
    await library.index()
    group = library.group
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as robot:
        for strategy in ("fulltext", "vector", "hybrid"):
            for _ in range(2):
                words = strategy == "fulltext"
                found, grown = await recalled(
                    robot,
                    group,
                    "common",
                    strategy=strategy,
                    filters='{"scope": ["user=u7"]}',
                    model=None if words else library.model,
                    vector=None if words else "[1,0,0]",
                )
            assert found == 4
            assert {name: count for name, count in grown.items() if count > 20} == {}, strategy


async def test_the_oldest_of_many_that_are_equally_near_are_told(library: Library) -> None:
    """By the index, too, whichever of them its scan comes upon first."""
    await library.fill("'same ' || i", 60, vector="ARRAY[1, 0, 0]")
    await library.fill("'other ' || i", 2000, vector="ARRAY[1, 0.001 * i, 0]")
    ((oldest,),) = await library.group.sql("SELECT min(id) FROM robotgroups.memories")
    exact = await library.ids("", "vector", [1, 0, 0], limit=7)
    await library.index()
    assert exact == list(range(oldest, oldest + 7))
    assert await library.ids("", "vector", [1, 0, 0], limit=7) == exact


async def test_what_is_without_a_word_is_looked_for_in_the_own_space(library: Library) -> None:
    group = library.group
    theirs = await group.store.ensure_group(replace(KEY, name="theirs"), GroupSettings())
    await group.store.reconcile_members(theirs, ["x"], [])
    mine = [await library.remember(f"mine {i}") for i in range(3)]
    refund = await library.remember("a refund")
    while await group.store.lex(group.id, 100):
        pass
    other = Library(replace(group, id=theirs), library.model, group.sql)
    await other.fill("'theirs ' || i", 4000)
    async with await psycopg.AsyncConnection.connect(group.dsn, autocommit=True) as robot:
        for analyzed in (False, True):
            if analyzed:
                await group.sql("ANALYZE robotgroups.lexemes, robotgroups.memories")
            assert await library.ids("-refund", "fulltext") == mine
            assert await library.ids("refund or -mine", "fulltext") == [refund]
            assert await library.ids("-refund", "fulltext", originators=("a",)) == mine
            found, grown = await recalled(robot, group, "-refund")
            assert found == 3
            if analyzed:
                assert {name: count for name, count in grown.items() if count > 50} == {}


async def test_any_number_of_forgotten_ones_hides_none_that_lives(library: Library) -> None:
    """No more than the newest 2,000 matches are ranked: of those that live."""
    old = [await library.remember(f"meeting {i}", [1, 0, 0]) for i in range(3)]
    await library.fill("'meeting meeting ' || i", 2500, set_to="forgotten_at = now()")
    await library.fill("'meeting, meeting ' || i", 2500, set_to="expires_at = now() - interval '1 s'")
    for analyzed in (False, True):
        if analyzed:
            await library.group.sql("ANALYZE robotgroups.lexemes, robotgroups.memories")
        assert await library.ids("meeting", "fulltext", limit=3) == old
        assert await library.ids("meeting", "fulltext") == old
        found = await library.recall("meeting", "hybrid", [1, 0, 0])
        assert [(i, parts["fulltext_rank"]) for i, parts in found] == [(i, n) for n, i in enumerate(old, 1)]
        forgotten = await library.ids("meeting", "fulltext", limit=10, include_forgotten=True)
        assert len(set(forgotten) - set(old)) == 10


async def test_a_time_alone_is_answered_by_the_newest_of_it(library: Library) -> None:
    """As of "what did we do last week?", of which nothing is left to be searched for but stop words."""
    ids = [await library.remember(f"memory {i}") for i in range(4)]
    await library.group.sql(
        "UPDATE robotgroups.memories SET created_at = '2026-01-01Z'::timestamptz + (id - %s) * interval '1 day' "
        "WHERE id = ANY (%s)",
        ids[0], ids,
    )  # fmt: skip
    second = datetime(2026, 1, 2, tzinfo=UTC)
    during: dict[str, Any] = {"since": second, "until": second + timedelta(days=2)}
    found = await library.recall("what did we do?", "fulltext", **during)
    assert [(i, parts["score"], parts["fulltext_rank"]) for i, parts in found] == [(ids[2], 1.0, 1), (ids[1], 0.5, 2)]
    assert await library.ids("what did we do?", "fulltext", limit=1, **during) == [ids[2]]
    assert await library.ids("what did we do?", "fulltext") == []
    assert await library.ids("nothing of it", "fulltext", **during) == []
