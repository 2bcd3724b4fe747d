"""The bearer token that guards the API."""

import secrets

from starlette.types import ASGIApp, Receive, Scope, Send

from robotgroups_robot.problems import Problem, ProblemType

# For probes and scrapers, which have no token; they tell nothing of the memory. Everything else needs one.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/startupz", "/metrics", "/openapi.json"})


def authorized(header: bytes | None, token: bytes) -> bool:
    """Whether an Authorization header carries the token; takes the same time whatever the header's content."""
    scheme, _, given = (header or b"").partition(b" ")
    return secrets.compare_digest(given.strip(), token) and scheme.lower() == b"bearer"


class BearerAuth:
    """ASGI middleware: answers 401 before the body of a request without the token is read."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) == 1 and authorized(given[0], self._token):
            await self._app(scope, receive, send)
            return
        detail = "send the group's token: `Authorization: Bearer TOKEN` (key `token` of the group's Secret)"
        challenge = {"WWW-Authenticate": 'Bearer realm="robotgroups"'}
        await Problem(ProblemType.UNAUTHORIZED, detail, headers=challenge).response()(scope, receive, send)
