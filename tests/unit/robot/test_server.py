"""The HTTP server on the loopback: what it takes before the application sees anything."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from robotgroups_robot.server import MAX_HEAD_BYTES, create_server

PIECE = b"a" * 8192
LIMIT_S = 10


async def lengths(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how long the body was."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where a server runs."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = create_server(lengths, "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await asyncio.wait_for(serving, LIMIT_S)


async def answered(port: int, pieces: Iterator[bytes]) -> bytes:
    """The head of the server's answer; nothing when it reset the connection while more was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(LIMIT_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.readuntil(b"\r\n\r\n")
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def endless(begin: bytes, piece: bytes) -> Iterator[bytes]:
    """100 times what a head may have: more than any buffer on the way takes in."""
    yield begin
    for _ in range(100 * MAX_HEAD_BYTES // len(piece)):
        yield piece


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /", PIECE),
        (b"GET / HTTP/1.1\r\nHost: r\r\n", b"x-" + PIECE + b": 1\r\n"),
        (b"GET / HTTP/1.1\r\nHost: r\r\n", b"x: y\r\n"),
        (b"GET / HTTP/1.1\r\nHost: r\r\nx: ", PIECE),
        (b"POST / HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"x: " + PIECE + b"\r\n"),
        (b"POST / HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ", PIECE),
    ],
    ids=["target", "large headers", "many headers", "one header", "trailers", "one trailer"],
)
async def test_a_head_without_end_is_refused(port: int, begin: bytes, piece: bytes) -> None:
    answer = await answered(port, endless(begin, piece))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


async def test_a_large_head_and_a_large_body_pass(port: int) -> None:
    length = 4 * 1024 * 1024
    head = b"POST / HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\nx: " % length + b"a" * (MAX_HEAD_BYTES - 1024)
    pieces = [head, b"\r\n\r\n", *[PIECE] * (length // len(PIECE))]
    assert (await answered(port, iter(pieces))).startswith(b"HTTP/1.1 200 ")


async def test_what_is_no_http_is_refused(port: int) -> None:
    assert (await answered(port, iter([b"\x16\x03\x01\r\n\r\n"]))).startswith(b"HTTP/1.1 400 ")
