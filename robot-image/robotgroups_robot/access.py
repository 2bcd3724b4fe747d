"""Access log and request metrics, around everything else.

Neither queries nor headers are logged: they hold memories and tokens.
"""

import time
from collections.abc import Callable, Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robotgroups_robot.forwarding import FORWARDED, ROBOT
from robotgroups_robot.metrics import Metrics

UNROUTED = "(none)"
_PROBES = frozenset({"/healthz", "/readyz", "/startupz", "/metrics"})
_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})

logger = structlog.get_logger(__name__)


class AccessLog:
    """ASGI middleware: logs and counts every request, and says on the answer which robot gave it.

    While `draining` says so, each answer ends its connection: a kept one would not follow the Service to another robot.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, robot: str, draining: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._robot = robot.encode()
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        answered = 0.0

        async def marked(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter() - started
                message["headers"] = self._marked(message.get("headers", ()))
            await send(message)

        try:
            await self._app(scope, receive, marked)
        finally:
            self._done(scope, status, answered or time.perf_counter() - started)

    def _marked(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers = list(given)
        if not any(name.lower() == ROBOT.lower().encode() for name, _ in headers):
            headers.append((ROBOT.lower().encode(), self._robot))
        if self._draining() and not any(name.lower() == b"connection" for name, _ in headers):
            headers.append((b"connection", b"close"))
        return headers

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNROUTED)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.observe(method, route, status, seconds)
        forwarded = dict(scope["headers"]).get(FORWARDED.lower().encode())
        log = logger.debug if scope["path"] in _PROBES else logger.info
        log(
            "request",
            method=method,
            path=scope["path"][:200],
            status=status,
            ms=round(seconds * 1000, 2),
            **({"forwarded_by": forwarded.decode("latin-1")[:63]} if forwarded else {}),
        )
