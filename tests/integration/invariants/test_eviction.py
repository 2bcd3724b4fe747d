"""Who leaves a full working set: Postgres chooses as ``robotgroups.eviction`` says, under every policy."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robotgroups.eviction import Place, least_valuable
from robotgroups.models import Eviction, GroupSettings
from robotgroups.updating import Patch

from .conftest import KEY, Group

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)

times = st.integers(0, 60 * 24 * 3600).map(lambda seconds: NOW - timedelta(seconds=seconds))


@st.composite
def working_sets(draw: st.DrawFn) -> list[Place]:
    ids = draw(st.lists(st.integers(1, 10_000), unique=True, max_size=30))
    return [
        Place(
            memory_id=i,
            tokens=draw(st.integers(0, 40)),
            added_at=draw(times),
            last_accessed_at=draw(times),
            access_count=draw(st.sampled_from([0, 0, 0, 1, 2, 7, 100])),
            pinned=draw(st.sampled_from([False, False, False, True])),
        )
        for i in ids
    ]


@pytest.fixture(scope="module")
def connection(shared_dsn: str) -> Iterator[psycopg.Connection]:
    """One group, whose working set each example fills anew; ``now()`` is NOW."""
    with psycopg.connect(shared_dsn, autocommit=True) as made:
        made.execute(
            "SELECT robotgroups.ensure_group('local', 'default', 'evicting', "
            """'{"language": "english", "max_tokens": 100000}')"""
        )
        # the transaction's clock, as of the example
        made.execute("CREATE SCHEMA clock")
        made.execute(
            f"CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '{NOW}'::timestamptz $$"
        )
        made.execute(
            "ALTER FUNCTION robotgroups.least_valuable(bigint, text, integer, bigint[]) "
            "SET search_path = robotgroups, clock, pg_catalog, pg_temp"
        )
        yield made


@pytest.mark.parametrize("policy", list(Eviction))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=working_sets(), need=st.integers(1, 400), data=st.data())
def test_postgres_evicts_what_the_policy_says(
    connection: psycopg.Connection, policy: Eviction, places: list[Place], need: int, data: st.DataObject
) -> None:
    spare = data.draw(st.lists(st.sampled_from([p.memory_id for p in places]), unique=True)) if places else []
    with connection.transaction(force_rollback=True):
        row = connection.execute("SELECT id FROM robotgroups.groups").fetchone()
        assert row is not None
        for slot, p in enumerate(places):
            connection.execute(
                "INSERT INTO robotgroups.working_memory "
                "(group_id, slot, memory_id, tokens, keeper, added_at, last_accessed_at, access_count, pinned) "
                "VALUES (%s, %s, %s, %s, 'a', %s, %s, %s, %s)",
                (row[0], slot, p.memory_id, p.tokens, p.added_at, p.last_accessed_at, p.access_count, p.pinned),
            )
        chosen = connection.execute(
            "SELECT memories, freed FROM robotgroups.least_valuable(%s, %s, %s, %s::bigint[])",
            (row[0], policy.value, need, spare),
        ).fetchone()
    expected = least_valuable(places, policy, need, NOW, spare)
    assert chosen is not None
    assert (chosen[0] or []) == expected
    assert (chosen[1] or 0) == sum(p.tokens for p in places if p.memory_id in expected)


@given(places=working_sets(), need=st.integers(1, 400), policy=st.sampled_from(list(Eviction)))
def test_no_more_leave_than_have_to_and_pinned_ones_never(places: list[Place], need: int, policy: Eviction) -> None:
    leaving = least_valuable(places, policy, need, NOW)
    by_id = {p.memory_id: p for p in places}
    freed = [by_id[i].tokens for i in leaving]
    assert not any(by_id[i].pinned for i in leaving)
    assert sum(freed[:-1]) < need
    if sum(freed) < need:  # then nothing that could leave is left
        assert set(leaving) == {p.memory_id for p in places if not p.pinned and p.tokens}


@given(st.permutations([Place(i, 1, NOW, NOW) for i in range(6)]), st.sampled_from(list(Eviction)))
def test_ties_go_to_the_older_memory_whatever_the_order(places: list[Place], policy: Eviction) -> None:
    assert least_valuable(places, policy, 3, NOW) == [0, 1, 2]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("policy", "leaves"),
    [(Eviction.BALANCED, "second"), (Eviction.LRU, "third"), (Eviction.LFU, "second"), (Eviction.FIFO, "first")],
)
async def test_a_group_evicts_by_its_own_policy(group: Group, policy: Eviction, leaves: str) -> None:
    """Three memories: the first came first and was used most, the third was not used for longest."""
    await group.store.ensure_group(KEY, GroupSettings(max_tokens=30, eviction=policy))
    await group.arrive("a")
    ids = {name: (await group.remember(name, 10)).id for name in ("first", "second", "third")}
    for name, accesses, hours in (("first", 9, 1), ("second", 0, 2), ("third", 3, 3)):
        await group.sql(
            "UPDATE robotgroups.working_memory SET access_count = %s, "
            "last_accessed_at = now() - make_interval(hours => %s) WHERE memory_id = %s",
            accesses, hours, ids[name],
        )  # fmt: skip
    await group.remember("fourth", 10)
    held = {m.content for m in (await group.store.snapshot(group.id)).working_memory}
    assert {"first", "second", "third", "fourth"} - held == {leaves}


PLACES = """
SELECT memory_id, tokens, added_at, last_accessed_at, access_count, pinned FROM robotgroups.working_memory
ORDER BY memory_id
"""
RANKED = (
    "SELECT ranked_at, cardinality(memories), (SELECT ranking_used FROM robotgroups.groups) FROM robotgroups.rankings"
)


@pytest.mark.anyio
@pytest.mark.parametrize("policy", list(Eviction))
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_ranking_that_was_made_before_chooses_as_one_made_now(
    group: Group, policy: Eviction, seed: int
) -> None:
    """Each of many evictions, among accesses, pins, growth, losses and returns that make the ranking wrong."""
    chosen = random.Random(seed)
    await group.store.ensure_group(KEY, GroupSettings(max_tokens=400, eviction=policy))
    await group.arrive("a")
    said: dict[str, Any] = {"robot": "a", "tenure": 1}
    ids = [(await group.remember(f"memory {n}", 10)).id for n in range(40)]
    await group.sql(
        "UPDATE robotgroups.working_memory SET last_accessed_at = now() - make_interval(mins => memory_id::int)"
    )
    made = set()
    for n in range(150):
        one = chosen.choice(ids)
        match chosen.choice(["access", "pin", "forget", "restore", "grow", *["remember"] * 15]):
            case "access":
                await group.store.into_working_memory(group.id, **said, memory_ids=[one])
            case "pin":
                await group.store.pin(group.id, **said, memory_ids=[one], pinned=n % 3 == 0)
            case "forget":
                await group.store.forget(group.id, **said, memory_id=one)
            case "restore":
                await group.store.restore(group.id, **said, memory_id=one)
            case "grow":
                patch = Patch.checked(content=f"what has grown into something longer {n} {one}")
                await group.store.update(group.id, **said, memory_id=one, patch=patch, tokenizer="cl100k_base")
            case "remember":
                places = [Place(*row) for row in await group.sql(PLACES)]
                tokens = chosen.choice([5, 10, 25])
                need = sum(p.tokens for p in places) + tokens - 400
                expected = least_valuable(places, policy, need, datetime.now(UTC)) if need > 0 else []
                done = await group.remember(f"another {n}", tokens)
                ids.append(done.id)
                held = {row[0] for row in await group.sql(PLACES)}
                assert {p.memory_id for p in places} - held == set(expected), n
                made.update(await group.sql(RANKED))
    assert len({at for at, *_ in made}) < len({(at, used) for at, _, used in made})  # one served several times
