"""A transport under the project's own client that records each of its tries to remember."""

import json
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx
from typing_extensions import override

from tests.chaos.history import Acknowledged, Outcome, Refused, Unknown, Write

PROBLEM = "urn:robotgroups:problem:"
ROBOT = "X-RobotGroups-Robot"
PATH = "/v1/memories"


class RecordingTransport(httpx.AsyncBaseTransport):
    """Records writes of `who` to `where`; passes on everything."""

    def __init__(self, who: str, where: str, add: Callable[[Write], None]) -> None:
        # Robots are reached by plain HTTP: a context that trusts nobody spares loading every certificate authority.
        self._inner = httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._who = who
        self._where = where
        self._add = add

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) != ("POST", PATH):
            return await self._inner.handle_async_request(request)
        start = time.monotonic()
        outcome: Outcome = Unknown("cancelled")
        try:
            response = await self._inner.handle_async_request(request)
            outcome = outcome_of(response.status_code, await response.aread(), response.headers.get(ROBOT, ""))
        except httpx.TransportError as error:
            outcome = Unknown(type(error).__name__)
            raise
        finally:
            content = json.loads(request.content)["content"]
            key = request.headers["Idempotency-Key"]
            self._add(Write(self._who, self._where, start, time.monotonic(), key, content, outcome))
        return response

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


def outcome_of(status: int, body: bytes, robot: str) -> Outcome:
    """What an answer means. Pure; an answer that is no JSON is refused under its status."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return Refused(status, "no JSON")
    if status == httpx.codes.CREATED:
        return Acknowledged(document["id"], document["revision"], document["epoch"], document["created"], robot)
    return Refused(status, str(document.get("type", "")).removeprefix(PROBLEM))
