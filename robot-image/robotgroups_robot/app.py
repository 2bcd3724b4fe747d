"""The HTTP application: routes, and every error as a problem document."""

from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from robotgroups.errors import RobotGroupsError
from robotgroups_robot import problems
from robotgroups_robot.access import AccessLog
from robotgroups_robot.auth import BearerAuth
from robotgroups_robot.health import Phase
from robotgroups_robot.problems import Problem, ProblemError, ProblemType
from robotgroups_robot.routes import lifecycle, memory, probes, team
from robotgroups_robot.routes.direct import DirectRoutes
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.size import BoundedBody, too_large

_DESCRIPTION = "One robot of a RobotGroup: its group's shared memory, its state, and its role."


def create_api(runtime: Runtime) -> FastAPI:
    """The API alone, without the token's guard, the limit of a body and the access log."""
    api = FastAPI(
        title="Robot groups: the robot",
        version=version("robotgroups"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
    )
    api.state.runtime = runtime
    for router in (probes.router, memory.direct, memory.router, lifecycle.router, team.router):
        api.include_router(router)
    for kind in (ProblemError, RobotGroupsError, RequestValidationError, HTTPException, Exception):
        api.add_exception_handler(kind, _answer_with_problem)
    return api


def create_app(runtime: Runtime, token: str) -> ASGIApp:
    """What the server runs."""
    routed = DirectRoutes(create_api(runtime), memory.direct, problem_of)
    guarded = BearerAuth(BoundedBody(routed), token)
    return AccessLog(guarded, runtime.metrics, runtime.settings.robot, lambda: runtime.phase is Phase.DRAINING)


def problem_of(error: Exception) -> Problem:
    """The problem that an error becomes."""
    match error:
        case ProblemError():
            return error.problem
        case RobotGroupsError():
            return problems.of_error(error)
        case RequestValidationError():
            return problems.of_validation(error.errors())
        case HTTPException(status_code=ProblemType.CONTENT_TOO_LARGE.status):
            return too_large()
        case HTTPException():
            return problems.of_status(error.status_code, error.detail, error.headers)
        case _:
            return problems.internal()


async def _answer_with_problem(_request: Request, error: Exception) -> JSONResponse:
    return problem_of(error).response()
