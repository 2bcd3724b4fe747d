"""Connections that are reset in the moment in which they are made: what a client meets where a robot has just died."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvloop
from starlette.requests import Request

from robotgroups import AsyncClient
from robotgroups.errors import MemoryUnavailableError
from robotgroups.http_client import HttpClient
from robotgroups_robot.forwarding import Failure, Forwarder

TIMES, AT_ONCE = 30, 10  # under uvloop every tenth of them comes as no error of httpx


@pytest.fixture
def resetting() -> Iterator[str]:
    """The URL of a server that resets what it accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # it is closed
                while True:
                    accepted, _ = server.accept()
                    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    accepted.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_client_takes_each_for_a_lost_connection(resetting: str) -> None:
    async def ask() -> None:
        async with AsyncClient(resetting, "token", deadline=0.01) as client:
            with pytest.raises(MemoryUnavailableError, match="the service cannot be reached"):
                await client.recall("x")

    async def many() -> None:
        for _ in range(TIMES):
            await asyncio.gather(*(ask() for _ in range(AT_ONCE)))

    uvloop.run(many())


def test_a_robot_that_forwards_takes_each_for_a_robot_that_cannot_be_reached(resetting: str) -> None:
    async def body() -> dict[str, object]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def many() -> list[object]:
        forwarder = Forwarder("standby", lambda _: None)
        scope = {"type": "http", "method": "POST", "path": "/v1/memories", "query_string": b"", "headers": []}
        answers: list[object] = []
        for _ in range(TIMES):
            sent = (forwarder.send("primary", resetting, Request(scope, body), repeatable=True) for _ in range(AT_ONCE))
            answers += await asyncio.gather(*sent)
        await forwarder.aclose()
        return answers

    assert {type(answer) for answer in uvloop.run(many())} == {Failure}


def test_other_errors_are_left_as_they_are() -> None:
    def nonsense(_: httpx.Request) -> httpx.Response:
        raise AttributeError("nonsense")

    def getpeername(_: httpx.Request) -> httpx.Response:
        None.getpeername()  # type: ignore[attr-defined]
        raise AssertionError

    async def ask(answer: Callable[[httpx.Request], httpx.Response]) -> None:
        async with HttpClient(transport=httpx.MockTransport(answer)) as client:
            await client.get("http://robot")

    with pytest.raises(AttributeError, match="nonsense"):
        asyncio.run(ask(nonsense))
    with pytest.raises(httpx.ConnectError, match="ended as it was made"):
        asyncio.run(ask(getpeername))
