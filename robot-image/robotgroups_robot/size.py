"""Bodies that are too large, refused by the length that they declare.

FastAPI's own limit sees to those that declare none; its answer to a declared length would be plain text, no problem.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from robotgroups_robot.limits import MAX_BODY_BYTES
from robotgroups_robot.problems import Problem, ProblemType


def too_large() -> Problem:
    """413. The connection ends with it: the rest of a body that is larger still is not read."""
    detail = f"a request's body may have {MAX_BODY_BYTES} bytes"
    return Problem(ProblemType.CONTENT_TOO_LARGE, detail, headers={"Connection": "close"})


# Up to here the rest is read and thrown away: a connection that is closed with data unread is reset, and the client may
# never see why.
DRAINED_BYTES = 16 * MAX_BODY_BYTES


class DeclaredSize:
    """ASGI middleware: answers 413 before anything is done with a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            declared = Headers(scope=scope).get("content-length", "0")
            if not declared.isdecimal() or int(declared) > MAX_BODY_BYTES:
                if declared.isdecimal() and int(declared) <= DRAINED_BYTES:
                    await _drain(receive)
                await too_large().response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _drain(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
