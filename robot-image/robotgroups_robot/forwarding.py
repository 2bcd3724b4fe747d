"""Requests that only an active robot may carry out: here when this one is active, else at one that is.

Roles move while requests are under way. So a request is tried again, for a bounded time, until some robot is active
and reachable: a failover or switchover then costs a client a pause, not an error.
"""

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeVar

import anyio
import httpx
import structlog
from starlette.requests import Request
from starlette.responses import Response

from robotgroups.errors import MemoryUnavailableError, NotActiveError
from robotgroups.http_client import HttpClient
from robotgroups.models import Role
from robotgroups.robot import HostedRobot
from robotgroups_robot import problems
from robotgroups_robot.problems import Problem, ProblemError, ProblemType

FORWARDED = "X-RobotGroups-Forwarded"
ROBOT = "X-RobotGroups-Robot"
# How long a request waits for an active robot: the default lease (3 s), by which a dead one is found, and more.
PATIENCE_S = 5.0
# A forwarded request came here because the sender's cache named this robot: its own is at most a change behind.
FORWARDED_PATIENCE_S = 1.0
# An active robot that may not serve has yet to apply its promotion, or is cut off (then waiting is of no use).
NOT_SERVING_PATIENCE_S = 1.0
# Whoever waits tries again when roles move, and else with longer and longer pauses: a dead robot's peers have to act
# now, and what all its clients' requests ask for must not keep them from it.
PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.4
# The change feed tells of roles by itself. Postgres is asked only for an active robot's new address: when it has not
# answered for so long, and once for all requests that wait.
ASK_AFTER_S, ASK_EVERY_S = 0.2, 0.1
TIMEOUT = httpx.Timeout(10.0, connect=0.5)

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL)
_PASSED_ON = ("content-type", "idempotency-key", "authorization", "accept")
_PASSED_BACK = ("content-type", "retry-after", ROBOT.lower())

T = TypeVar("T")

logger = structlog.get_logger(__name__)


class Step(Enum):
    """What to do next with a request that needs an active robot."""

    LOCAL = "local"
    FORWARD = "forward"
    WAIT = "wait"
    GIVE_UP = "give up"


def next_step(*, role: Role | None, serving: bool, forwarded: bool, waited: float) -> Step:
    """The decision. `waited`: seconds since the request came in."""
    if role is Role.ACTIVE:
        if serving:
            return Step.LOCAL
        return Step.WAIT if waited < NOT_SERVING_PATIENCE_S else Step.GIVE_UP
    if forwarded:
        return Step.WAIT if waited < FORWARDED_PATIENCE_S else Step.GIVE_UP
    return Step.FORWARD if waited < PATIENCE_S else Step.GIVE_UP


class Answer(Enum):
    """What another robot's answer means for the request."""

    FINAL = "final"
    ELSEWHERE = "elsewhere"


def judge(status: int, problem_type: str | None) -> Answer:
    """Whether an answer is the client's, or another robot is to be asked: that one is not active, or not serving."""
    if problem_type in (ProblemType.NOT_ACTIVE.urn, ProblemType.NOT_SERVING.urn, ProblemType.NO_ACTIVE_ROBOT.urn):
        return Answer.ELSEWHERE
    # A 401 of a peer: its token is of another generation of the Secret; the client's was right here.
    return Answer.ELSEWHERE if status == ProblemType.UNAUTHORIZED.status else Answer.FINAL


@dataclass(frozen=True)
class Failure:
    """Why a robot did not take a request."""

    robot: str
    reason: str


class Forwarder:
    """Sends requests to the group's other robots over kept connections. Use as an async context manager."""

    def __init__(self, name: str, count: Callable[[str], None]) -> None:
        self._name = name
        self._count = count
        # Robots are reached by plain HTTP. A context that trusts nobody spares loading every certificate authority.
        # trust_env False: a proxy of the pod's environment is for the agent's requests.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client = HttpClient(timeout=TIMEOUT, trust_env=False, verify=nobody)

    async def aclose(self) -> None:
        """Closes the kept connections."""
        await self._client.aclose()

    async def send(self, robot: str, endpoint: str, request: Request, *, repeatable: bool) -> Response | Failure:
        """Passes a request on to one robot; the answer when it is the client's, else why not.

        Raises ProblemError (503) when it may have been carried out, nobody knows, and it is not `repeatable`.
        """
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        url = endpoint + request.url.path + (f"?{request.url.query}" if request.url.query else "")
        try:
            body = await request.body()
            answer = await self._client.request(
                request.method, url, content=body, headers={**headers, FORWARDED: self._name}
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            self._count("unreachable")
            reason = f"{robot} at {endpoint} cannot be reached: {type(error).__name__} {error}".rstrip(": ")
            if not repeatable and not isinstance(error, _NOT_SENT):
                raise ProblemError(Problem(ProblemType.NO_ACTIVE_ROBOT, f"{reason}; it may have been done")) from error
            return Failure(robot, reason)
        if judge(answer.status_code, _problem_type(answer)) is Answer.ELSEWHERE:
            self._count("refused")
            return Failure(robot, f"{robot} answered {answer.status_code}: {_detail(answer)}")
        self._count("answered")
        passed_back = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, passed_back)


