"""Exports and imports that are interrupted go on where they were."""

import json
from typing import Any

import pytest

from robotgroups.remembering import NewMemory
from robotgroups.transfer import exporting
from robotgroups.transfer.batches import MAX_CHARACTERS, MAX_ITEMS
from robotgroups.transfer.format import Position
from robotgroups.transfer.importing import Done, Reader
from robotgroups.updating import Patch

from .conftest import World, all_memories, by_hand, content, memory_line

pytestmark = pytest.mark.anyio

WHO: dict[str, Any] = {"robot": None, "tenure": None}


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
