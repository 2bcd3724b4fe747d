"""Imports: what they keep and leave as it is, M2, M3 and M4 under them, and what becomes of one that is interrupted."""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from robotgroups.errors import InvalidExportError, NotPermittedError
from robotgroups.filing import FileDraft
from robotgroups.memories import Memory
from robotgroups.models import GroupKey
from robotgroups.remembering import NewMemory
from robotgroups.store import Store, robot_dsn
from robotgroups.transfer import exporting
from robotgroups.transfer.batches import MAX_CHARACTERS, MAX_ITEMS
from robotgroups.transfer.format import End, Header, LineKind, Model, Position, line_of
from robotgroups.transfer.importing import Done, Reader, check_whole, import_lines
from robotgroups.transfer.line_fields import CHUNK, EARLIER, FILE, MEMORY, RELATION
from robotgroups.updating import Patch

from .conftest import World, content

pytestmark = pytest.mark.anyio

WHO: dict[str, Any] = {"robot": None, "tenure": None}
HEADER = line_of(LineKind.HEADER, {"format": "robotgroups", "version": 1})
END = line_of(LineKind.END, {})
LONG_AGO = "2020-05-01T10:00:00+00:00"


def memory_line(text: str, **more: Any) -> bytes:
    return line_of(LineKind.MEMORY, {"content": text, "originator": "a", **more})


def by_hand(*lines: bytes, header: bytes = HEADER) -> list[bytes]:
    """An export that somebody wrote."""
    return [header, *lines, END]


async def all_memories(world: World, group_id: int) -> list[Memory]:
    """Every memory of the group's space, forgotten ones too."""
    rows = await world.sql(
        "SELECT m.id FROM robotgroups.memories m JOIN robotgroups.groups g USING (space_id) WHERE g.id = %s ORDER BY 1",
        group_id,
    )
    return [await world.store.memory(group_id, memory_id) for (memory_id,) in rows]


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


# -- interrupted -------------------------------------------------------------------------------------------------------


class StopError(Exception):
    """The import is interrupted here."""


def stop_after(batches: int) -> Any:
    """Hears of batches, and stops the import after some."""
    seen: list[int] = []

    def tell(done: Done) -> None:
        seen.append(done.line)
        if len(seen) == batches:
            raise StopError

    return tell


async def test_an_import_goes_on_behind_its_last_batch(world: World) -> None:
    source, target = await world.group("source"), await world.group("target")
    count = 3 * MAX_ITEMS + 7
    await world.remember(source, *(NewMemory(f"memory {n}", tags=["t"]) for n in range(count)))
    lines = await world.export(source)
    done = Done()
    with pytest.raises(StopError):
        await world.bring_in(target, lines, tell=stop_after(2), done=done)
    assert (done.line, done.created) == (1 + 2 * MAX_ITEMS + 1, 2 * MAX_ITEMS)  # the header, and a mark
    rest = await world.bring_in(target, lines, resume=True)
    assert (rest.resumed_after, rest.memories, rest.created) == (done.line, MAX_ITEMS + 7, MAX_ITEMS + 7)
    assert content(await world.export(target)) == content(lines)
    assert await world.sql("SELECT * FROM robotgroups.imports") == []
    assert (await world.bring_in(target, lines, resume=True)).resumed_after == 0


async def test_what_was_forgotten_meanwhile_does_not_come_back_when_it_goes_on(world: World) -> None:
    target = await world.group("target")
    lines = by_hand(*(memory_line(f"memory {n}") for n in range(2 * MAX_ITEMS)))
    with pytest.raises(StopError):
        await world.bring_in(target, lines, tell=stop_after(1))
    (first, *_) = await all_memories(world, target)
    await world.sql("DELETE FROM robotgroups.memories WHERE id = %s", first.id)
    await world.bring_in(target, lines, resume=True)
    assert len(await all_memories(world, target)) == 2 * MAX_ITEMS - 1


