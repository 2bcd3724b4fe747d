"""Files as memories: loaded, loaded again as they change, unloaded; and whose memories they are meanwhile."""

import hashlib
from pathlib import Path

import psycopg
import pytest

from robotgroups.errors import (
    ArgumentError,
    InvalidFileError,
    InvalidTagError,
    MemoryUnavailableError,
    UnknownMemoryError,
)
from robotgroups.filing import FileDraft, FileSync, LoadProgress, RefusedFile
from robotgroups.group import AsyncRobotGroup
from robotgroups.models import ChangeKind, Memory

from .conftest import Bench

pytestmark = pytest.mark.anyio

GUIDE = """\
---
title: Guide
tags: [docs:guide, team]
audience: all
---
# Guide

What it is.

## Install

Run it.

## Use

Use it.
"""
WHAT, INSTALL, USE = "# Guide\n\nWhat it is.", "## Install\n\nRun it.", "## Use\n\nUse it."


def says(path: Path, text: str) -> None:
    """Lets a file say a text; a surrogate stands for a byte that is none."""
    path.write_bytes(text.encode(errors="surrogateescape"))


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    path = tmp_path / "guide.md"
    says(path, GUIDE)
    return path


def figures(done: FileSync) -> tuple[bool, int, int, int, int]:
    """Of a load: changed, chunks, added, updated, removed."""
    return done.changed, done.chunks, done.added, done.updated, done.removed


async def state(bench: Bench) -> list[tuple[object, ...]]:
    """Everything that is stored of memories, files and the feed."""
    return [
        row
        for table in ("memories", "files", "file_chunks", "changes", "groups", "jobs", "memory_versions", "relations")
        for row in await bench.sql(f"SELECT t.*, xmin::text FROM robotgroups.{table} t ORDER BY t::text")
    ]


async def test_each_heading_is_a_long_term_memory_with_what_the_front_matter_says(
    group: AsyncRobotGroup, bench: Bench, guide: Path
) -> None:
    kept = await group.remember("in the working set")
    done = await group.load_file(guide, tags=["mine"], metadata={"source": "wiki"})
    assert done.path == str(guide)
    assert figures(done) == (True, 3, 3, 0, 0)
    memories = await bench.memories(group)
    assert set(memories) == {"in the working set", WHAT, INSTALL, USE}
    install = memories[INSTALL]
    assert install.tags == ("docs:guide", "team", "mine")
    assert install.metadata == {
        "title": "Guide",
        "audience": "all",
        "source": "wiki",
        "file": {"path": str(guide), "heading": ["Guide", "Install"]},
    }
    assert (install.originator, install.remember_count, install.in_working_memory) == ("robot", 1, False)
    cache = await bench.agree(group)
    assert list(cache.memories) == [kept]
    assert cache.revision == done.revision
    told = await bench.store.changes(group._group_id, done.revision - 3)
    assert [(c.kind, Memory.from_json(c.payload)) for c in told] == [
        (ChangeKind.ADDED, memories[content]) for content in (WHAT, INSTALL, USE)
    ]
    # it is found, and comes into the working set when that is asked for
    (found,) = await group.recall("install", tags=["docs"], into_working_memory=True)
    assert (found.content, found.in_working_memory) == (INSTALL, True)
    assert await bench.settle(group) == 3
    assert [r.memory.content for r in await group.related(install.id, kinds=["tags"])] == [WHAT, USE]


