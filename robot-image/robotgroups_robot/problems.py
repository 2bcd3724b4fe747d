"""Every error of the API as a problem document (RFC 9457), and which error becomes which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from robotgroups import errors

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1


class ProblemType(Enum):
    """What a client can tell apart; `urn` is the document's `type`."""

    BAD_REQUEST = ("bad-request", 400, "The request cannot be read")
    UNAUTHORIZED = ("unauthorized", 401, "A valid bearer token is needed")
    NOT_PERMITTED = ("not-permitted", 403, "The robot's login may not do this")
    NOT_FOUND = ("not-found", 404, "No such resource")
    UNKNOWN_MEMORY = ("unknown-memory", 404, "No such memory")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The resource does not take this method")
    NOT_ACTIVE = ("not-active", 409, "This robot is not active")
    NO_PASSIVE_ROBOT = ("no-passive-robot", 409, "No passive robot can take over")
    PRUNED = ("pruned", 410, "The changes asked for are gone")
    CONTENT_TOO_LARGE = ("content-too-large", 413, "The request is too large")
    INVALID_REQUEST = ("invalid-request", 422, "The request is not valid")
    IDEMPOTENCY_CONFLICT = ("idempotency-conflict", 422, "The idempotency key was used for something else")
    INTERNAL = ("internal", 500, "The robot failed to handle the request")
    MISSING_FEATURE = ("missing-feature", 501, "This version does not have the feature")
    MEMORY_UNAVAILABLE = ("memory-unavailable", 503, "The group's memory cannot be reached")
    NO_ACTIVE_ROBOT = ("no-active-robot", 503, "No active robot can be reached")
    NOT_SERVING = ("not-serving", 503, "This robot is not serving")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.urn = f"urn:robotgroups:problem:{slug}"
        self.status = status
        self.title = title


_OF_STATUS = {
    HTTPStatus.BAD_REQUEST: ProblemType.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED: ProblemType.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND: ProblemType.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: ProblemType.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ProblemType.CONTENT_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY: ProblemType.INVALID_REQUEST,
}


@dataclass(frozen=True)
class Problem:
    """One error. `members` are the document's extension members."""

    type: ProblemType
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The body."""
        return {
            "type": self.type.urn,
            "title": self.type.title,
            "status": self.type.status,
            "detail": self.detail,
            **self.members,
        }

    def response(self) -> JSONResponse:
        """The HTTP response; 503 tells when to come back."""
        headers = dict(self.headers)
        if self.type.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        return JSONResponse(self.document(), self.type.status, headers, MEDIA_TYPE)


class ProblemError(Exception):
    """Raised by a route to answer with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


# The most specific class first. What is missing here is an internal error: nothing of it is shown.
_OF_ERROR: tuple[tuple[type[errors.RobotGroupsError], ProblemType], ...] = (
    (errors.UnknownMemoryError, ProblemType.UNKNOWN_MEMORY),
    (errors.NoPassiveRobotError, ProblemType.NO_PASSIVE_ROBOT),
    (errors.NotWarmError, ProblemType.NO_PASSIVE_ROBOT),
    (errors.ContentTooLargeError, ProblemType.CONTENT_TOO_LARGE),
    (errors.IdempotencyConflictError, ProblemType.IDEMPOTENCY_CONFLICT),
    (errors.MissingFeatureError, ProblemType.MISSING_FEATURE),
    (errors.MemoryUnavailableError, ProblemType.MEMORY_UNAVAILABLE),
    (errors.SetupError, ProblemType.MEMORY_UNAVAILABLE),
    (errors.ClosedError, ProblemType.NOT_SERVING),
    (errors.ReplacedError, ProblemType.NOT_SERVING),
    (errors.HostedElsewhereError, ProblemType.NOT_SERVING),
    (errors.UnknownGroupError, ProblemType.NOT_SERVING),
    (errors.NotPermittedError, ProblemType.NOT_PERMITTED),
    (errors.UnknownRobotError, ProblemType.INVALID_REQUEST),
    (errors.ArgumentError, ProblemType.INVALID_REQUEST),
)


def of_error(error: errors.RobotGroupsError) -> Problem:
    """The problem that an error of the library becomes."""
    if isinstance(error, errors.NotActiveError):
        return not_active(str(error), error.active)
    if isinstance(error, errors.NoActiveRobotError):
        return Problem(ProblemType.NO_ACTIVE_ROBOT, str(error), {"active": []})
    if isinstance(error, errors.PrunedError):
        return Problem(ProblemType.PRUNED, str(error), {"oldest": error.pruned_to + 1})
    for kind, problem_type in _OF_ERROR:
        if isinstance(error, kind):
            return Problem(problem_type, str(error))
    return internal()


def not_active(detail: str, active: Sequence[str]) -> Problem:
    """409 with the names of the active robots (R2)."""
    return Problem(ProblemType.NOT_ACTIVE, detail, {"active": list(active)})


def internal() -> Problem:
    """500. The cause is in the robot's log, never in the answer."""
    return Problem(ProblemType.INTERNAL, "an unexpected error; the robot's log has its cause")


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem of an error that the web framework raised."""
    problem_type = _OF_STATUS.get(HTTPStatus(status))
    if problem_type is None:
        problem_type = ProblemType.INTERNAL if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ProblemType.BAD_REQUEST
    return Problem(problem_type, detail, headers=headers or {})


def of_validation(found: Sequence[Mapping[str, Any]]) -> Problem:
    """422 that names each wrong value; the values themselves are not echoed.

    `found` is pydantic's list of errors: {"loc": (place, name, ...), "msg"}.
    """
    listed = [_located(e["loc"], str(e["msg"])) for e in found]
    detail = "; ".join(f"{e.get('parameter') or e.get('header') or e['pointer']}: {e['detail']}" for e in listed[:3])
    return Problem(ProblemType.INVALID_REQUEST, detail, {"errors": listed})


def _located(location: Sequence[int | str], message: str) -> dict[str, str]:
    place, path = (location[0], location[1:]) if location else ("body", ())
    message = message.removeprefix("Value error, ")
    match place:
        case "query" | "path":
            return {"detail": message, "parameter": ".".join(map(str, path))}
        case "header":
            return {"detail": message, "header": ".".join(map(str, path))}
        case _:
            return {"detail": message, "pointer": "#/" + "/".join(map(str, path))}
