"""Access log and request metrics, around everything else.

Neither queries nor headers are logged: they hold memories and tokens. Every request is counted; at the level info only
those are logged that failed or were slow, for a line costs as much as the rest of a remember. `debug` logs them all.
"""

import logging
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robotgroups_robot.forwarding import FORWARDED, ROBOT
from robotgroups_robot.metrics import Metrics

UNROUTED = "(none)"
SLOW_S = 1.0
_PROBES = frozenset({"/healthz", "/readyz", "/startupz", "/metrics"})
_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
_FORWARDED, _ROBOT, _CONNECTION = FORWARDED.lower().encode(), ROBOT.lower().encode(), b"connection"

logger = structlog.get_logger(__name__)
_enabled = logging.getLogger(__name__).isEnabledFor


def level_of(path: str, status: int, seconds: float) -> int:
    """The log level of a request. `status` 0: it ended without an answer; `seconds`: until the answer's start."""
    if path in _PROBES:
        return logging.DEBUG
    if status == 0 or status >= 500:  # noqa: PLR2004  server errors
        return logging.WARNING
    return logging.INFO if status >= 400 or seconds >= SLOW_S else logging.DEBUG  # noqa: PLR2004  client errors


def ends_connection(status: int, *, draining: bool) -> bool:
    """Whether an answer ends its connection: a kept one would not follow the Service to another robot.

    That is so while the robot is about to stop, and when it cannot do what was asked for now: it may be cut off alone.
    """
    return draining or status == HTTPStatus.SERVICE_UNAVAILABLE


class AccessLog:
    """ASGI middleware: logs and counts every request, and says on the answer which robot gave it.

    `draining` says whether the robot is about to stop.
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
                message["headers"] = self._marked(status, message.get("headers", ()))
            await send(message)

        try:
            await self._app(scope, receive, marked)
        finally:
            self._done(scope, status, answered or time.perf_counter() - started)

    def _marked(self, status: int, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers = list(given)
        names = [name for name, _ in headers]  # in lower case, by ASGI
        if _ROBOT not in names:
            headers.append((_ROBOT, self._robot))
        if ends_connection(status, draining=self._draining()) and _CONNECTION not in names:
            headers.append((_CONNECTION, b"close"))
        return headers

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNROUTED)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.observe(method, route, status, seconds)
        level = level_of(scope["path"], status, seconds)
        if not _enabled(level):
            return
        forwarded = dict(scope["headers"]).get(_FORWARDED)
        logger.log(
            level,
            "request",
            method=method,
            path=scope["path"][:200],
            status=status,
            ms=round(seconds * 1000, 2),
            **({"forwarded_by": forwarded.decode("latin-1")[:63]} if forwarded else {}),
        )
