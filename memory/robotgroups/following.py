"""Following the active robots of a group: a link to each, on which it tells what it has written."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from uuid import UUID

from robotgroups.cancelling import cancelled
from robotgroups.doorbell import CONNECT_TIMEOUT_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, keep_alive, place_of
from robotgroups.errors import RobotGroupsError
from robotgroups.link import (
    HEAD_BYTES,
    LENGTH_BYTES,
    NONCE_BYTES,
    PROOF_BYTES,
    ForgedError,
    Handshake,
    Link,
    Seal,
    Told,
    check,
    hello,
    length,
    nonce,
    told,
)

logger = logging.getLogger(__name__)


class Following:
    """Links to those who are to be followed, each made anew until it stands.

    ``link(robot)`` asks Postgres where one is; ``linked()`` is called whenever a link begins or ends, for what was said
    before it is to be read (M5); ``hear(told)`` is called with each message. Nothing that goes wrong here is more than
    a link that is made anew.
    """

    def __init__(
        self,
        incarnation: UUID,
        link: Callable[[str], Awaitable[Link | None]],
        linked: Callable[[], Awaitable[None]],
        hear: Callable[[Told], Awaitable[None]],
    ) -> None:
        self._incarnation = incarnation
        self._link = link
        self._linked = linked
        self._hear = hear
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def follow(self, robots: Collection[str]) -> None:
        """Follow these robots and no others."""
        for robot in self._tasks.keys() - set(robots):
            task = self._tasks.pop(robot)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        for robot in set(robots) - self._tasks.keys():
            self._tasks[robot] = asyncio.create_task(self._persist(robot), name=f"link to {robot}")

    async def close(self) -> None:
        """End all links. Safe to call twice."""
        tasks = [*self._tasks.values(), *self._ending]
        self._tasks = {}
        await cancelled(tasks)

    async def _persist(self, robot: str) -> None:
        pause = FIRST_PAUSE_S
        # whoever waits in psycopg may swallow a cancellation: who is followed no more must not come back
        while self._tasks.get(robot) is asyncio.current_task():
            try:
                link = await self._link(robot)
                if link is not None:
                    async with self._opened(link) as (reader, seal):
                        pause = FIRST_PAUSE_S
                        await self._linked()
                        await self._listen(reader, seal)
            except ForgedError:
                logger.warning("the link to %s at %s: whoever is there does not know its key", robot, link)
            except (OSError, TimeoutError, EOFError, ValueError, RobotGroupsError) as error:
                logger.debug("the link to %s: %r", robot, error)
            except Exception:
                logger.exception("the link to %s", robot)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries
            pause = min(2 * pause, LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _opened(self, link: Link) -> AsyncIterator[tuple[asyncio.StreamReader, Seal]]:
        """A link on which both ends have proven themselves. ForgedError, OSError, EOFError, ValueError."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*place_of(link.address))
        try:
            keep_alive(writer)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                handshake = Handshake(self._incarnation, await reader.readexactly(NONCE_BYTES), nonce())
                writer.write(hello(link.key, handshake))
                check(handshake.proof(link.key, b"tells"), await reader.readexactly(PROOF_BYTES))
            yield reader, Seal(handshake.session(link.key))
        finally:
            writer.transport.abort()

    async def _listen(self, reader: asyncio.StreamReader, seal: Seal) -> None:
        """Take in what is told until the link ends; then what may have been missed is read."""
        try:
            while True:
                head = await reader.readexactly(HEAD_BYTES)
                said = await reader.readexactly(length(head))
                seal.open(head[LENGTH_BYTES:], said)
                await self._hear(told(said))
        except (OSError, EOFError):
            await self._linked()
            raise
