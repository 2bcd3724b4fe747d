"""Processes that a benchmark starts and that end with it: one line is asked, one line is answered."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

LIMIT_S = 60.0
ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Child:
    """A Python process of ours; it speaks on its standard input and output."""

    process: asyncio.subprocess.Process
    limit_s: float = LIMIT_S

    async def line(self) -> str:
        """The next line that it says. RuntimeError when it ends instead, TimeoutError after ``limit_s``."""
        assert self.process.stdout is not None
        async with asyncio.timeout(self.limit_s):
            line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended: exit code {await self.process.wait()}")
        return line.decode().rstrip("\n")

    async def ask(self, question: str) -> str:
        """Says a line, and returns what it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{question}\n".encode())
        await self.process.stdin.drain()
        return await self.line()


@asynccontextmanager
async def children(
    module: str, arguments: Sequence[Sequence[str]], *, within: Sequence[str] = (), limit_s: float = LIMIT_S
) -> AsyncIterator[list[Child]]:
    """Starts ``python -m module …`` once for each list of arguments, and waits until each has said "ready".

    ``within``: the command that starts it, such as one that enters a network first. ``limit_s``: how long it may
    take to answer.
    """
    started: list[Child] = []
    try:
        for each in arguments:
            process = await asyncio.create_subprocess_exec(
                *within, sys.executable, "-m", module, *each,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=ANSWER_BYTES,
            )  # fmt: skip
            started.append(Child(process, limit_s))
        for child in started:
            if (said := await child.line()) != "ready":
                raise RuntimeError(f"a process of the benchmark said {said!r} instead of ready")
        yield started
    finally:
        for child in started:
            if child.process.returncode is None:
                child.process.kill()
        for child in started:
            await child.process.wait()
