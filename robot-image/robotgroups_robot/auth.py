"""The bearer token that guards the API: the group's, which may do everything, or one that is limited to a scope."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from robotgroups.errors import NotPermittedError
from robotgroups.robot import HostedRobot
from robotgroups.scoped import ScopedMember
from robotgroups.scoped_tokens import ScopedTokens
from robotgroups_robot.problems import Problem, ProblemError, ProblemType

# For probes and scrapers, which have no token; they tell nothing of the memory. Everything else needs one.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/startupz", "/metrics", "/openapi.json"})
ACCESS = "robotgroups.access"

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])
_aware: set[object] = set()


@dataclass(frozen=True, slots=True)
class Access:
    """How far a request's token reaches: ``scope`` None is everything."""

    scope: Mapping[str, str] | None = None


def given(header: bytes | None) -> bytes | None:
    """The bearer token of an Authorization header; None when it has none."""
    scheme, _, token = (header or b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


class Guard:
    """Decides about tokens; takes the same time for every wrong one of a length."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._scoped = ScopedTokens(token)

    def access(self, header: bytes | None, now: datetime) -> Access:
        """How far the token of an Authorization header reaches. NotPermittedError: it is none."""
        token = given(header)
        if token is None:
            raise NotPermittedError("no token was sent")
        if secrets.compare_digest(token, self._token):
            return Access()
        try:
            text = token.decode("ascii")
        except UnicodeDecodeError:
            raise NotPermittedError("the token is not valid") from None
        return Access(self._scoped.scope_of(text, now))


class BearerAuth:
    """ASGI middleware: answers 401 before the body of a request without a token is read."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._guard = Guard(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        try:
            scope[ACCESS] = self._guard.access(headers[0] if len(headers) == 1 else None, datetime.now(UTC))
        except NotPermittedError as error:
            detail = (
                f"{error}: send the group's token (`Authorization: Bearer TOKEN`, key `token` of the group's Secret) "
                "or one limited to a scope that was made from it"
            )
            challenge = {"WWW-Authenticate": 'Bearer realm="robotgroups"'}
            await Problem(ProblemType.UNAUTHORIZED, detail, headers=challenge).response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


# -- what a token that is limited to a scope may do --------------------------------------------------------------------


def scope_aware(endpoint: Endpoint) -> Endpoint:
    """Declare that an endpoint keeps to the scope of a limited token: all others refuse one."""
    _aware.add(endpoint)
    return endpoint


def is_scope_aware(endpoint: object) -> bool:
    """Whether an endpoint has declared it."""
    return endpoint in _aware


def check_endpoint(access: Access, endpoint: object) -> None:
    """Raise ProblemError (403) when a limited token may not use an endpoint."""
    if access.scope is not None and not is_scope_aware(endpoint):
        raise ProblemError(
            Problem(ProblemType.NOT_PERMITTED, "a token that is limited to a scope may not do this: it concerns others")
        )


async def check_route(request: Request) -> None:
    """The same as a dependency of the whole API. Paths that need no token are for all."""
    if request.url.path not in PUBLIC_PATHS:
        check_endpoint(access_of(request), request.scope["endpoint"])


def access_of(request: Request) -> Access:
    """How far the request's token reaches, as BearerAuth has found."""
    access = request.scope[ACCESS]
    assert isinstance(access, Access)
    return access


def reached(request: Request, robot: HostedRobot) -> HostedRobot | ScopedMember:
    """The robot's memory as far as the request's token reaches."""
    scope = access_of(request).scope
    return robot if scope is None else ScopedMember(robot, scope)
