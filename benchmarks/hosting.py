"""One process of bench-idle: hosts robots until it is killed, or its standard input ends.

``python -m benchmarks.hosting DSN '[[GROUP, ROBOT], …]'`` says "ready" when all of them are present and warm; then it
answers every line with how many of them have ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import uvloop

from robotgroups.robot import HostedRobot
from robotgroups.store import Store

AT_ONCE = 8


async def run(dsn: str, wanted: list[tuple[int, str]]) -> None:
    """Hosts them in one event loop, over one store."""
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with await Store.open(dsn) as store, AsyncExitStack() as stack:
        robots = [HostedRobot(store, group, name, deathwatch=True) for group, name in wanted]
        turns = asyncio.Semaphore(AT_ONCE)

        async def start(robot: HostedRobot) -> None:
            async with turns:
                await stack.enter_async_context(robot)

        await asyncio.gather(*(start(robot) for robot in robots))
        assert all(robot.warm for robot in robots)
        print("ready", flush=True)
        while await commands.readline():
            print(sum(robot.ended is not None for robot in robots), flush=True)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], [(int(group), name) for group, name in json.loads(sys.argv[2])]))
