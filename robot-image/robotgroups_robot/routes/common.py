"""What the routes share: the runtime, documented errors, and the token in OpenAPI."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import JsonValue

from robotgroups_robot.problems import MEDIA_TYPE
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.schemas import ProblemBody


async def _runtime(request: Request) -> Runtime:
    runtime = request.app.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]

MemoryId = Annotated[int, Path(alias="id", ge=1, le=2**63 - 1)]


def one_of(choices: type[StrEnum]) -> dict[str, JsonValue]:
    """For OpenAPI alone: the library refuses any other, by name."""
    return {"enum": [choice.value for choice in choices]}


def wrong_parameter(name: str, message: str) -> RequestValidationError:
    """422 for a parameter of the query."""
    return RequestValidationError([{"loc": ("query", name), "msg": message, "type": "value_error"}])


# Documents the token; BearerAuth has checked it before the request comes here.
TOKEN = Security(
    HTTPBearer(auto_error=False, description="key `token` of the group's Secret, or a token limited to a scope")
)

_TITLES = {
    400: "The request cannot be read",
    401: "The token is missing or wrong",
    403: "The token is limited to a scope, and may not do this",
    404: "There is no such memory",
    409: "Roles do not allow it now; `active` names the active robots",
    410: "The changes after that revision are gone, up to `pruned_to`: start from the working memory",
    413: "The request, or its content, is too large",
    422: "A value is wrong; `errors` names each",
    501: "This version does not have what was asked for",
    503: "Not now: try again after `Retry-After` seconds",
}


def answers_with(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of a route's errors: the given ones and those that every route has."""
    schema = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    return {
        status: {"description": _TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({401, 403, 422, 503, *statuses})
    }
