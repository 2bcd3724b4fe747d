"""Recall in SQL: words, vectors and both, filters that still fill the limit, and what was recalled coming in."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import conninfo

from robotgroups.errors import ArgumentError, NotActiveError
from robotgroups.models import ChangeKind, GroupSettings, Memory
from robotgroups.recall import Fusion, RecallStrategy
from robotgroups.store import Store

from .conftest import KEY
from .library import EMBEDDING, Library

pytestmark = pytest.mark.anyio
SAID: dict[str, Any] = {"robot": "a", "tenure": 1}


async def test_vector_recall_orders_by_cosine_and_breaks_ties_by_age(library: Library) -> None:
    first = await library.remember("east", [1, 0, 0])
    second = await library.remember("north", [0, 1, 0])
    third = await library.remember("east again", [2, 0, 0])
    between = await library.remember("north-east", [1, 1, 0])
    await library.remember("not embedded yet")
    found = await library.recall("", "vector", [1, 0, 0])
    assert [i for i, _ in found] == [first, third, between, second]
    assert [round(parts["vector_score"], 4) for _, parts in found] == [1.0, 1.0, 0.7071, 0.0]
    assert [parts["vector_rank"] for _, parts in found] == [1, 2, 3, 4]
    assert await library.ids("", "vector", [1, 0, 0], limit=2) == [first, third]


async def test_hybrid_fuses_the_ranks_of_candidates_that_each_search_finds_by_itself(library: Library) -> None:
    words = await library.remember("billing billing discrepancy", [0, 0, 1])
    both = await library.remember("a billing question", [1, 0.1, 0])
    vector = await library.remember("invoice trouble", [1, 0, 0])
    found = await library.recall("billing", "hybrid", [1, 0, 0])
    assert [i for i, _ in found] == [words, both, vector]
    scores = {i: parts["score"] for i, parts in found}
    ranks = {i: (parts["fulltext_rank"], parts["vector_rank"]) for i, parts in found}
    assert ranks == {words: (1, 3), both: (2, 2), vector: (None, 1)}
    assert scores[both] == pytest.approx(1 / 62 + 1 / 62)
    assert scores[words] == pytest.approx(1 / 61 + 1 / 63)
    assert scores[vector] == pytest.approx(1 / 61)
    weighted = await library.recall("billing", "hybrid", [1, 0, 0], fusion=Fusion(fulltext=0, vector=2, k=10))
    assert [i for i, _ in weighted] == [vector, both, words]
    assert weighted[0][1]["score"] == pytest.approx(2 / 11)


async def test_filters_leave_enough_to_fill_the_limit(library: Library) -> None:
    wanted = [
        await library.remember(f"far {i}", [-1, 0.001 * i, 0], scope={"user": "ann"}, tags=["db:pg"]) for i in range(5)
    ]
    for i in range(60):
        await library.remember(f"near {i}", [1, 0.001 * i, 0], scope={"user": "bob"}, tags=["other"])
    for filters in ({"scope": ("user=ann",)}, {"tags": ("db",)}):
        assert sorted(await library.ids("", "vector", [1, 0, 0], limit=5, **filters)) == wanted
        assert sorted(await library.ids("near or far", "hybrid", [1, 0, 0], limit=5, **filters)) == wanted


async def test_filters_still_fill_the_limit_with_an_hnsw_index(library: Library) -> None:
    for i in range(300):
        await library.remember(f"near {i}", [1, 0.001 * i, 0])
    wanted = [await library.remember(f"far {i}", [-1, 0.001 * i, 0.5], metadata={"far": True}) for i in range(5)]
    await library.index()
    assert sorted(await library.ids("", "vector", [1, 0, 0], limit=5, metadata={"far": True})) == wanted
    assert len(await library.ids("", "vector", [1, 0, 0], limit=50)) == 50


async def test_fulltext_finds_what_has_no_lexemes_yet_as_well(library: Library) -> None:
    group = library.group
    old = await library.remember("the ticket was closed")
    assert await group.store.lex(group.id, 10) == 1
    assert await group.store.lex(group.id, 10) == 0
    new = await library.remember("the ticket, a ticket, was opened")
    assert await library.ids("tickets", "fulltext") == [new, old]
    before = await library.recall("tickets", "fulltext")
    await group.store.lex(group.id, 10)
    assert await library.recall("tickets", "fulltext") == before
    assert await group.sql("SELECT count(*) FROM robotgroups.lexemes") == [(2,)]


async def test_forgotten_ones_only_when_asked_and_expired_ones_never(library: Library) -> None:
    group = library.group
    kept = await library.remember("word kept", [1, 0, 0])
    forgotten = await library.remember("word forgotten", [1, 0, 0])
    expired = await library.remember("word expired", [1, 0, 0])
    await group.store.forget(group.id, **SAID, memory_id=forgotten)
    await group.sql("UPDATE robotgroups.memories SET expires_at = now() - interval '1 s' WHERE id = %s", expired)
    for strategy, vector in (("fulltext", None), ("vector", [1, 0, 0]), ("hybrid", [1, 0, 0])):
        assert await library.ids("word", strategy, vector) == [kept]
        assert await library.ids("word", strategy, vector, include_forgotten=True) == [kept, forgotten]


async def test_originators_metadata_and_times_filter_every_strategy(library: Library) -> None:
    by_b = await library.remember("word by b", [1, 0, 0], originator="b", metadata={"vip": True, "n": 1})
    by_a = await library.remember("word by a", [1, 0, 0], metadata={"vip": True})
    at = (await library.group.store.memory(library.group.id, by_a)).created_at
    for strategy, vector in (("fulltext", None), ("vector", [1, 0, 0]), ("hybrid", [1, 0, 0])):
        assert await library.ids("word", strategy, vector, originators=("b",)) == [by_b]
        assert await library.ids("word", strategy, vector, metadata={"n": 1}) == [by_b]
        assert await library.ids("word", strategy, vector, until=at) == [by_b]
        assert await library.ids("word", strategy, vector, since=at) == [by_a]


async def test_s1_another_groups_model_is_refused(library: Library) -> None:
    group = library.group
    other = await group.store.ensure_group(
        type(KEY)("local", "default", "other"), GroupSettings(embedding=EMBEDDING | {"model": "theirs"})
    )
    ((model,),) = await group.sql(
        "SELECT s.serving_model FROM robotgroups.spaces s "
        "WHERE s.id = (SELECT g.space_id FROM robotgroups.groups g WHERE g.id = %s)",
        other,
    )
    with pytest.raises(ArgumentError, match=f"model {model} is none of this group's"):
        await group.store.recall(group.id, "", strategy=RecallStrategy.VECTOR, limit=1, model=model, vector=[1, 0, 0])


async def test_recalled_memories_come_into_the_working_set_best_first_and_count_as_accessed(library: Library) -> None:
    """The budget is 100 tokens; tokens are given by hand."""
    group = library.group
    ids = []
    for i in range(4):
        done = await group.store.remember(group.id, **SAID, content=f"memory {i}", tokens=40)
        ids.append(done.id)
    assert [m.id for m in (await group.store.snapshot(group.id)).working_memory] == ids[2:]
    start = (await group.store.snapshot(group.id)).revision
    entered, revision = await group.store.into_working_memory(group.id, **SAID, memory_ids=[ids[3], ids[0], ids[1]])
    assert sorted(entered) == [ids[0], ids[3]]  # there is no room for the third beside them
    assert [(p.keeper, p.access_count, p.pinned) for p in entered.values()] == [("a", 1, False)] * 2
    changes = await group.store.changes(group.id, start)
    assert [(c.kind, c.memory_id) for c in changes] == [
        (ChangeKind.UPDATED, ids[3]),
        (ChangeKind.EVICTED, ids[2]),
        (ChangeKind.ADDED, ids[0]),
    ]
    assert changes[-1].revision == revision
    held = {m.id: m.access_count for m in (await group.store.snapshot(group.id)).working_memory}
    assert held == {ids[0]: 1, ids[3]: 1}
    assert await group.sql("SELECT id, access_count FROM robotgroups.memories ORDER BY id") == [
        (ids[0], 1), (ids[1], 1), (ids[2], 0), (ids[3], 1),
    ]  # fmt: skip
    with pytest.raises(NotActiveError):
        await group.store.into_working_memory(group.id, robot="b", tenure=1, memory_ids=ids)


async def test_what_is_held_already_stays_and_is_counted_on_whatever_comes_in_before_it(library: Library) -> None:
    group, ids = library.group, []
    for content in ("A", "B", "C", "D"):
        done = await group.store.remember(group.id, **SAID, content=content, tokens=40)
        ids.append(done.id)
    a, b, c, d = ids
    for _ in range(5):
        await group.store.into_working_memory(group.id, **SAID, memory_ids=[c])
    before = await group.store.snapshot(group.id)
    assert [(m.id, m.access_count) for m in before.working_memory] == [(c, 5), (d, 0)]
    places, _ = await group.store.into_working_memory(group.id, **SAID, memory_ids=[a, b, c])
    changes = await group.store.changes(group.id, before.revision)
    assert [(change.kind, change.memory_id) for change in changes] == [
        (ChangeKind.UPDATED, c),
        (ChangeKind.EVICTED, d),
        (ChangeKind.ADDED, a),
    ]
    after = {m.id: m for m in (await group.store.snapshot(group.id)).working_memory}
    assert {i: (m.access_count, m.keeper) for i, m in after.items()} == {a: (1, "a"), c: (6, "a")}
    assert {i: (p.access_count, p.last_accessed_at) for i, p in places.items()} == {
        i: (m.access_count, m.last_accessed_at) for i, m in after.items()
    }
    # as robots of the version before ask it
    row = await group.sql("SELECT * FROM robotgroups.into_working_memory(%s, 'a', 1, %s)", group.id, [c, b])
    assert row == [([b, c], (await group.store.status(group.id)).revision)]


async def test_a_common_word_is_ranked_among_its_newest_matches(library: Library) -> None:
    """No more than 2,000 matches are ranked; the newest."""
    group = library.group
    ((space,),) = await group.sql("SELECT space_id FROM robotgroups.groups WHERE id = %s", group.id)
    await group.sql(
        "INSERT INTO robotgroups.memories (space_id, content, content_hash, originator, tokens) "
        "SELECT %s, 'common ' || i, sha256(i::text::bytea), 'a', 1 FROM generate_series(1, 5200) i",
        space,
    )
    while await group.store.lex(group.id, 1000):
        pass
    ((oldest,),) = await group.sql("SELECT min(id) FROM robotgroups.memories")
    for analyzed in (False, True):  # nobody knows how many there are, or few, for which the plan is kept
        if analyzed:
            await group.sql("ANALYZE robotgroups.lexemes")
        ids = await library.ids("common", "fulltext", limit=1000)
        assert ids == list(range(oldest + 3200, oldest + 4200))


async def test_robots_of_the_version_before_are_told_the_same(library: Library) -> None:
    group = library.group
    await library.remember(
        "a blue whale",
        [1, 0, 0],
        tags=["sea:whale"],
        metadata={"n": [1, "two"]},
        scope={"user": "u=1", "case": "c"},
        expires_at=datetime(2100, 1, 1, 12, tzinfo=UTC),
    )
    await library.remember("a blue sky", [0, 1, 0])
    await group.store.pin(group.id, **SAID, memory_ids=await library.ids("sky", "fulltext"), pinned=True)
    for strategy in RecallStrategy:
        words = strategy is RecallStrategy.FULLTEXT
        found = await group.store.recall(
            group.id,
            "blue",
            strategy=strategy,
            limit=10,
            model=None if words else library.model,
            vector=None if words else [1, 0, 0],
        )
        rows = await group.sql(
            "SELECT memory, score, parts FROM robotgroups.recall(%s, %s, 'blue', 10, '{}', %s::bigint, %s, 1, 1, 60)",
            group.id, strategy.value, None if words else library.model, None if words else "[1,0,0]",
        )  # fmt: skip
        told = [replace(Memory.from_json(memory, score), parts=parts) for memory, score, parts in rows]
        assert [m.content for m in told] == ["a blue whale", "a blue sky"]
        assert told == list(found)
        by_itself = await group.sql(
            "SELECT robotgroups.memory_json(m, w) FROM robotgroups.memories m "
            "LEFT JOIN robotgroups.working_memory w ON w.memory_id = m.id ORDER BY m.id"
        )
        assert [memory for memory, _, _ in rows] == [memory for (memory,) in by_itself]
    ((state,),) = await group.sql("SELECT robotgroups.snapshot(%s)", group.id)
    snapshot = await group.store.snapshot(group.id)
    assert tuple(map(Memory.from_json, state["working_memory"])) == snapshot.working_memory
    assert [m.pinned for m in snapshot.working_memory] == [False, True]
    assert (state["revision"], state["epoch"], state["max_tokens"]) == (
        snapshot.revision, snapshot.epoch, snapshot.max_tokens,
    )  # fmt: skip


@pytest.mark.parametrize("by_environment", [False, True])
async def test_times_are_told_in_utc_whatever_the_dsn_and_the_environment_say(
    library: Library, by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.remember("a blue whale")
    options = "-c timezone=Asia/Tokyo -c datestyle=German"
    if by_environment:
        options = ""
        monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    async with await Store.open(conninfo.make_conninfo(library.group.dsn, options=options)) as store:
        (memory,) = await store.recall(library.group.id, "whale", limit=10)
        (same,) = (await store.snapshot(library.group.id)).working_memory
    for time in (memory.created_at, memory.remembered_at, memory.last_accessed_at, same.created_at):
        assert time is not None
        assert time.isoformat().endswith("+00:00")


async def test_more_forgotten_ones_than_are_wanted_do_not_crowd_out_the_rest(library: Library) -> None:
    group = library.group
    old = [await library.remember(f"word {i}") for i in range(3)]
    for i in range(60):
        await library.remember(f"word word {i}")
    await group.sql("UPDATE robotgroups.memories SET forgotten_at = now() WHERE id > %s", old[-1])
    for _ in range(2):
        assert await library.ids("word", "fulltext", limit=3) == old
        assert await library.ids("word", "fulltext", limit=2) == old[:2]
        assert len(await library.ids("word", "fulltext", limit=100, include_forgotten=True)) == 63
        await group.store.lex(group.id, 1000)


@pytest.mark.parametrize(
    "content",
    [
        r"it's o'hara's \\server\share and c:\temp",
        "example.org user@example.org 3.14 x/y 2026-01-02",
        r"übergröße naïve 東京 ' '' \ \\",
        "word " + "x" * 1990 + " after",
        " ".join(f"w{i}" for i in range(600)),
        "the of and",
    ],
)
async def test_a_text_is_found_by_its_own_words_before_and_after_its_lexemes_are_made(
    library: Library, content: str
) -> None:
    group = library.group
    memory = await library.remember(content)
    for limit in (0, 10):
        assert await group.store.lex(group.id, limit) == (1 if limit else 0)
        for word in content.split()[:40]:
            ((nothing,),) = await group.sql("SELECT websearch_to_tsquery('english', %s) = ''", word)
            assert await library.ids(word, "fulltext") == ([] if nothing else [memory]), word


async def test_a_text_with_more_words_than_the_index_takes_is_found_by_its_first_ones(library: Library) -> None:
    words = [f"{i:x}z" for i in range(44_000)]
    memory = await library.remember(" ".join(words))
    assert await library.group.store.lex(library.group.id, 10) == 1
    assert await library.ids(words[0], "fulltext") == [memory]
    assert await library.ids(words[10_000], "fulltext") == [memory]
    ((kept,),) = await library.group.sql("SELECT length(lexemes) FROM robotgroups.lexemes")
    assert 16_000 < kept < len(words)


async def test_s1_what_stands_under_another_spaces_words_is_not_found(library: Library) -> None:
    """Lexemes that name a space they are not of lead nobody over the wall."""
    group = library.group
    theirs = await group.store.ensure_group(replace(KEY, name="theirs"), GroupSettings())
    await group.store.reconcile_members(theirs, ["x"], [])
    mine = await library.remember("secret")
    await group.store.lex(group.id, 10)
    ((space,),) = await group.sql("SELECT space_id FROM robotgroups.groups WHERE id = %s", theirs)
    await group.sql(
        "UPDATE robotgroups.lexemes SET space_id = %s, lexemes = robotgroups.words_of(%s, to_tsvector('secret'))",
        space, space,
    )  # fmt: skip
    assert await group.store.recall(theirs, "secret", limit=5) == []
    assert await library.ids("secret", "fulltext") == []
    assert mine
