"""The proxy: it passes on both ways, and breaks connections as often as it is told to."""

import asyncio
import random

import pytest

from tests.chaos.proxy import Manners, Proxy


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(100):
            writer.write(piece)
    except ConnectionResetError:
        pass
    finally:
        writer.close()


async def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


@pytest.mark.anyio
async def test_what_is_sent_comes_back() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    proxy = Proxy("127.0.0.1", ("127.0.0.1", await _port(server)), Manners(0.0, 0.01, 0.0), random.Random(1))
    proxy.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        for text in (b"one", b"two"):
            writer.write(text)
            assert await reader.readexactly(3) == text
        writer.close()
        await writer.wait_closed()
    finally:
        await asyncio.to_thread(proxy.stop)
        server.close()
    assert proxy.broken == 0


@pytest.mark.anyio
async def test_connections_break() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    proxy = Proxy("127.0.0.1", ("127.0.0.1", await _port(server)), Manners(0.0, 0.0, 100.0), random.Random(1))
    proxy.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 10)
        writer.close()
    finally:
        await asyncio.to_thread(proxy.stop)
        server.close()
    assert proxy.broken == 1


def test_stop_without_start_and_twice() -> None:
    proxy = Proxy("127.0.0.1", ("127.0.0.1", 1), Manners(0.0, 0.0, 0.0), random.Random(1))
    proxy.stop()
    proxy.start()
    proxy.stop()
    proxy.stop()
