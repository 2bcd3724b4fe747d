"""S1 over HTTP: which routes take a token that is limited to a scope. Denied by default."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from robotgroups import scoped_token
from robotgroups_robot import app, auth
from robotgroups_robot.auth import BearerAuth
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.settings import RobotSettings

from .conftest import TOKEN
from .test_api import BODIES, ROUTES, problem

# To be allowed here, a route has to keep to the scope: that is for a person to see, and for the integration tests.
ALLOWED = {
    ("POST", "/v1/memories"),
    ("POST", "/v1/memories/batch"),
    ("POST", "/v1/memories/erase"),
    ("GET", "/v1/recall"),
    ("POST", "/v1/recall"),
    ("GET", "/v1/working-memory"),
    ("POST", "/v1/working-memory/pins"),
    ("DELETE", "/v1/working-memory/pins"),
    ("GET", "/v1/context"),
    ("GET", "/v1/memories/{id}"),
    ("PATCH", "/v1/memories/{id}"),
    ("DELETE", "/v1/memories/{id}"),
    ("GET", "/v1/memories/{id}/history"),
    ("GET", "/v1/memories/{id}/propositions"),
    ("POST", "/v1/memories/{id}/restore"),
    ("PUT", "/v1/files"),
    ("GET", "/v1/files"),
    ("DELETE", "/v1/files"),
    ("GET", "/v1/status"),
}
SCOPED = scoped_token(TOKEN, {"user": "u1"})


@pytest.fixture
async def runtime(settings: RobotSettings) -> AsyncIterator[Runtime]:
    made = Runtime(settings)
    yield made
    await made.stop()


def client_of(application: Any, token: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application)
    return httpx.AsyncClient(transport=transport, base_url="http://robot", headers={"Authorization": f"Bearer {token}"})


def test_no_other_route_has_declared_that_it_keeps_to_a_scope() -> None:
    every = [route for router in app.ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    found = {(m, r.path): auth.is_scope_aware(r.endpoint) for r in every for m in r.methods or ()}
    assert set(ROUTES) <= {(m, p.replace("{id}", "1")) for m, p in found}, "all routes are looked at"
    assert {route for route, aware in found.items() if aware} == ALLOWED


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_others_refuse_before_anything_is_done(runtime: Runtime, method: str, path: str) -> None:
    query = {"q": "x"} if (method, path) == ("GET", "/v1/recall") else None
    async with client_of(app.create_app(runtime, TOKEN), SCOPED) as client:
        answer = await client.request(method, path, json=BODIES.get((method, path)), params=query)
    if (method, path.replace("/1", "/{id}")) in ALLOWED:
        problem(answer, 503, "not-serving")  # the robot has not registered
    else:
        told = problem(answer, 403, "not-permitted")
        assert told["detail"] == "a token that is limited to a scope may not do this: it concerns others"


async def test_a_new_route_is_denied_until_it_declares_itself(runtime: Runtime) -> None:
    api = app.create_api(runtime)

    async def fine() -> str:
        return "everything"

    api.get("/v1/new")(fine)
    async with client_of(BearerAuth(api, TOKEN), SCOPED) as client:
        problem(await client.get("/v1/new"), 403, "not-permitted")
    async with client_of(BearerAuth(api, TOKEN), TOKEN) as client:
        assert (await client.get("/v1/new")).json() == "everything"


async def test_without_its_guard_the_api_serves_nobody(runtime: Runtime) -> None:
    transport = httpx.ASGITransport(app.create_api(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://robot") as client:
        problem(await client.get("/v1/status"), 500, "internal")


@pytest.mark.parametrize(
    "token",
    [
        scoped_token("the-token-of-another-group", {"user": "u1"}),
        SCOPED[:-4] + "AAAA",
        SCOPED + "." + TOKEN,
        SCOPED.replace(".", "\u00e9"),
    ],
)
async def test_what_is_no_token_of_this_group_is_401(runtime: Runtime, token: str) -> None:
    async with client_of(app.create_app(runtime, TOKEN), TOKEN) as client:
        headers = [(b"Authorization", b"Bearer " + token.encode("latin-1"))]
        answer = await client.get("/v1/status", headers=headers)
    problem(answer, 401, "unauthorized")
    assert token not in answer.text


async def test_two_tokens_are_none(runtime: Runtime) -> None:
    async with client_of(app.create_app(runtime, TOKEN), TOKEN) as client:
        request = client.build_request("GET", "/v1/status")
        request.headers = httpx.Headers(
            [(b"authorization", b"Bearer " + SCOPED.encode()), (b"authorization", b"Bearer " + TOKEN.encode())]
        )
        problem(await client.send(request), 401, "unauthorized")