class Writer:
    """Carries out what only an active robot may do."""

    def __init__(self, robot: HostedRobot, forwarder: Forwarder) -> None:
        self._robot = robot
        self._forwarder = forwarder
        self._asking = anyio.Lock()
        self._found: list[tuple[str, str]] = []
        self._found_at = -1e9

    async def run(
        self, request: Request, operation: Callable[[HostedRobot], Awaitable[T]], *, repeatable: bool = True
    ) -> T | Response:
        """Runs `operation` here, or passes `request` on to an active robot and gives its answer.

        `repeatable`: done twice it has the same outcome (M2), so it may be sent again when a connection broke under it.

        Raises ProblemError (409 with the active robots, 503 when none can be reached) and the library's errors.
        """
        started = time.monotonic()
        forwarded = FORWARDED in request.headers
        refusal: Problem | None = None
        pause = PAUSE_S
        while True:
            now, placing = time.monotonic(), self._robot.placing
            serving = self._robot.serving(now)
            step = next_step(role=self._robot.role, serving=serving.ok, forwarded=forwarded, waited=now - started)
            match step:
                case Step.LOCAL:
                    try:
                        return await operation(self._robot)
                    except NotActiveError as error:
                        # The database is ahead of this cache. The change is on its way here.
                        refusal = problems.of_error(error)
                        if now - started >= PATIENCE_S:
                            raise ProblemError(refusal) from error
                case Step.FORWARD:
                    answer = await self._forward(request, repeatable=repeatable, waited=now - started)
                    if isinstance(answer, Response):
                        return answer
                    refusal = answer
                case Step.GIVE_UP:
                    raise ProblemError(refusal or self._refusal(serving.reason))
                case Step.WAIT:
                    pause = PAUSE_S  # it may serve as soon as its heart says so
            await self._robot.moved(placing, pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _forward(self, request: Request, *, repeatable: bool, waited: float) -> Response | Problem:
        failures: list[Failure] = []
        tried: list[tuple[str, str]] = []
        for places in (self._cached, partial(self._current, waited)):
            for robot, endpoint in await places():
                if (robot, endpoint) in tried or robot == self._robot.name:
                    continue
                tried.append((robot, endpoint))
                answer = await self._send(robot, endpoint, request, repeatable=repeatable)
                if isinstance(answer, Response):
                    return answer
                failures.append(answer)
        active = list(self._robot.cache.named(Role.ACTIVE))
        if not active:
            return Problem(ProblemType.NO_ACTIVE_ROBOT, "the group has no active robot now", {"active": []})
        reasons = "; ".join(f.reason for f in failures) or f"no endpoint is known of {', '.join(active)}"
        logger.debug("no active robot took the request", reasons=reasons)
        return Problem(ProblemType.NO_ACTIVE_ROBOT, reasons, {"active": active})

    async def _send(self, robot: str, endpoint: str, request: Request, *, repeatable: bool) -> Response | Failure:
        """Sends, and gives up when the robot loses its role meanwhile: one that hangs or is cut off never answers."""
        if not repeatable:
            return await self._forwarder.send(robot, endpoint, request, repeatable=False)
        answer: Response | Failure = Failure(robot, f"{robot} lost its role before it answered")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_replaced, robot, tasks.cancel_scope)
            answer = await self._forwarder.send(robot, endpoint, request, repeatable=True)
            tasks.cancel_scope.cancel()
        return answer

    async def _cancel_when_replaced(self, robot: str, scope: anyio.CancelScope) -> None:
        # It may not be active in this cache yet: then Postgres named it, and its role can only be lost once it is seen.
        seen = False
        while True:
            placing = self._robot.placing
            active = robot in self._robot.cache.named(Role.ACTIVE)
            if seen and not active:
                scope.cancel()
                return
            seen = seen or active
            await self._robot.moved(placing, PATIENCE_S)

    async def _cached(self) -> list[tuple[str, str]]:
        return self._robot.active_endpoints()

    async def _current(self, waited: float) -> list[tuple[str, str]]:
        """What Postgres knows: an active robot may have come back at another address, or roles have moved."""
        if waited < ASK_AFTER_S and self._robot.active_endpoints():
            return []
        async with self._asking:
            if time.monotonic() - self._found_at >= ASK_EVERY_S:
                try:
                    robots = (await self._robot.status()).robots
                    self._found = [(r.name, r.endpoint) for r in robots if r.role is Role.ACTIVE and r.endpoint]
                except MemoryUnavailableError:
                    self._found = []
                self._found_at = time.monotonic()
            return self._found

    def _refusal(self, reason: str) -> Problem:
        if self._robot.role is Role.ACTIVE:
            return Problem(ProblemType.NOT_SERVING, reason)
        return problems.not_active(f"{self._robot.name} is not active", self._robot.cache.named(Role.ACTIVE))


def _document(answer: httpx.Response) -> Mapping[str, object]:
    if answer.headers.get("content-type", "").startswith(problems.MEDIA_TYPE):
        try:
            document = answer.json()
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}
    return {}


def _problem_type(answer: httpx.Response) -> str | None:
    found = _document(answer).get("type")
    return found if isinstance(found, str) else None


def _detail(answer: httpx.Response) -> str:
    return str(_document(answer).get("detail", ""))
