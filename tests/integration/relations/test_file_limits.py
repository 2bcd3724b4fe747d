"""What a file gives to memories that are there already, within what a memory may have."""

from pathlib import Path

import pytest

from robotgroups.errors import ArgumentError, UnknownMemoryError
from robotgroups.group import AsyncRobotGroup

from .conftest import Bench

pytestmark = pytest.mark.anyio
TEXT = "---\ntags: [{tags}]\n---\n# Returns\n\nWithin 30 days.\n"
CHUNK = "# Returns\n\nWithin 30 days."


def tags(letter: str, count: int) -> list[str]:
    return [f"{letter}{n}" for n in range(count)]


async def test_a_file_that_would_give_a_memory_too_many_tags_is_refused_whole(
    group: AsyncRobotGroup, bench: Bench
) -> None:
    said = await group.remember(CHUNK, tags=tags("mine", 40))
    with pytest.raises(ArgumentError, match=f"tags: memory {said} says this already, and would have 65 tags"):
        await group.load_text("returns.md", TEXT.format(tags=", ".join(tags("file", 25))))
    assert await group.files() == []
    assert (await group.get(said)).tags == tuple(tags("mine", 40))
    done = await group.load_text("returns.md", TEXT.format(tags=", ".join(tags("file", 24))))
    assert (done.chunks, done.added) == (1, 1)
    assert len((await group.get(said)).tags) == 64
    # what is taken away makes room for what comes instead
    await group.load_text("returns.md", TEXT.format(tags=", ".join(tags("other", 24))))
    assert set((await group.get(said)).tags) == {*tags("mine", 40), *tags("other", 24)}
    await bench.agree(group)


async def test_a_file_that_would_give_a_memory_too_much_metadata_is_refused_whole(group: AsyncRobotGroup) -> None:
    said = await group.remember(CHUNK, metadata={"mine": "x" * 40_000})
    with pytest.raises(ArgumentError, match=f"metadata: memory {said} says this already, and would have 70"):
        await group.load_text("returns.md", CHUNK, metadata={"theirs": "y" * 30_000})
    assert await group.files() == []
    assert (await group.load_text("returns.md", CHUNK, metadata={"theirs": "y" * 20_000})).added == 1


async def test_a_file_may_have_as_much_metadata_as_a_memory_and_be_loaded_again(
    group: AsyncRobotGroup, tmp_path: Path
) -> None:
    """Its path and headings are told besides."""
    for letter in ("x", "y"):
        done = await group.load_text(str(tmp_path / "long.md"), CHUNK, metadata={"most": letter * 65_500})
        assert done.changed


async def test_what_has_expired_comes_with_a_file_as_something_new(group: AsyncRobotGroup, bench: Bench) -> None:
    said = await group.remember(CHUNK, tags=["mine"], metadata={"mine": True})
    await bench.sql("UPDATE robotgroups.memories SET expires_at = now() - interval '1 s' WHERE id = %s", said)
    done = await group.load_text("returns.md", TEXT.format(tags="file"))
    assert (done.chunks, done.added, done.updated) == (1, 1, 0)
    (found,) = await group.recall("returns")
    assert (found.id > said, found.tags, found.expires_at) == (True, ("file",), None)
    with pytest.raises(UnknownMemoryError):
        await group.get(said)
    await bench.agree(group)


async def test_a_file_all_of_which_has_expired_is_loaded_again(group: AsyncRobotGroup, bench: Bench) -> None:
    await group.load_text("returns.md", TEXT.format(tags="old"))
    await bench.sql("UPDATE robotgroups.memories SET expires_at = now() - interval '1 s'")
    done = await group.load_text("returns.md", TEXT.format(tags="new"))
    assert (done.chunks, done.added, done.updated, done.removed) == (1, 1, 0, 0)
    assert [(m.tags, m.expires_at) for m in await group.recall("returns")] == [(("new",), None)]
    assert len(await group.files()) == 1
    await bench.agree(group)
