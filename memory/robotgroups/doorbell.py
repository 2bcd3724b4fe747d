"""The doorbell: connections that robots hold open to each other, only to see them end.

The kernel closes what a process held when it dies, however it dies. It proves nothing, and nothing is said on them:
what comes in is thrown away. See ADR 0015.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from robotgroups.cancelling import cancelled
from robotgroups.deathwatch import Guard, unguarded
from robotgroups.models import Peer

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# One watches in a ring; the rest is for rings that close anew, and for strangers.
MAX_HELD = 64
HIGHEST_PORT = 65535
CONNECT_TIMEOUT_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
# A lost node says nothing: the kernel finds out in 5 s. Mostly its lease is over before.
_TCP_KEEPALIVES = (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 4000))

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DoorbellPlace:
    """Where a doorbell hangs: the address and port to listen on (0: any), and the host that others find it by."""

    bind: str
    port: int
    host: str


class Doorbell:
    """A listening port whose connections end with this process, or with ``close``."""

    def __init__(self) -> None:
        self._guard: Guard = unguarded
        self._server: asyncio.Server | None = None
        self._held: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def open(self, place: DoorbellPlace, guard: Guard = unguarded) -> None:
        """Listen; connections are guarded while they are held. OSError: the port is taken, or not to be had."""
        self._guard = guard
        self._server, self.address = await listen(self._hold, place)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._held) >= MAX_HELD:
            writer.close()
            return
        self._held.add(writer)
        try:
            with contextlib.suppress(OSError), self._guard(writer.get_extra_info("socket").fileno()):
                while await reader.read(1024):
                    pass
        finally:
            self._held.discard(writer)
            writer.close()

    async def close(self) -> None:
        """End all that is held. Safe to call twice."""
        server, self._server, self.address = self._server, None, ""
        if server is not None:
            await stop_accepting(server)
            for writer in list(self._held):
                writer.transport.abort()
            await server.wait_closed()


class Watcher:
    """Holds a connection to one peer's doorbell at a time. ``rang(peer, held)`` is called when it ends."""

    def __init__(self, rang: Callable[[Peer, bool], None]) -> None:
        self._rang = rang
        self._task: asyncio.Task[None] | None = None
        self.watched: Peer | None = None

    async def watch(self, peer: Peer | None) -> None:
        """Watch this peer and no other; the same process at the same address goes on being watched."""
        if _place(peer) == _place(self.watched):
            return
        task, self._task, self.watched = self._task, None, peer
        if task is not None:
            await cancelled([task])
        if peer is not None:
            self._task = asyncio.create_task(self._hold(peer), name=f"doorbell of {peer.name}")

    async def _hold(self, peer: Peer) -> None:
        pause = FIRST_PAUSE_S
        while True:
            held = False
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    reader, writer = await asyncio.open_connection(*place_of(peer.doorbell), limit=1024)
                held, pause = True, FIRST_PAUSE_S
                try:
                    keep_alive(writer)
                    while await reader.read(1024):
                        pass
                finally:
                    writer.transport.abort()
            except (OSError, TimeoutError, ValueError) as error:
                logger.debug("doorbell of %s at %s: %r", peer.name, peer.doorbell, error)
            self._rang(peer, held)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads retries
            pause = min(2 * pause, LONGEST_PAUSE_S)


def _place(peer: Peer | None) -> tuple[object, ...]:
    return () if peer is None else (peer.name, peer.incarnation, peer.doorbell)


def place_of(doorbell: str) -> tuple[str, int]:
    """Host and port of "host:port". ValueError: it is none."""
    host, _, port = doorbell.rpartition(":")
    if not 0 < int(port) <= HIGHEST_PORT:
        raise ValueError(f"{port} is no port")
    return host.strip("[]"), int(port)


async def listen(serve: Serve, place: DoorbellPlace) -> tuple[asyncio.Server, str]:
    """A server at a place, and its address for others ("host:port"). OSError: the port is taken, or not to be had."""
    server = await asyncio.start_server(serve, place.bind, place.port, limit=1024)
    port = server.sockets[0].getsockname()[1]
    return server, f"[{place.host}]:{port}" if ":" in place.host else f"{place.host}:{port}"


async def stop_accepting(server: asyncio.Server) -> None:
    """Close a server; its connections are the caller's.

    asyncio's own loop would leave a connection open that it is accepting at that moment (an assertion of
    ``Server._attach``, of which nobody hears): it is kept from accepting first.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)
    server.close()


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the kernel find out in seconds that the other end's node is lost."""
    held = writer.get_extra_info("socket")
    if held is None:  # uvloop: it was reset as it was made
        raise ConnectionResetError("the connection has ended")
    held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_KEEPALIVES:
        if hasattr(socket, name):  # not on every system
            held.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
