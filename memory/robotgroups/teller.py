"""Where a robot tells the others of its group what it writes, the moment that it is durable: links that they hold."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Collection
from uuid import UUID

from robotgroups.doorbell import DoorbellPlace, keep_alive, listen, stop_accepting
from robotgroups.link import HELLO_BYTES, KEY_BYTES, ForgedError, Seal, greeted, nonce

GREETING_S = 2.0
MOST_LINKS = 512
# Who reads more slowly is let go: it reads the feed, and comes back.
MOST_UNREAD_BYTES = 1024 * 1024
MOST_TOLD_BYTES = 4 * 1024 * 1024  # of one message for all: to seal and copy them takes some 5 ms

logger = logging.getLogger(__name__)


class Teller:
    """A listening port, and the links of those who follow. ``key`` is given to them by Postgres."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(KEY_BYTES)
        self.address = ""
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._followers: dict[UUID, tuple[asyncio.StreamWriter, Seal]] = {}

    async def open(self, place: DoorbellPlace) -> None:
        """Listen. OSError: the port is taken, or not to be had."""
        self._server, self.address = await listen(self._serve, place)

    @property
    def followers(self) -> Collection[UUID]:
        """The incarnations of those who are told."""
        return self._followers.keys()

    def tell(self, message: bytes, shorter: bytes) -> None:
        """Tell all who follow, without waiting for them; ``shorter`` where ``message`` for each were much to copy."""
        if len(message) * len(self._followers) > MOST_TOLD_BYTES:
            message = shorter
        for follower, (writer, seal) in list(self._followers.items()):
            try:
                writer.write(seal.close(message))
                unread = writer.transport.get_write_buffer_size()
            except (OSError, RuntimeError):  # it has ended just now (uvloop: RuntimeError)
                del self._followers[follower]
                continue
            if unread > MOST_UNREAD_BYTES:
                logger.info("robot %s reads what it is told too slowly", follower)
                writer.transport.abort()
                del self._followers[follower]

    async def close(self) -> None:
        """End all links. Safe to call twice."""
        server, self._server, self.address = self._server, None, ""
        if server is not None:
            await stop_accepting(server)
            for writer in self._links.values():
                writer.transport.abort()
            if self._links:
                await asyncio.wait(list(self._links))
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = writer
        follower: UUID | None = None
        try:
            if len(self._links) <= MOST_LINKS and self._server is not None:  # else it came in while that was closed
                keep_alive(writer)
                follower = await self._greet(reader, writer)
                while await reader.read(1024):
                    pass
        except (OSError, RuntimeError, TimeoutError, EOFError, ForgedError) as error:
            logger.debug("a link has ended: %r", error)
        finally:
            del self._links[task]
            if follower is not None and self._followers.get(follower, (None,))[0] is writer:
                del self._followers[follower]
            writer.transport.abort()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> UUID:
        """Let it prove that it may follow. ForgedError, TimeoutError, EOFError, OSError."""
        asked = nonce()
        writer.write(asked)
        async with asyncio.timeout(GREETING_S):
            handshake = greeted(self.key, asked, await reader.readexactly(HELLO_BYTES))
        writer.write(handshake.proof(self.key, b"tells"))
        before = self._followers.pop(handshake.follower, None)
        if before is not None:
            with contextlib.suppress(OSError):
                before[0].transport.abort()
        self._followers[handshake.follower] = writer, Seal(handshake.session(self.key))
        return handshake.follower
