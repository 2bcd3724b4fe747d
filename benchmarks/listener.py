"""One listening process of bench-sync: notes when each change is there, on the machine's monotonic clock.

``python -m benchmarks.listener ours|limit|htm DSN GROUP ROBOT`` says "ready", then answers each line "VALUE" on
standard input, once it has got that far, with what it has seen since the last answer: [[value, nanoseconds], …].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import uvloop

from robotgroups.robot import HostedRobot
from robotgroups.store import Store

BARE_CHANNEL = "bench"


@dataclass
class Seen:
    """What was seen since the last answer, and how far it is altogether."""

    reached: int = 0
    noted: list[tuple[int, int]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, value: int, reached: int) -> None:
        """``value`` is here now."""
        self.noted.append((value, time.monotonic_ns()))
        self.reached = reached
        async with self.changed:
            self.changed.notify_all()

    async def until(self, value: int) -> list[tuple[int, int]]:
        """Waits until it has got that far; what was seen since the last time."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.reached >= value)
        noted, self.noted = self.noted, []
        return noted


@asynccontextmanager
async def ours(dsn: str, group: str, robot: str) -> AsyncIterator[Callable[[Seen], AsyncIterator[None]]]:
    """A robot with its cache; it has seen a revision when its cache has it."""
    async with await Store.open(dsn) as store, HostedRobot(store, int(group), robot) as hosted:

        async def watch(seen: Seen) -> AsyncIterator[None]:
            while True:
                await hosted.wait_revision(seen.reached + 1)
                await seen.note(hosted.revision, hosted.revision)
                yield

        yield watch


@asynccontextmanager
async def limit(dsn: str, group: str, robot: str) -> AsyncIterator[Callable[[Seen], AsyncIterator[None]]]:  # noqa: ARG001
    """LISTEN, and nothing else."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(f"LISTEN {BARE_CHANNEL}".encode())

        async def watch(seen: Seen) -> AsyncIterator[None]:
            async for note in connection.notifies():
                await seen.note(int(note.payload), int(note.payload))
                yield

        yield watch


@asynccontextmanager
async def htm(dsn: str, group: str, robot: str) -> AsyncIterator[Callable[[Seen], AsyncIterator[None]]]:  # noqa: ARG001
    """HTM's listening thread: reads each node that is announced into its working memory. ``group`` is its channel."""
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as reader,
    ):
        await connection.execute(f"LISTEN {group}".encode())
        working: dict[int, object] = {}

        async def watch(seen: Seen) -> AsyncIterator[None]:
            async for note in connection.notifies():
                node = json.loads(note.payload)["node_id"]
                working[node] = await (
                    await reader.execute("SELECT * FROM nodes WHERE id = %s LIMIT 1", (node,))
                ).fetchone()
                await seen.note(node, len(working))
                yield

        yield watch


KINDS = {"ours": ours, "limit": limit, "htm": htm}


async def run(kind: str, dsn: str, group: str, robot: str) -> None:
    """Watches until standard input ends."""
    seen = Seen()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with KINDS[kind](dsn, group, robot) as watch:

        async def watched() -> None:
            async for _ in watch(seen):
                pass

        watching = asyncio.create_task(watched())
        print("ready", flush=True)
        answering = asyncio.create_task(_answer(seen, commands))
        done, _ = await asyncio.wait([watching, answering], return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, answering):
            task.cancel()
        await asyncio.gather(watching, answering, return_exceptions=True)
        for task in done:
            task.result()


async def _answer(seen: Seen, commands: asyncio.StreamReader) -> None:
    while line := await commands.readline():
        print(json.dumps(await seen.until(int(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:5]))
