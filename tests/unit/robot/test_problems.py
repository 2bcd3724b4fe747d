import inspect
import json
from typing import Any

import pytest

from robotgroups import errors
from robotgroups.errors import ModelFailure
from robotgroups_robot import problems
from robotgroups_robot.problems import MEDIA_TYPE, Problem, ProblemType


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (errors.NotActiveError("no", ("a",)), 409, "not-active"),
        (errors.NoActiveRobotError("no"), 503, "no-active-robot"),
        (errors.NoPassiveRobotError("no"), 409, "no-passive-robot"),
        (errors.UnknownMemoryError("no"), 404, "unknown-memory"),
        (errors.UnknownRobotError("no"), 422, "invalid-request"),
        (errors.ArgumentError("no"), 422, "invalid-request"),
        (errors.UnknownStrategyError("no"), 422, "invalid-request"),
        (errors.IdempotencyConflictError("no"), 422, "idempotency-conflict"),
        (errors.MissingFeatureError("no"), 501, "missing-feature"),
        (errors.MemoryUnavailableError("no"), 503, "memory-unavailable"),
        (errors.ReplacedError("no"), 503, "not-serving"),
        (errors.ClosedError("no"), 503, "not-serving"),
        (errors.UnknownGroupError("no"), 503, "not-serving"),
        (errors.NotPermittedError("no"), 403, "not-permitted"),
        (errors.PrunedError("no", 7), 410, "changes-gone"),
        (errors.EmbeddingUnavailableError("no", ModelFailure.TIMEOUT), 503, "model-unavailable"),
        (errors.EmbeddingConfigError("no", ModelFailure.UNAUTHORIZED), 500, "model-misconfigured"),
        (errors.EmbeddingInputError("no", ModelFailure.TOO_LONG), 422, "invalid-request"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_of_the_library_becomes_a_problem(error: errors.RobotGroupsError, status: int, slug: str) -> None:
    response = problems.of_error(error).response()
    document = json.loads(bytes(response.body))
    assert (response.status_code, document["status"], document["detail"]) == (status, status, "no")
    assert document["type"] == f"urn:robotgroups:problem:{slug}"
    assert response.media_type == MEDIA_TYPE
    assert response.headers.get("retry-after") == ("1" if status == 503 else None)


def test_a_models_failure_and_what_was_pruned_are_told_by_members() -> None:
    failed = problems.of_error(errors.EmbeddingUnavailableError("no", ModelFailure.RATE_LIMITED)).document()
    assert failed["reason"] == "rate_limited"
    assert problems.of_error(errors.PrunedError("no", 7)).document()["pruned_to"] == 7


def test_409_names_the_active_robots() -> None:
    document = problems.of_error(errors.NotActiveError("fenced", ("b", "a"))).document()
    assert document["active"] == ["b", "a"]


def test_an_error_without_a_problem_shows_nothing_of_itself() -> None:
    document = problems.of_error(errors.RobotGroupsError("password=hunter2")).document()
    assert (document["status"], "hunter2" in json.dumps(document)) == (500, False)


def test_every_error_a_route_can_meet_is_mapped() -> None:
    """What becomes 500 is told here by name, so that a new error of the library is decided on."""
    internal = set()
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if kind is errors.NotActiveError or not issubclass(kind, errors.RobotGroupsError):
            continue
        made = _made(kind)
        if problems.of_error(made).type is ProblemType.INTERNAL:
            internal.add(name)
    assert internal == {"NotFoundError", "RobotGroupsError", "RoleError", "ServiceError"}


def _made(kind: Any) -> errors.RobotGroupsError:
    arguments: tuple[object, ...] = ()
    if issubclass(kind, errors.ServiceError | errors.PrunedError):
        arguments = (500,)
    elif issubclass(kind, errors.ModelError):
        arguments = (ModelFailure.TIMEOUT,)
    made = kind("x", *arguments)
    assert isinstance(made, errors.RobotGroupsError)
    return made


def test_validation_errors_name_each_place_and_echo_no_value() -> None:
    document = problems.of_validation(
        [
            {"loc": ("body", "tags", 1), "msg": "Value error, holds a NUL character", "input": "se\x00cret"},
            {"loc": ("query", "limit"), "msg": "too large", "input": 7},
            {"loc": ("header", "Idempotency-Key"), "msg": "too long", "input": "k"},
        ]
    ).document()
    assert document["errors"] == [
        {"detail": "holds a NUL character", "pointer": "#/tags/1"},
        {"detail": "too large", "parameter": "limit"},
        {"detail": "too long", "header": "Idempotency-Key"},
    ]
    assert document["detail"] == "#/tags/1: holds a NUL character; limit: too large; Idempotency-Key: too long"


@pytest.mark.parametrize(("status", "slug"), [(404, "not-found"), (405, "method-not-allowed"), (418, "bad-request")])
def test_an_error_of_the_framework_becomes_a_problem(status: int, slug: str) -> None:
    assert problems.of_status(status, "no").type.urn == f"urn:robotgroups:problem:{slug}"


def test_no_two_types_share_a_name() -> None:
    assert len({t.urn for t in ProblemType}) == len(ProblemType)


def test_headers_given_stay() -> None:
    response = Problem(ProblemType.NOT_SERVING, "no", headers={"Retry-After": "7"}).response()
    assert response.headers["retry-after"] == "7"
