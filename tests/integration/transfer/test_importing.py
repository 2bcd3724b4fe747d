"""Imports: what they keep and leave as it is, M2, M3 and M4 under them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from robotgroups.filing import FileDraft
from robotgroups.models import GroupKey
from robotgroups.remembering import NewMemory
from robotgroups.transfer.format import Header, LineKind, Model, line_of
from robotgroups.transfer.importing import Done

from .conftest import END, World, all_memories, by_hand, content, memory_line

pytestmark = pytest.mark.anyio

WHO: dict[str, Any] = {"robot": None, "tenure": None}
LONG_AGO = "2020-05-01T10:00:00+00:00"


async def working_set(world: World, group_id: int) -> list[str]:
    """Contents of the working set, oldest first; the feed leads to it, within the budget at every step."""
    cache, truth = await world.replayed(group_id), await world.store.snapshot(group_id)
    assert list(cache.memories.values()) == list(truth.working_memory)
    return [m.content for m in truth.working_memory]


# -- what is kept ------------------------------------------------------------------------------------------------------


async def test_a_line_by_hand_has_defaults(world: World) -> None:
    group_id = await world.group("g")
    before = datetime.now(UTC)
    done = await world.bring_in(group_id, by_hand(memory_line("one")))
    (memory,) = await all_memories(world, group_id)
    assert done == Done(line=3, memories=1, created=1)
    assert before - timedelta(seconds=5) <= memory.created_at == memory.remembered_at
    assert (memory.content, memory.originator, memory.tokens, memory.remember_count) == ("one", "a", 1, 1)
    assert (memory.tags, memory.metadata, memory.scope, memory.in_working_memory) == ((), {}, {}, False)


async def test_no_time_is_in_the_future(world: World) -> None:
    group_id = await world.group("g")
    future = "2999-01-01T00:00:00Z"
    place = {"keeper": "a", "added_at": future, "last_accessed_at": future}
    await world.bring_in(
        group_id, by_hand(memory_line("one", created_at=future, remembered_at=future, working_memory=place))
    )
    (memory,) = await all_memories(world, group_id)
    assert memory.created_at <= memory.remembered_at <= datetime.now(UTC) + timedelta(seconds=5)
    assert memory.last_accessed_at is not None
    assert memory.last_accessed_at <= datetime.now(UTC) + timedelta(seconds=5)


async def test_what_is_there_stays_as_it_is(world: World) -> None:
    group_id = await world.group("g")
    one, two = await world.remember(group_id, NewMemory("one", tags=["mine"]), "two")
    await world.store.forget(group_id, **WHO, memory_id=two)
    before = await all_memories(world, group_id)
    lines = by_hand(
        memory_line("one", tags=["theirs"], created_at=LONG_AGO, remember_count=9, version=2),
        line_of(LineKind.VERSION, {"version": 1, "content": "uno", "since": LONG_AGO, "until": LONG_AGO}),
        memory_line("two"),
        memory_line("one", scope={"user": "u1"}),
    )
    done = await world.bring_in(group_id, lines)
    after = await all_memories(world, group_id)
    assert (done.memories, done.created, done.versions) == (3, 1, 0)
    assert after[:2] == before
    assert (after[2].content, after[2].scope) == ("one", {"user": "u1"})
    assert len(await world.store.history(group_id, one)) == 1


async def test_the_same_line_twice_is_one_memory(world: World) -> None:
    group_id = await world.group("g")
    place = {"keeper": "a"}
    done = await world.bring_in(group_id, by_hand(*[memory_line("one", working_memory=place)] * 3))
    assert (done.memories, done.created, done.entered) == (3, 1, 1)
    assert await working_set(world, group_id) == ["one"]


async def test_what_has_expired_is_left_out_and_gives_way(world: World) -> None:
    group_id = await world.group("g")
    await world.remember(group_id, NewMemory("one", tags=["old"], expires_at=datetime.now(UTC) + timedelta(hours=1)))
    await world.sql("UPDATE robotgroups.memories SET expires_at = now() - interval '1 s'")
    done = await world.bring_in(group_id, by_hand(memory_line("gone", expires_at=LONG_AGO), memory_line("one")))
    assert (done.created, done.expired) == (1, 1)
    assert [(m.content, m.tags) for m in await all_memories(world, group_id)] == [("one", ())]


async def test_an_export_leaves_out_what_has_expired(world: World) -> None:
    group_id = await world.group("g")
    soon = NewMemory("soon", expires_at=datetime.now(UTC) + timedelta(hours=1))
    one, _, two = await world.remember(group_id, "one", soon, "two")
    await world.store.relate(group_id, **WHO, source=one, target=two, kind="k", weight=1)
    await world.sql("UPDATE robotgroups.memories SET expires_at = now() - interval '1 s' WHERE content = 'two'")
    kept = [json.loads(line) for line in content(await world.export(group_id))]
    assert [(line["type"], line["content"]) for line in kept] == [("memory", "one"), ("memory", "soon")]


# -- the working set ---------------------------------------------------------------------------------------------------


def members(*names: str, **places: dict[str, Any]) -> list[bytes]:
    """Memories of one token each in a working set, used one after the other."""
    return [
        memory_line(
            name,
            working_memory={
                "keeper": "k",
                "added_at": LONG_AGO,
                "access_count": 1,
                "last_accessed_at": f"2026-01-01T00:00:{number:02}Z",
                **places.get(name, {}),
            },
        )
        for number, name in enumerate(names)
    ]


async def test_of_too_many_the_most_valuable_stay(world: World) -> None:
    group_id = await world.group("g", max_tokens=3, eviction="lru")
    lines = members("a", "b", "c", "d", "e", b={"last_accessed_at": "2026-02-01T00:00:00Z"}, c={"pinned": True})
    done = await world.bring_in(group_id, by_hand(*lines))
    assert (done.created, done.entered) == (5, 5)
    assert await working_set(world, group_id) == ["b", "c", "e"]
    (b, c, _) = (await world.store.snapshot(group_id)).working_memory
    assert (b.keeper, b.access_count, b.pinned) == ("k", 1, False)
    assert c.pinned


async def test_nothing_takes_the_place_of_what_is_pinned(world: World) -> None:
    group_id = await world.group("g", max_tokens=3)
    pinned = {name: {"pinned": True} for name in "bcde"}
    done = await world.bring_in(group_id, by_hand(*members("a", "b", "c", "d", "e", "f", **pinned)))
    assert (done.created, done.entered, done.no_room) == (6, 4, 2)
    assert await working_set(world, group_id) == ["b", "c", "d"]


async def test_what_is_in_the_working_set_already_keeps_its_place(world: World) -> None:
    group_id = await world.group("g", max_tokens=3)
    await world.remember(group_id, "a")
    done = await world.bring_in(group_id, by_hand(*members("a", "b", a={"pinned": True})))
    assert (done.created, done.entered) == (1, 1)
    assert [(m.content, m.keeper, m.pinned) for m in (await world.store.snapshot(group_id)).working_memory] == [
        ("a", "a", False),
        ("b", "k", False),
    ]
    assert await working_set(world, group_id) == ["a", "b"]


async def test_to_import_twice_lets_nothing_go(world: World) -> None:
    group_id = await world.group("g", max_tokens=3)
    lines = by_hand(*members("a", "b", "c", "d", "e"))
    await world.bring_in(group_id, lines)
    before = await world.store.snapshot(group_id)
    assert (await world.bring_in(group_id, lines)).entered == 0
    assert await world.store.snapshot(group_id) == before
    await world.store.clear_working_memory(group_id, **WHO)
    assert (await world.bring_in(group_id, lines)).entered == 3
    assert await working_set(world, group_id) == ["a", "b", "c"]


async def test_into_long_term_memory_alone(world: World) -> None:
    group_id = await world.group("g")
    done = await world.bring_in(group_id, by_hand(*members("a", "b")), working_memory=False)
    assert (done.created, done.entered) == (2, 0)
    assert await working_set(world, group_id) == []
    assert [hit.content for hit in await world.store.recall(group_id, "b", limit=5)] == ["b"]


async def test_two_groups_of_a_space_come_back_with_their_working_sets(world: World) -> None:
    first, second = await world.group("x", space="hive"), await world.group("y", space="hive")
    await world.remember(first, "one", "both")
    await world.remember(second, "two", "both")
    exports = [await world.export(group_id) for group_id in (first, second)]
    copies = [await world.group(name, space="copy") for name in ("xx", "yy")]
    done = [await world.bring_in(group_id, lines) for group_id, lines in zip(copies, exports, strict=True)]
    assert [d.created for d in done] == [3, 0]
    assert [await working_set(world, group_id) for group_id in copies] == [["one", "both"], ["both", "two"]]


# -- what belongs to memories ------------------------------------------------------------------------------------------


async def test_relations_of_memories_that_are_not_there_are_counted(world: World) -> None:
    source, target = await world.group("source"), await world.group("target")
    one, two = await world.remember(source, "one", "two")
    await world.store.relate(source, **WHO, source=one, target=two, kind="supports", weight=0.5)
    lines = await world.export(source)
    without = [line for line in lines if b'"content":"two"' not in line][:-1]
    done = await world.bring_in(target, [*without, END])
    assert (done.relations, done.relations_created, done.relations_missing) == (1, 0, 1)
    again = await world.bring_in(target, lines)
    assert (again.relations_created, again.relations_missing) == (1, 0)


MODEL = {"provider": "openai", "model": "m", "dimensions": 2, "base_url": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(
    ("embedding", "embedded", "jobs"),
    [(MODEL, 1, []), (MODEL | {"model": "other"}, 0, ["embed"]), ({"provider": "none"}, 0, [])],
)
async def test_embeddings_are_taken_when_the_model_is_the_same(
    world: World, embedding: dict[str, Any], embedded: int, jobs: list[str]
) -> None:
    group_id = await world.group("g", embedding=embedding)
    header = Header(group=GroupKey("c", "n", "g"), model=Model("openai", "m", 2)).line()
    vector = line_of(LineKind.EMBEDDING, {"vector": [0.1, -0.0]})
    done = await world.bring_in(group_id, by_hand(memory_line("one"), vector, header=header))
    assert done.embedded == embedded
    assert [kind for (kind,) in await world.sql("SELECT kind FROM robotgroups.jobs")] == jobs
    stored = await world.sql("SELECT embedding::text FROM robotgroups.embeddings")
    assert stored == [("[0.1,-0]",)] * embedded


async def test_what_comes_with_it_is_not_extracted_again(world: World) -> None:
    extraction = {"provider": "openai", "model": "m", "tags": True, "propositions": True}
    group_id = await world.group("g", extraction=extraction)
    lines = by_hand(
        memory_line("nothing"), memory_line("tagged", tags=["t"]), memory_line("propositions", propositions=["it is"]),
        memory_line("forgotten", forgotten_at=LONG_AGO),
    )  # fmt: skip
    await world.bring_in(group_id, lines)
    jobs = await world.sql(
        "SELECT m.content, j.kind, j.not_before = 'infinity' FROM robotgroups.jobs j "
        "JOIN robotgroups.memories m ON m.id = j.memory_id ORDER BY m.id, j.kind"
    )
    assert jobs == [
        ("nothing", "propositions", False),
        ("nothing", "tags", False),
        ("tagged", "propositions", False),
        ("tagged", "relate", False),
        ("propositions", "tags", False),
        ("forgotten", "propositions", True),
        ("forgotten", "tags", True),
    ]


async def test_a_loaded_file_is_known_and_can_be_unloaded(world: World) -> None:
    source, target = await world.group("source"), await world.group("target")
    draft = FileDraft.checked("/a.md", "# One\n\nfirst part\n\n# Two\n\nsecond part\n", chunk_tokens=16)
    await world.store.sync_file(source, **WHO, file=draft.as_json())
    await world.remember(target, "# Two\n\nsecond part")  # somebody says it there, too
    done = await world.bring_in(target, await world.export(source))
    assert (done.files, done.files_created, done.files_partial) == (1, 1, 0)
    assert not (await world.store.sync_file(target, **WHO, file=draft.as_json())).changed
    assert (await world.store.unload_file(target, **WHO, path="/a.md", scope=())).removed == 1
    assert [(m.content, m.remember_count) for m in await all_memories(world, target)] == [("# Two\n\nsecond part", 1)]
    await working_set(world, target)


async def test_a_file_that_lacks_a_part_is_loaded_in_full_the_next_time(world: World) -> None:
    source, target = await world.group("source"), await world.group("target")
    draft = FileDraft.checked("/a.md", "# One\n\nfirst part\n\n# Two\n\nsecond part\n", chunk_tokens=16)
    await world.store.sync_file(source, **WHO, file=draft.as_json())
    lines = [line for line in await world.export(source) if not (b'"memory"' in line[:20] and b"second" in line)][:-1]
    done = await world.bring_in(target, [*lines, END])
    assert (done.files_created, done.files_partial) == (1, 1)
    synced = await world.store.sync_file(target, **WHO, file=draft.as_json())
    assert (synced.changed, synced.added) == (True, 1)


async def test_retention_removes_the_oldest_whatever_their_ids(world: World) -> None:
    """Imported memories are older than those with lower ids; in steps smaller than what is too much."""
    group_id = await world.group("g", keep_memories=10)
    await world.remember(group_id, *(f"today {n}" for n in range(10)))
    old = [memory_line(f"old {n}", created_at=LONG_AGO, remembered_at=LONG_AGO) for n in range(30)]
    await world.bring_in(group_id, by_hand(*old))
    while (await world.store.enforce_retention(group_id, limit=4, after=0)).removed:
        pass
    assert [m.content for m in await all_memories(world, group_id)] == [f"today {n}" for n in range(10)]
