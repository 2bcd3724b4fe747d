"""Routes for what agents call all the time, past FastAPI's machinery.

FastAPI documents them like any other, and could serve them. But its stacks, dispatch and dependencies take 280 µs for
each request, several times as much as everything else of a remember; to find the handler by method and path, to read
the body by the same model and to write the answer by its serialiser takes 30.
"""

import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, get_type_hints

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from robotgroups_robot.auth import access_of, check_endpoint
from robotgroups_robot.problems import Problem, ProblemType
from robotgroups_robot.runtime import Runtime

JSON = "application/json"
KEY = "Idempotency-Key"

Error = dict[str, Any]
Endpoint = Callable[..., Awaitable[BaseModel | Response]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def answer(body: BaseModel, status: int = 200) -> Response:
    """The response of a body, serialised once and checked by nobody: it is of the model that the route documents."""
    return Response(body.model_dump_json(), status, media_type=JSON)


class DirectRoute(APIRoute):
    """The route of an endpoint ``async (body: Model, request: Request, runtime: RuntimeDep)``.

    It may take ``key: Key = None``, the request's idempotency key, too.

    A wrong body or key is told as FastAPI tells it: by RequestValidationError, or HTTPException (400) for what is no
    text at all.
    """

    def get_route_handler(self) -> Handler:
        """What is called with each request."""
        endpoint: Endpoint = self.endpoint
        status = self.status_code or 200
        hints = get_type_hints(endpoint, include_extras=True)
        body_type: TypeAdapter[Any] = TypeAdapter(hints["body"])
        key_type: TypeAdapter[Any] | None = TypeAdapter(hints["key"]) if "key" in hints else None

        async def handle(request: Request) -> Response:
            errors: list[Error] = []
            check_endpoint(access_of(request), endpoint)
            arguments = {"body": _checked(body_type, await read_json(request), ("body",), errors)}
            key = request.headers.get(KEY)
            if key is not None and key_type is not None:
                arguments["key"] = _checked(key_type, key, ("header", KEY), errors)
            if errors:
                raise RequestValidationError(errors)
            runtime: Runtime = request.app.state.runtime
            done = await endpoint(request=request, runtime=runtime, **arguments)
            return done if isinstance(done, Response) else answer(done, status)

        return handle


class DirectRoutes:
    """ASGI application: answers routers' direct routes, whose paths are fixed, and leaves the others to ``api``."""

    def __init__(self, api: FastAPI, routers: Iterable[APIRouter], problem_of: Callable[[Exception], Problem]) -> None:
        self._api = api
        self._problem_of = problem_of
        direct = [route for router in routers for route in router.routes if isinstance(route, DirectRoute)]
        self._found = {
            (m, route.path): (route, route.get_route_handler()) for route in direct for m in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        found = self._found.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None:
            await self._api(scope, receive, send)
            return
        scope["app"] = self._api
        scope["route"], handle = found
        try:
            response = await handle(Request(scope, receive))
        except Exception as error:
            problem = self._problem_of(error)
            await problem.response()(scope, receive, send)
            if problem.type is ProblemType.INTERNAL:
                raise  # the server logs it
            return
        await response(scope, receive, send)


def _checked(adapter: TypeAdapter[Any], value: object, place: tuple[str, ...], errors: list[Error]) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        errors += ({**e, "loc": (*place, *e["loc"])} for e in error.errors(include_url=False, include_context=False))
        return None


async def read_json(request: Request) -> Any:
    """The JSON of a request's body.

    Raises:
        RequestValidationError: there is none.
        HTTPException: 400 for what is no text, is nested too deeply or has not come to its end; 413 by the size.

    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON and not (media_type.startswith("application/") and media_type.endswith("+json")):
        raise _wrong(("header", "Content-Type"), f"must be {JSON}: the body is JSON")
    try:
        body = await request.body()
        if not body:
            raise _wrong(("body",), "Field required")
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise _wrong(("body", error.pos), f"is no JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError, ClientDisconnect) as error:
        raise HTTPException(400, "There was an error parsing the body") from error


def _wrong(place: tuple[int | str, ...], message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": place, "msg": message, "type": "value_error"}])
