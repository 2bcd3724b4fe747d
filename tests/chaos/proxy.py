"""A TCP proxy with bad manners: what goes through is late, and connections break. In a thread of its own."""

import asyncio
import random
import threading
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 65536
ANSWER_S = 10.0


@dataclass(frozen=True)
class Manners:
    """Every piece is late by `least_s` to `most_s` seconds; a connection breaks `breaks_per_s` times a second."""

    least_s: float
    most_s: float
    breaks_per_s: float


class Proxy:
    """Listens on a free port of `host`, and passes on to `target` from `start` to `stop`."""

    def __init__(self, host: str, target: tuple[str, int], manners: Manners, dice: random.Random) -> None:
        self._host = host
        self._target = target
        self._manners = manners
        self._dice = dice
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.broken = 0
        """How many connections it has broken."""

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def start(self) -> None:
        """Listens when it returns."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
        self._running = loop, thread
        thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), loop).result(ANSWER_S)

    def stop(self) -> None:
        """Breaks what is open, and ends; safe to call twice."""
        if self._running is None:
            return
        (loop, thread), self._running = self._running, None
        try:
            asyncio.run_coroutine_threadsafe(self._close(), loop).result(ANSWER_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, 0)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._between(reader, writer)
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        ways = [
            asyncio.create_task(self._pass_on(reader, far_writer)),
            asyncio.create_task(self._pass_on(far_reader, writer)),
        ]
        try:
            life = self._dice.expovariate(self._manners.breaks_per_s) if self._manners.breaks_per_s else None
            done, _ = await asyncio.wait(ways, timeout=life, return_when=asyncio.FIRST_COMPLETED)
            self.broken += not done
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(CHUNK):
            await asyncio.sleep(self._dice.uniform(self._manners.least_s, self._manners.most_s))
            writer.write(piece)
            await writer.drain()
