"""What the routes share: the runtime, documented errors, and the token in OpenAPI."""

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from robotgroups_robot.problems import MEDIA_TYPE
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.schemas import ProblemBody


async def _runtime(request: Request) -> Runtime:
    runtime = request.app.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]

# Documents the token; BearerAuth has checked it before the request comes here.
TOKEN = Security(HTTPBearer(auto_error=False, description="key `token` of the group's Secret"))

_TITLES = {
    400: "The request cannot be read",
    401: "The token is missing or wrong",
    404: "There is no such memory",
    409: "Roles do not allow it now; `active` names the active robots",
    410: "The changes asked for are gone; `oldest` is the first that can be had",
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
        for status in sorted({401, 422, 503, *statuses})
    }
