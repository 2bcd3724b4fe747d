"""Bodies that are too large: refused by the length that they declare, or else when they have become so."""

from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robotgroups_robot.limits import MAX_BODY_BYTES
from robotgroups_robot.problems import Problem, ProblemType


def too_large() -> Problem:
    """413. The connection ends with it: the rest of a body that is larger still is not read."""
    detail = f"a request's body may have {MAX_BODY_BYTES} bytes"
    return Problem(ProblemType.CONTENT_TOO_LARGE, detail, headers={"Connection": "close"})


# Up to here the rest is read and thrown away: a connection that is closed with data unread is reset, and the client may
# never see why.
DRAINED_BYTES = 16 * MAX_BODY_BYTES


class BoundedBody:
    """ASGI middleware: answers 413 before anything is done with a body whose declared length is too large.

    One that declares none (chunked) is counted while the application reads it: HTTPException (413) is raised there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            declared = _declared(scope["headers"])
            if declared is None:
                receive = _counted(receive)
            elif not declared.isdigit() or int(declared) > MAX_BODY_BYTES:
                if declared.isdigit() and int(declared) <= DRAINED_BYTES:
                    await _drain(receive)
                await too_large().response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _declared(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == b"content-length":
            return value
    return None


def _counted(receive: Receive) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise HTTPException(ProblemType.CONTENT_TOO_LARGE.status)
        return message

    return counted


async def _drain(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
