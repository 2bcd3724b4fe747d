"""A TCP proxy on the loopback that can be cut: what lies behind it is then gone until it is restored."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK = 65536


class Proxy:
    """Passes bytes between its port and another one; ``first_at`` is when it was reached first since ``restore``."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.first_at: float | None = None
        self._target = target
        self._cut = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end closes it."""
        if self._cut:
            writer.close()
            return
        self.first_at = self.first_at or time.perf_counter()
        onward, back = await asyncio.open_connection("127.0.0.1", self._target)
        pair = {writer, back}
        self._writers |= pair
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_pass(reader, back), _pass(onward, writer))
        self._writers -= pair

    def cut(self) -> None:
        """Ends all connections and takes no new ones."""
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        """Takes connections again."""
        self._cut, self.first_at = False, None


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def proxy(target: int, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Proxy]:
    """A proxy for a port of 127.0.0.1, on any port there, or on this one of another address of the loopback."""
    made = Proxy(target)
    server = await asyncio.start_server(made.serve, host, port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.cut()
        server.close()
        await server.wait_closed()
