"""An import beside robots that remember, update, pin and do their background work: M3 and M4 hold, nobody fails."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from robotgroups.check import check
from robotgroups.errors import ArgumentError, UnknownMemoryError
from robotgroups.updating import Patch

from .conftest import World, content

pytestmark = pytest.mark.anyio

WHO: dict[str, Any] = {"robot": None, "tenure": None}


async def test_two_imports_beside_everything_that_robots_do(world: World) -> None:
    source = await world.group("source")
    await world.remember(source, *(f"memory {n}" for n in range(1500)))
    lines = await world.export(source)
    targets = [await world.group(name, space="hive", max_tokens=500) for name in ("x", "y")]
    ids = await world.remember(targets[0], *(f"mine {n}" for n in range(50)))
    done = anyio.Event()

    async def beside(work: Callable[[int], Awaitable[object]]) -> None:
        turn = 0
        while not done.is_set():
            with contextlib.suppress(ArgumentError, UnknownMemoryError):
                await work(turn)
            turn += 1
            await checkpoint()
        assert turn > 3

    async def remember(turn: int) -> None:
        await world.remember(targets[turn % 2], f"memory {turn * 7 % 2000}", f"new {turn}")

    async def update(turn: int) -> None:
        patch = Patch.checked(f"mine {turn % 50}, turn {turn}", tags=["t"])
        memory_id = ids[turn % 50]
        await world.store.update(targets[1], **WHO, memory_id=memory_id, patch=patch, tokenizer="cl100k_base")

    async def pin(turn: int) -> None:
        await world.store.pin(targets[turn % 2], **WHO, memory_ids=[ids[turn % 50]], pinned=turn % 3 == 0)

    async def keep_up(turn: int) -> None:
        await world.store.relate_by_tags(targets[turn % 2])
        await world.store.enforce_retention(targets[turn % 2])

    async with anyio.create_task_group() as tasks:
        for work in (remember, update, pin, keep_up):
            tasks.start_soon(beside, work)
        async with anyio.create_task_group() as imports:
            for target in targets:
                imports.start_soon(world.bring_in, target, lines)
        done.set()

    for target in targets:
        cache, truth = await world.replayed(target), await world.store.snapshot(target)
        assert list(cache.memories.values()) == list(truth.working_memory)
    assert [str(finding) for finding in await check(world.store)] == []
    there = {line.split('"content":"')[1].split('"')[0] for line in content(await world.export(targets[0]))}
    assert there >= {f"memory {n}" for n in range(1500)}
