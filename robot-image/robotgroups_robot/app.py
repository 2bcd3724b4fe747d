"""The HTTP application: routes, and every error as a problem document."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from robotgroups.errors import RobotGroupsError
from robotgroups_robot import limits, problems
from robotgroups_robot.access import AccessLog
from robotgroups_robot.auth import BearerAuth
from robotgroups_robot.health import Phase
from robotgroups_robot.problems import Problem, ProblemError, ProblemType
from robotgroups_robot.routes import memory, probes, team
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.size import DeclaredSize, too_large

_DESCRIPTION = "One robot of a RobotGroup: its group's shared memory, its state, and its role."


def create_api(runtime: Runtime) -> FastAPI:
    """The API alone, without the token's guard and the access log."""
    api = FastAPI(
        title="Robot groups: the robot",
        version=version("robotgroups"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        max_body_size=limits.MAX_BODY_BYTES,
    )
    api.state.runtime = runtime
    for router in (probes.router, memory.router, team.router):
        api.include_router(router)
    _answer_with_problems(api)
    return api


def create_app(runtime: Runtime, token: str) -> ASGIApp:
    """What the server runs."""
    guarded = BearerAuth(DeclaredSize(create_api(runtime)), token)
    return AccessLog(guarded, runtime.metrics, runtime.settings.robot, lambda: runtime.phase is Phase.DRAINING)


def _answer_with_problems(api: FastAPI) -> None:
    def on(kind: type[Exception], problem_of: Callable[[Any], Problem]) -> None:
        async def handle(_request: Request, error: Exception) -> JSONResponse:
            return problem_of(error).response()

        api.add_exception_handler(kind, handle)

    on(ProblemError, lambda e: e.problem)
    on(RobotGroupsError, problems.of_error)
    on(RequestValidationError, lambda e: problems.of_validation(e.errors()))
    on(HTTPException, _of_http)
    on(Exception, lambda _e: problems.internal())


def _of_http(error: HTTPException) -> Problem:
    if error.status_code == ProblemType.CONTENT_TOO_LARGE.status:
        return too_large()
    return problems.of_status(error.status_code, error.detail, error.headers)
