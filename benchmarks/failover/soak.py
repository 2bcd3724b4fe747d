"""A group under a full processor: is anybody declared failed who lives?"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.failover.scene import GROUP, Clients, Scene
from benchmarks.harness.report import say

# Ends after a time, or with whoever started it: nothing of it can be left behind.
BUSY = """
import os, sys, time
end, parent = time.monotonic() + float(sys.argv[1]), int(sys.argv[2])
while time.monotonic() < end and os.getppid() == parent:
    sum(range(100_000))
"""
SAY_EVERY_S = 60.0


@asynccontextmanager
async def full_processor(seconds: float) -> AsyncIterator[None]:
    """Keeps every core busy with a process of its own."""
    arguments = ["-c", BUSY, str(seconds), str(os.getpid())]
    started = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments) for _ in range(len(os.sched_getaffinity(0)))
    ]
    try:
        yield
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
        for process in started:
            await process.wait()


async def soak(scene: Scene, clients: Clients, seconds: float) -> dict[str, float]:
    """Failovers, changes of roles and errors of a writing client in so many seconds; nothing has befallen anybody."""
    await asyncio.to_thread(scene.settled)
    last = await clients.ask("start", token=scene.token(), probes={"service": ("client", scene.address(GROUP))})
    epoch = await clients.ask("epoch")
    async with full_processor(seconds + 60):
        left = seconds
        while left > 0:
            await asyncio.sleep(min(left, SAY_EVERY_S))
            left -= SAY_EVERY_S
            say(f"soak: {max(left, 0):.0f} s left, load {os.getloadavg()[0]:.1f}")
        failovers = await clients.ask("failovers", after=last)
        changes = await clients.ask("epoch") - epoch
    errors = await clients.ask("stop")
    for row in failovers:
        say(f"false failover: {row['source']} -> {row['target']}, {row['detected_by']}: {row['reason']}")
    return {
        "soak_false_failovers": len(failovers),
        "soak_changes_of_roles": changes,
        "soak_client_errors": len(errors["service"]),
        "soak_seconds": seconds,
    }
