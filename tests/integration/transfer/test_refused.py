"""What an import refuses, and what the page about the format says."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from robotgroups.errors import InvalidExportError, NotPermittedError
from robotgroups.remembering import NewMemory
from robotgroups.store import Store, robot_dsn
from robotgroups.transfer import exporting
from robotgroups.transfer.batches import MAX_ITEMS
from robotgroups.transfer.format import End, LineKind, line_of
from robotgroups.transfer.importing import Done, Reader, check_whole, import_lines
from robotgroups.transfer.line_fields import CHUNK, EARLIER, FILE, MEMORY, RELATION

from .conftest import END, HEADER, World, all_memories, by_hand, content, memory_line

pytestmark = pytest.mark.anyio


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