async def test_a_history_longer_than_a_batch_comes_in_over_several(world: World) -> None:
    source, target = await world.group("source"), await world.group("target")
    (long,) = await world.remember(source, "long")
    for n in range(12):
        text = f"version {n} " + "word " * (MAX_CHARACTERS // 50)
        patch = Patch.checked(text)
        await world.store.update(source, **WHO, memory_id=long, patch=patch, tokenizer="cl100k_base")
    await world.remember(source, "after it")
    lines = await world.export(source)
    with pytest.raises(StopError):
        await world.bring_in(target, lines, tell=stop_after(1))
    done = await world.bring_in(target, lines, resume=True)
    assert (done.resumed_after, done.memories, done.created) == (1, 2, 1)
    assert content(await world.export(target)) == content(lines)


async def test_an_export_goes_on_behind_its_last_mark(world: World) -> None:
    source = await world.group("source")
    ids = await world.remember(source, *(f"memory {n}" for n in range(exporting.PAGE + 20)))
    for n in range(exporting.PAGE + 5):
        await world.store.relate(source, **WHO, source=ids[n], target=ids[n + 1], kind="next", weight=1)
    whole = await world.export(source)
    for at in [n for n, line in enumerate(whole) if b'"type":"mark"' in line[:20]]:
        export = await exporting.resumed(world.store, source, Reader(iter(whole)).header)
        position = json.loads(whole[at])
        relations, files = position.get("relations"), position.get("files")
        found = Position(position["memories"], relations and tuple(relations), files and tuple(files))
        rest = [line async for page in exporting.pages(world.store, export, found) for line in page]
        assert whole[: at + 1] + rest == whole[:-1]


# -- refused -----------------------------------------------------------------------------------------------------------


async def test_a_bad_line_is_named_and_nothing_of_its_batch_is_there(world: World) -> None:
    target = await world.group("target")
    lines = [memory_line(f"memory {n}") for n in range(MAX_ITEMS + 10)]
    lines[MAX_ITEMS + 5] = memory_line("  ")
    done = Done()
    with pytest.raises(InvalidExportError, match=f"line {MAX_ITEMS + 7}: content must not be blank") as refused:
        await world.bring_in(target, by_hand(*lines), done=done)
    assert refused.value.line == MAX_ITEMS + 7
    assert done.line == 1 + MAX_ITEMS
    assert len(await all_memories(world, target)) == MAX_ITEMS
    lines[MAX_ITEMS + 5] = memory_line("put right")
    assert (await world.bring_in(target, by_hand(*lines), resume=True)).created == 10


def whole(*lines: bytes) -> list[bytes]:
    sha256 = hashlib.sha256(b"".join(lines)).hexdigest()
    return [*lines, End(sha256=sha256).line()]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (whole(HEADER, memory_line("one"))[:-1], "it is not whole: its last line"),
        ([*whole(HEADER, memory_line("one"))[:-1], b'{"type":"end","sha'], "it is not whole: its last line"),
        (
            [HEADER, memory_line("other"), whole(HEADER, memory_line("one"))[-1]],
            "its checksum is not that of its lines",
        ),
        ([], "it is not whole"),
    ],
)
async def test_what_is_not_whole_is_refused_before_anything_is_done(lines: Sequence[bytes], message: str) -> None:
    with pytest.raises(InvalidExportError, match=message):
        check_whole(iter(lines))


async def test_what_is_whole_is_not_refused(world: World) -> None:
    group_id = await world.group("g")
    await world.remember(group_id, "one")
    check_whole(iter(await world.export(group_id)))
    check_whole(iter(by_hand(memory_line("one"))))
    check_whole(iter([*whole(HEADER, b"\n", memory_line("one"), b"\n"), b"\n"]))


async def test_from_a_stream_the_checksum_is_compared_at_the_end(world: World) -> None:
    target = await world.group("target")
    lines = [HEADER, memory_line("other"), whole(HEADER, memory_line("one"))[-1]]
    with pytest.raises(InvalidExportError, match="line 3: the checksum is not that of the lines before"):
        await world.bring_in(target, lines)
    assert (await import_unverified(world, target, lines)).memories == 1


async def import_unverified(world: World, group_id: int, lines: Sequence[bytes]) -> Done:
    return await import_lines(world.store, group_id, Reader(iter(lines), whole=False))


async def test_a_robots_login_may_neither_export_nor_import(world: World) -> None:
    group_id = await world.group("g")
    login = await world.store.ensure_login(group_id, "secret")
    async with await Store.open(robot_dsn(world.dsn, login, "secret")) as store:
        with pytest.raises(NotPermittedError):
            await exporting.plan(store, group_id, embeddings=False)
        with pytest.raises(NotPermittedError):
            await store.import_memories(group_id, [], model=None, working_memory=True, source=b"x", line=1)
        with pytest.raises(NotPermittedError):
            await store.imported_to(group_id, b"x")


# -- the page about the format -----------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[3] / "docs" / "exports.md"


def blocks() -> list[list[bytes]]:
    """The blocks of lines on the page that begin with a header."""
    found = re.findall(r"(?:^    \{.*\n)+", PAGE.read_text("utf-8"), re.MULTILINE)
    return [[line.strip().encode() + b"\n" for line in block.splitlines()] for block in found]


async def test_the_smallest_file_of_the_page_can_be_imported(world: World) -> None:
    group_id = await world.group("g")
    assert (await world.bring_in(group_id, blocks()[-1])).created == 1
    assert [m.content for m in await all_memories(world, group_id)] == ["Billing closes at 18:00"]


async def test_a_hash_is_what_the_page_says(world: World) -> None:
    source, target = await world.group("source"), await world.group("target")
    await world.remember(source, "one", NewMemory("one", scope={"user": "u1"}))
    plain = hashlib.sha256(b"one")
    scoped = hashlib.sha256(plain.digest() + hashlib.sha256(b"{user=u1}").digest())
    lines = await world.export(source)
    assert [json.loads(line)["hash"] for line in content(lines)] == [plain.hexdigest(), scoped.hexdigest()]
    relation = {"source": plain.hexdigest(), "target": scoped.hexdigest(), "kind": "k", "weight": 1}
    done = await world.bring_in(target, [*lines[:-1], line_of(LineKind.RELATION, relation), END])
    assert done.relations_created == 1


def test_the_page_names_every_field() -> None:
    page = PAGE.read_text("utf-8")
    for kind, names in (
        ("memory", MEMORY),
        ("version", EARLIER),
        ("relation", RELATION),
        ("file", FILE),
        ("chunk", CHUNK),
    ):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{kind}`")]
        assert [name for name in names if f"`{name}`" not in row] == []