async def test_an_unchanged_file_is_not_written_at_all(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    first = await group.load_file(guide, tags=["mine"])
    await group.recall("install", into_working_memory=True)
    before = await state(bench)
    again = await group.load_file(str(guide), tags=["mine"])
    assert figures(again) == (False, 3, 0, 0, 0)
    assert again.revision == first.revision + 1
    assert await state(bench) == before
    # nor by whoever comes second of two that load it at once
    file = FileDraft.checked(str(guide), GUIDE, tags=["mine"]).as_json()
    done = await bench.store.sync_file(group._group_id, robot=None, tenure=None, file=file)
    assert figures(done) == (False, 3, 0, 0, 0)
    assert await state(bench) == before


async def test_only_what_has_changed_in_a_file_is_touched(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    await group.load_file(guide)
    before = await bench.memories(group)
    says(guide, GUIDE.replace("Run it.", "Run it twice.").replace("## Use\n\nUse it.\n", "") + "## More\n\nMore.\n")
    done = await group.load_file(guide)
    assert figures(done) == (True, 3, 2, 0, 2)
    after = await bench.memories(group)
    assert set(after) == {WHAT, "## Install\n\nRun it twice.", "## More\n\nMore."}
    assert after[WHAT] == before[WHAT]
    for content in (INSTALL, USE):
        with pytest.raises(UnknownMemoryError):
            await group.get(before[content].id)
    await bench.agree(group)
    # a chunk that only moved is the same memory
    says(guide, GUIDE.replace("# Guide\n", "# Guide\n\nNew.\n\n## First\n\nF.\n\n# Guide\n", 1))
    await group.load_file(guide)
    moved = await bench.memories(group)
    assert moved[WHAT].id == before[WHAT].id
    positions = await bench.sql(
        "SELECT m.content, c.position FROM robotgroups.file_chunks c JOIN robotgroups.memories m ON m.id = c.memory_id "
        "ORDER BY c.position"
    )
    assert positions == [("# Guide\n\nNew.", 0), ("## First\n\nF.", 1), (WHAT, 2), (INSTALL, 3), (USE, 4)]
    await bench.agree(group)


async def test_other_front_matter_reaches_every_chunk_and_leaves_what_others_have_said(
    group: AsyncRobotGroup, bench: Bench, guide: Path
) -> None:
    await group.load_file(guide, metadata={"lang": "en"})
    memories = await bench.memories(group)
    install = memories[INSTALL].id
    await group.pin(install)
    await group.tag(install, "mine")
    await group.untag(install, "team")
    await group.update(install, metadata=dict(memories[INSTALL].metadata) | {"note": 1, "audience": "me"})
    await bench.settle(group)
    text = GUIDE.replace("[docs:guide, team]", "[docs:manual, team]").replace("audience: all\n", "year: 2026\n")
    says(guide, text)
    done = await group.load_file(guide, metadata={"lang": "de"})
    assert figures(done) == (True, 3, 0, 3, 0)
    after = await bench.memories(group)
    assert after[USE].tags == ("team", "docs:manual")
    assert after[USE].metadata == {
        "title": "Guide", "year": 2026, "lang": "de", "file": {"path": str(guide), "heading": ["Guide", "Use"]}
    }  # fmt: skip
    # team was taken, mine given, audience changed by somebody: all that stays
    assert after[INSTALL].tags == ("mine", "docs:manual")
    assert after[INSTALL].metadata == {
        "title": "Guide", "year": 2026, "lang": "de", "note": 1, "audience": "me",
        "file": {"path": str(guide), "heading": ["Guide", "Install"]},
    }  # fmt: skip
    cache = await bench.agree(group)
    assert cache.memories[install].tags == ("mine", "docs:manual")
    assert await bench.settle(group) == 3
    # another title above, the same text below: its heading is brought up to date
    says(guide, text.replace("# Guide\n", "# Manual\n", 1))
    assert figures(await group.load_file(guide, metadata={"lang": "de"})) == (True, 3, 1, 2, 1)
    assert (await group.get(install)).metadata["file"] == {"path": str(guide), "heading": ["Manual", "Install"]}
    # the new one, and the two that were related to the one that is gone
    assert await bench.sql("SELECT count(*) FROM robotgroups.jobs WHERE kind = 'relate'") == [(3,)]


async def test_the_same_text_twice_in_a_file_is_one_chunk(group: AsyncRobotGroup, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "twice.md"
    path.write_text("## A\n\nx\n\n## B\n\ny\n\n## A\n\nx\n")
    assert figures(await group.load_file(path)) == (True, 2, 2, 0, 0)
    path.write_text("## B\n\ny\n\n## A\n\nx\n")
    assert figures(await group.load_file(path)) == (True, 2, 0, 0, 0)
    assert {c: m.remember_count for c, m in (await bench.memories(group)).items()} == {"## A\n\nx": 1, "## B\n\ny": 1}


async def test_what_somebody_else_has_said_stays_when_a_file_goes(
    group: AsyncRobotGroup, bench: Bench, guide: Path
) -> None:
    """Before the file was loaded or after, it is his too: a file counts as one who has remembered its chunks."""
    before = await group.remember(INSTALL, tags=["own"], metadata={"a": 1})
    await group.load_file(guide)
    loaded = (await bench.memories(group))[INSTALL]
    assert (loaded.id, loaded.remember_count) == (before, 2)
    assert loaded.tags == ("own", "docs:guide", "team")
    after = await group.remember(USE)
    assert (await group.get(after)).remember_count == 2
    done = await group.unload_file(guide)
    assert (done.existed, done.removed) == (True, 1)
    memories = await bench.memories(group)
    assert {c: (m.id, m.remember_count, m.tags, dict(m.metadata)) for c, m in memories.items()} == {
        INSTALL: (before, 1, ("own",), {"a": 1}),
        USE: (after, 1, (), {}),
    }
    assert await group.files() == []
    await bench.agree(group)
    assert (await bench.store.snapshot(group._group_id)).revision == done.revision


async def test_a_chunk_of_two_files_goes_with_the_last_of_them(
    group: AsyncRobotGroup, bench: Bench, tmp_path: Path
) -> None:
    text = "---\ntags: [{0}, both]\nname: {0}\n---\n# {0}\n\n{0}.\n\n## Common\n\nThe same.\n"
    paths = {}
    for name in ("a", "b"):
        paths[name] = tmp_path / f"{name}.md"
        paths[name].write_text(text.format(name))
        await group.load_file(paths[name])
    common = (await bench.memories(group))["## Common\n\nThe same."]
    assert (common.remember_count, common.tags) == (2, ("a", "both", "b"))
    assert common.metadata == {"name": "b", "file": {"path": str(paths["b"]), "heading": ["b", "Common"]}}
    done = await group.unload_file(paths["b"])
    assert done.removed == 1
    left = await group.get(common.id)
    assert (left.remember_count, left.tags) == (1, ("a", "both"))
    assert left.metadata == {"name": "a", "file": {"path": str(paths["a"]), "heading": ["a", "Common"]}}
    assert (await group.unload_file(paths["a"])).removed == 2
    assert await bench.memories(group) == {}
    await bench.agree(group)


async def test_what_somebody_has_updated_is_his_now(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    await group.load_file(guide)
    install = (await bench.memories(group))[INSTALL].id
    await group.update(install, "## Install\n\nRun it, slowly.")
    assert figures(await group.load_file(guide)) == (False, 3, 0, 0, 0)  # the file is as it was
    says(guide, GUIDE.replace("Use it.", "Use it well."))
    assert figures(await group.load_file(guide)) == (True, 3, 2, 0, 1)  # what it says is there again
    memories = await bench.memories(group)
    assert set(memories) == {WHAT, INSTALL, "## Install\n\nRun it, slowly.", "## Use\n\nUse it well."}
    assert memories["## Install\n\nRun it, slowly."].id == install
    assert (await group.unload_file(guide)).removed == 3
    assert set(await bench.memories(group)) == {"## Install\n\nRun it, slowly."}
    await bench.agree(group)


async def test_what_was_forgotten_stays_so_until_the_file_says_it_anew(
    group: AsyncRobotGroup, bench: Bench, guide: Path
) -> None:
    await group.load_file(guide)
    install = (await bench.memories(group))[INSTALL].id
    await group.forget(install)
    says(guide, GUIDE + "\n## More\n\nMore.\n")
    await group.load_file(guide)
    assert (await group.get(install)).forgotten_at is not None
    told = await group.remember("## New\n\nNew.")
    await group.forget(told)
    says(guide, GUIDE + "\n## New\n\nNew.\n")
    await group.load_file(guide)
    assert (await group.get(told)).forgotten_at is None
    await bench.agree(group)


async def test_every_group_of_a_space_hears_of_what_becomes_of_its_working_set(
    hive: tuple[AsyncRobotGroup, AsyncRobotGroup], bench: Bench, guide: Path
) -> None:
    first, second = hive
    await first.load_file(guide)
    memories = await bench.memories(first)
    await second.recall("install", into_working_memory=True)
    await second.pin(memories[USE].id)
    # the other group may load it too: it is the space's file
    says(guide, GUIDE.replace("team]", "everybody]"))
    assert figures(await second.load_file(guide)) == (True, 3, 0, 3, 0)
    says(guide, GUIDE.replace("Use it.", "Use it well."))
    assert figures(await first.load_file(guide)) == (True, 3, 1, 2, 1)
    cache = await bench.agree(second)
    assert {m.content: m.tags for m in cache.memories.values()} == {INSTALL: ("docs:guide", "team")}
    await bench.agree(first)
    assert [f.path for f in await second.files()] == [str(guide)]
    await second.unload_file(guide)
    for group in hive:
        assert (await bench.agree(group)).memories == {}


async def test_s1_another_group_has_no_part_in_a_file(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    other = await bench.group("other")
    await group.load_file(guide)
    assert await other.files() == []
    assert not (await other.unload_file(guide)).existed
    assert figures(await other.load_file(guide)) == (True, 3, 3, 0, 0)
    assert (await other.unload_file(guide)).removed == 3
    assert len(await bench.memories(group)) == 3
    assert await bench.memories(other) == {}


async def test_a_path_is_a_file_of_each_scope_apart(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    mine, yours = {"user": "u1"}, {"user": "u2"}
    await group.load_file(guide, scope=mine)
    assert figures(await group.load_file(guide, scope=yours)) == (True, 3, 3, 0, 0)
    assert [(f.path, f.scope) for f in await group.files()] == [(str(guide), mine), (str(guide), yours)]
    assert [f.scope for f in await group.files(scope=mine)] == [mine]
    assert not (await group.unload_file(guide)).existed
    assert (await group.unload_file(guide, scope=mine)).removed == 3
    rows = await bench.sql("SELECT DISTINCT scope FROM robotgroups.memories")
    assert rows == [(["user=u2"],)]
    found = await group.recall("install", scope=yours)
    assert [m.content for m in found] == [INSTALL]
    assert await group.recall("install", scope=mine) == []


async def test_files_are_listed_with_what_is_left_of_them(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    await group.load_file(guide)
    empty = guide.with_name("empty.md")
    says(empty, "---\ntags: [x]\n---\n")
    assert figures(await group.load_file(empty)) == (False, 0, 0, 0, 0)  # one that says nothing is none
    listed = await group.files()
    memories = await bench.memories(group)
    assert [(f.path, f.chunks, f.tokens, f.tags) for f in listed] == [
        (str(guide), 3, sum(m.tokens for m in memories.values()), ("docs:guide", "team")),
    ]
    assert listed[0].front_matter == {"title": "Guide", "tags": ["docs:guide", "team"], "audience": "all"}
    for n in range(5):
        await group.load_text(f"kb://{n}", "x")
    assert [f.path for f in await bench.store.files(group._group_id, (), page=3)] == [
        str(guide), *(f"kb://{n}" for n in range(5))
    ]  # fmt: skip
    await group.erase(memories[USE].id)
    assert [f.chunks for f in await group.files() if f.path == str(guide)] == [2]
    # erased on purpose: an unchanged file does not bring it back
    assert figures(await group.load_file(guide)) == (False, 2, 0, 0, 0)
    says(guide, "")
    assert figures(await group.load_file(guide)) == (True, 0, 0, 0, 2)
    assert str(guide) not in [f.path for f in await group.files()]


async def test_a_file_that_cannot_be_read_changes_nothing(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    await group.load_file(guide)
    before = await state(bench)
    for text, message in (
        ("---\ntags: [a::b]\n---\nx", "tag 'a::b' has a blank level"),
        ("---\na: [\n---\nx", "the front matter is no YAML, line 2"),
        ("a\x00b", "the file holds a NUL character"),
        ("---\ntags: [" + ", ".join(f"t{n}" for n in range(64)) + "]\n---\nx", "a memory may have 64 tags, not 65"),
    ):
        says(guide, text)
        with pytest.raises(InvalidFileError, match=message):
            await group.load_file(guide, tags=["mine"])
    says(guide, "\udcff")
    with pytest.raises(InvalidFileError, match="is no UTF-8 at byte 0"):
        await group.load_file(guide)
    with pytest.raises(InvalidFileError, match="no such file"):
        await group.load_file(guide.with_name("missing.md"))
    with pytest.raises(ArgumentError, match="path must not be blank"):
        await group.load_text(" ", "x")
    with pytest.raises(ArgumentError, match="chunk_tokens must be between 16 and 100000, not 8"):
        await group.load_text("x", "x", chunk_tokens=8)
    assert await state(bench) == before


async def test_a_directory_is_loaded_file_by_file_and_told_of(
    group: AsyncRobotGroup, bench: Bench, tmp_path: Path
) -> None:
    for name, text in {"b.md": "B", "sub/a.md": "A", "sub/bad.md": "\x00", "c.txt": "C", ".hidden.md": "H"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    told: list[LoadProgress] = []
    done = await group.load_directory(tmp_path, tags=["docs"], progress=told.append)
    assert [Path(f.path).name for f in done.files] == ["b.md", "a.md"]
    assert [(Path(r.path).name, r.reason) for r in done.refused] == [
        ("bad.md", "the file holds a NUL character at character 0, which cannot be stored: remove it")
    ]
    assert [(p.done, p.total) for p in told] == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(told[2].file, RefusedFile)
    assert {c: m.tags for c, m in (await bench.memories(group)).items()} == {"A": ("docs",), "B": ("docs",)}
    assert (await group.load_directory(tmp_path, tags=["docs"])).changed == 0
    # a file that is gone stays loaded until that is asked for; what does not match the pattern stays in any case
    (tmp_path / "sub/a.md").unlink()
    (tmp_path / "c.txt").rename(tmp_path / "d.txt")
    await group.load_text(str(tmp_path / "c.txt"), "C")
    await group.load_text(str(tmp_path / "sub/scoped.md"), "S", scope={"user": "u1"})
    assert (await group.load_directory(tmp_path, tags=["docs"])).unloaded == ()
    done = await group.load_directory(tmp_path, tags=["docs"], unload_missing=True)
    assert [(Path(u.path).name, u.removed) for u in done.unloaded] == [("a.md", 1)]
    assert sorted(Path(f.path).name for f in await group.files()) == ["b.md", "c.txt", "scoped.md"]
    done = await group.load_directory(tmp_path, "*.txt", unload_missing=True)
    assert [Path(u.path).name for u in done.unloaded] == ["c.txt"]
    assert [(Path(f.path).name, f.added) for f in done.files] == [("d.txt", 1)]  # it says the same: C stays
    assert {c: m.remember_count for c, m in (await bench.memories(group)).items()} == {"B": 1, "C": 1, "S": 1}
    with pytest.raises(InvalidTagError, match="tag 'a::b' has a blank level"):
        await group.load_directory(tmp_path, tags=["a::b"])
    with pytest.raises(InvalidFileError, match="no such file or directory"):
        await group.load_directory(tmp_path / "nowhere")


async def test_a_load_that_is_cut_off_leaves_all_or_nothing_and_the_next_one_completes_it(
    group: AsyncRobotGroup, bench: Bench, guide: Path, admin_dsn: str
) -> None:
    """Its backend dies when the new chunks are stored and told of, and the old ones still there."""
    await group.load_file(guide)
    before = await bench.memories(group)
    says(guide, GUIDE.replace("Run it.", "Run it twice."))
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        await admin.execute(
            "CREATE FUNCTION public.stop() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        await admin.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON robotgroups.file_chunks FOR EACH ROW EXECUTE FUNCTION public.stop()"
        )
        with pytest.raises(MemoryUnavailableError):
            await group.load_file(guide)
        assert await bench.memories(group) == before
        await admin.execute("DROP TRIGGER stop ON robotgroups.file_chunks")
        await admin.execute("DROP FUNCTION public.stop()")
    assert figures(await group.load_file(guide)) == (True, 3, 1, 0, 1)
    assert set(await bench.memories(group)) == {WHAT, "## Install\n\nRun it twice.", USE}
    await bench.agree(group)


async def test_erasure_finds_what_a_file_has_said(group: AsyncRobotGroup, bench: Bench, guide: Path) -> None:
    """Also where it is told of in one row of the feed with others."""
    await group.load_file(guide)
    await group.erase((await bench.memories(group))[INSTALL].id)
    rows = await bench.sql("SELECT payload::text FROM robotgroups.changes")
    assert not [row for (row,) in rows if "Run it." in row]
    assert [row for (row,) in rows if "Use it." in row]
    await bench.agree(group)


async def test_a_long_file_is_one_transaction_and_its_chunks_are_those_of_the_text(
    group: AsyncRobotGroup, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "long.md"
    sections = [f"## Section {n}\n\nText {n}.\n" for n in range(2000)]
    path.write_text("\n".join(sections))
    assert figures(await group.load_file(path)) == (True, 2000, 2000, 0, 0)
    del sections[::2]
    path.write_text("---\ntags: [long]\n---\n" + "\n".join(reversed(sections)))
    assert figures(await group.load_file(path)) == (True, 1000, 0, 1000, 1000)
    hashes = await bench.sql(
        "SELECT encode(m.content_hash, 'hex') FROM robotgroups.file_chunks c JOIN robotgroups.memories m "
        "ON m.id = c.memory_id ORDER BY c.position"
    )
    assert [h for (h,) in hashes] == [hashlib.sha256(s.strip().encode()).hexdigest() for s in reversed(sections)]
    await bench.agree(group)
