"""A robot's process, as it runs in a pod, and a client of its HTTP API on connections that stay open.

The client is written for this: httpx takes as long for a request as the robot does, on the same two cores.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from robot_process import RobotProcess

from benchmarks import ours
from benchmarks.harness.texts import Text
from robotgroups import migrations
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.store import Store, robot_dsn

CREATED = 201


@dataclass(frozen=True)
class Connection:
    """One connection to the robot; a request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes

    async def post(self, body: bytes) -> None:
        """Remembers; RuntimeError with the robot's answer when it is not 201."""
        self.writer.write(self.head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split(" ", 2)[1])
        lengths = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
        answer = await self.reader.readexactly(int(lengths[0].split(":")[1]))
        if status != CREATED:
            raise RuntimeError(f"the robot answered {status}: {answer.decode()}")


@dataclass(frozen=True)
class HttpWriter:
    """``POST /v1/memories``; each caller takes a free connection."""

    free: asyncio.LifoQueue[Connection]
    pid: int

    async def remember(self, group: int, text: Text) -> None:  # noqa: ARG002
        """Remembers through the API."""
        connection = await self.free.get()
        await connection.post(json.dumps({"content": text.content}).encode())
        self.free.put_nowait(connection)


@asynccontextmanager
async def open_robot(dsn: str, settings: GroupSettings) -> AsyncIterator[RobotProcess]:
    """Starts the active robot of a group, with a login of its own, and waits until it is ready."""
    await migrations.migrate(dsn)
    key = GroupKey("bench", "bench", "group-0")
    with tempfile.TemporaryDirectory(prefix="bench-robot-") as directory:
        async with await Store.open(dsn) as store:
            group_id = await ours.declare(store, 0, settings)
            password, token = secrets.token_hex(16), secrets.token_hex(16)
            login = await store.ensure_login(group_id, password)
            try:
                own = robot_dsn(dsn, login, password)
                async with aclosing(
                    RobotProcess(ours.ACTIVE, key, own, token, Path(directory), log_level="info")
                ) as robot:
                    robot.start()
                    await robot.ready()
                    yield robot
            finally:
                await store.drop_login(group_id)


@asynccontextmanager
async def open_writer(dsn: str, *, callers: int, settings: GroupSettings) -> AsyncIterator[HttpWriter]:
    """A robot with so many connections to it."""
    async with open_robot(dsn, settings) as robot:
        assert robot.process is not None
        head = (
            f"POST /v1/memories HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {robot.token}\r\n"
            "Content-Type: application/json\r\n"
        ).encode()
        free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        opened = [await asyncio.open_connection("127.0.0.1", robot.port) for _ in range(callers)]
        for reader, writer in opened:
            free.put_nowait(Connection(reader, writer, head))
        try:
            yield HttpWriter(free, robot.process.pid)
        finally:
            for _, writer in opened:
                writer.close()
