"""The HTTP application over a robot that has not registered yet: what is decided before the robot is asked."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema
import pytest

from robotgroups import limits
from robotgroups.tags import MAX_TAG_CHARACTERS, MAX_TAGS
from robotgroups_robot.app import create_api, create_app
from robotgroups_robot.auth import BearerAuth, given
from robotgroups_robot.limits import MAX_BODY_BYTES
from robotgroups_robot.problems import MEDIA_TYPE
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.settings import RobotSettings

from .conftest import TOKEN

ROUTES = [
    ("POST", "/v1/memories"),
    ("POST", "/v1/memories/batch"),
    ("POST", "/v1/memories/erase"),
    ("GET", "/v1/recall"),
    ("POST", "/v1/recall"),
    ("GET", "/v1/working-memory"),
    ("DELETE", "/v1/working-memory"),
    ("POST", "/v1/working-memory/pins"),
    ("DELETE", "/v1/working-memory/pins"),
    ("GET", "/v1/context"),
    ("GET", "/v1/status"),
    ("GET", "/v1/events"),
    ("GET", "/v1/memories/1"),
    ("PATCH", "/v1/memories/1"),
    ("GET", "/v1/memories/1/history"),
    ("GET", "/v1/memories/1/propositions"),
    ("DELETE", "/v1/memories/1"),
    ("POST", "/v1/memories/1/restore"),
    ("POST", "/v1/failover"),
    ("POST", "/v1/switchover"),
]
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/memories"): {"content": "x"},
    ("POST", "/v1/memories/batch"): {"memories": [{"content": "x"}]},
    ("POST", "/v1/memories/erase"): {"ids": [1]},
    ("POST", "/v1/recall"): {"query": "x"},
    ("POST", "/v1/working-memory/pins"): {"ids": [1]},
    ("DELETE", "/v1/working-memory/pins"): {"ids": [1]},
    ("PATCH", "/v1/memories/1"): {"content": "x"},
}


@pytest.fixture
async def runtime(settings: RobotSettings) -> Runtime:
    return Runtime(settings)


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(runtime, TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://robot", headers=headers) as made:
        yield made
    await runtime.stop()


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    document = response.json()
    assert (response.status_code, document["status"]) == (status, status), document
    assert response.headers["content-type"] == MEDIA_TYPE
    assert document["type"] == f"urn:robotgroups:problem:{slug}"
    assert document["title"]
    assert document["detail"]
    return dict(document)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer t", b"t"),
        (b"bearer t", b"t"),
        (b"Bearer  t ", b"t"),
        (b"Bearer", b""),
        (b"Basic t", None),
        (b"t", None),
        (b"", None),
        (None, None),
        (b"Bearer \xff\xfe", b"\xff\xfe"),
    ],
)
def test_authorization_headers(header: bytes | None, token: bytes | None) -> None:
    assert given(header) == token


@pytest.mark.parametrize(
    "header",
    [f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN}x", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer \xff"],
)
async def test_what_is_not_the_token_is_401(client: httpx.AsyncClient, header: str) -> None:
    response = await client.get("/v1/status", headers=[(b"Authorization", header.encode("latin-1"))])
    problem(response, 401, "unauthorized")


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/"), ("GET", "/v2"), ("GET", "/docs")])
async def test_nothing_but_probes_is_told_without_the_token(client: httpx.AsyncClient, method: str, path: str) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        response = await client.request(method, path, headers=headers)
        problem(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == 'Bearer realm="robotgroups"'
        assert TOKEN not in response.text


async def test_a_body_is_not_read_without_the_token(client: httpx.AsyncClient) -> None:
    read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"{}"

    problem(await client.post("/v1/memories", content=body(), headers={"Authorization": ""}), 401, "unauthorized")
    assert not read


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json"])
async def test_probes_need_no_token(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers={"Authorization": ""})).status_code == 200


@pytest.mark.parametrize("path", ["/startupz", "/readyz"])
async def test_before_it_has_registered_it_is_not_ready_and_says_why(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"Authorization": ""})
    told = problem(response, 503, "not-serving")
    assert told["detail"] == "it has not connected to Postgres yet"
    assert (told["robot"], told["role"], told["phase"]) == ("support-primary", None, "starting")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_before_it_has_registered_every_route_answers_503(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    query = {"q": "x"} if (method, path) == ("GET", "/v1/recall") else None
    response = await client.request(method, path, json=BODIES.get((method, path)), params=query)
    problem(response, 503, "not-serving")
    assert response.headers["retry-after"] == "1"


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/nothing"), 404, "not-found")
    response = await client.put("/v1/memories")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/content"),
        ({"content": 7}, "#/content"),
        ({"content": ""}, "#/content"),
        ({"content": " \n\t"}, "#/content"),
        ({"content": "a\x00b"}, "#/content"),
        ({"content": "x", "tags": "a"}, "#/tags"),
        ({"content": "x", "tags": ["ok", ""]}, "#/tags/1"),
        ({"content": "x", "tags": ["\x00"]}, "#/tags/0"),
        ({"content": "x", "tags": ["t" * (MAX_TAG_CHARACTERS + 1)]}, "#/tags/0"),
        ({"content": "x", "tags": ["t"] * (MAX_TAGS + 1)}, "#/tags"),
        ({"content": "x", "tags": ["a:b", "a::b"]}, "#/tags/1"),
        ({"content": "x", "tags": ["a:b:c:d:e:f"]}, "#/tags/0"),
        ({"content": "x", "metadata": []}, "#/metadata"),
        ({"content": "x", "metadata": {"a": {"b": "\x00"}}}, "#/metadata"),
        ({"content": "x", "metadata": {"a": "x" * limits.MAX_METADATA_BYTES}}, "#/metadata"),
        ({"content": "x", "originator": ""}, "#/originator"),
        ({"content": "x", "color": "red"}, "#/color"),
        ({"content": "x", "scope": "user=u1"}, "#/scope"),
        ({"content": "x", "scope": {"user": 1}}, "#/scope/user"),
        ({"content": "x", "scope": {"User": "u1"}}, "#/scope"),
        ({"content": "x", "scope": {"user": ""}}, "#/scope"),
        ({"content": "x", "scope": {"user": "\x00"}}, "#/scope"),
        ({"content": "x", "scope": {f"k{i}": "v" for i in range(9)}}, "#/scope"),
        ({"content": "x", "expires_at": 1900000000}, "#/expires_at"),
        ({"content": "x", "expires_at": "soon"}, "#/expires_at"),
        ({"content": "x", "expires_at": "9999-12-31T23:59:59-01:00"}, "#/expires_at"),
    ],
)
async def test_wrong_memories_are_refused_by_place(client: httpx.AsyncClient, body: object, pointer: str) -> None:
    told = problem(await client.post("/v1/memories", json=body), 422, "invalid-request")
    assert [e["pointer"] for e in told["errors"]] == [pointer]
    batch = {"memories": [{"content": "fine"}, body]}
    told = problem(await client.post("/v1/memories/batch", json=batch), 422, "invalid-request")
    assert [e["pointer"] for e in told["errors"]] == [pointer.replace("#", "#/memories/1")]


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("POST", "/v1/memories/batch", {"memories": []}, "#/memories"),
        ("POST", "/v1/memories/batch", {"memories": [{"content": "x"}] * 257}, "#/memories"),
        ("POST", "/v1/memories/batch", {"memories": [{"content": "x", "key": "a b"}]}, "#/memories/0/key"),
        ("POST", "/v1/recall", {}, "#/query"),
        ("POST", "/v1/recall", {"query": " "}, "#/query"),
        ("POST", "/v1/recall", {"query": "x", "limit": 0}, "#/limit"),
        ("POST", "/v1/recall", {"query": "x", "tags": ["a::b"]}, "#/tags/0"),
        ("POST", "/v1/recall", {"query": "x", "scope": {"a": 1}}, "#/scope/a"),
        ("POST", "/v1/recall", {"query": "x", "originators": [""]}, "#/originators/0"),
        ("POST", "/v1/recall", {"query": "x", "weights": {"k": 0}}, "#/weights/k"),
        ("POST", "/v1/recall", {"query": "x", "weights": {"k": 10**7}}, "#/weights/k"),
        ("POST", "/v1/recall", {"query": "x", "weights": {"fulltext": -1}}, "#/weights/fulltext"),
        ("POST", "/v1/recall", {"query": "x", "weights": {"words": 1}}, "#/weights/words"),
        ("POST", "/v1/recall", {"query": "x", "q": "x"}, "#/q"),
        ("POST", "/v1/working-memory/pins", {"ids": []}, "#/ids"),
        ("POST", "/v1/working-memory/pins", {"ids": [0]}, "#/ids/0"),
        ("DELETE", "/v1/working-memory/pins", {"ids": [2**63]}, "#/ids/0"),
        ("POST", "/v1/working-memory/pins", {"ids": [1] * 1001}, "#/ids"),
        ("PATCH", "/v1/memories/1", {"content": ""}, "#/content"),
        ("PATCH", "/v1/memories/1", {"scope": {"user": "u2"}}, "#/scope"),
        ("PATCH", "/v1/memories/1", {"expires_at": 7}, "#/expires_at"),
        ("POST", "/v1/memories/erase", {"ids": 1}, "#/ids"),
        ("POST", "/v1/memories/erase", {"all": True}, "#/all"),
    ],
)
async def test_wrong_bodies_are_refused_by_place(
    client: httpx.AsyncClient, method: str, path: str, body: object, pointer: str
) -> None:
    told = problem(await client.request(method, path, json=body), 422, "invalid-request")
    assert [e["pointer"] for e in told["errors"]] == [pointer]


@pytest.mark.parametrize(
    "raw", [b'{"query": "x", "weights": {"vector": NaN}}', b'{"query": "x", "weights": {"k": 1e999}}']
)
async def test_numbers_that_are_not_finite_are_refused(client: httpx.AsyncClient, raw: bytes) -> None:
    response = await client.post("/v1/recall", content=raw, headers={"Content-Type": "application/json"})
    problem(response, 422, "invalid-request")


async def test_a_batch_names_the_memory_that_is_too_large(client: httpx.AsyncClient) -> None:
    memories = [{"content": "x"}, {"content": "x" * (limits.MAX_CONTENT_BYTES + 1)}]
    told = problem(await client.post("/v1/memories/batch", json={"memories": memories}), 413, "content-too-large")
    assert told["detail"].startswith("#/memories/1: content has")


@pytest.mark.parametrize(
    "raw",
    [
        rb'{"content": "\ud800"}',
        rb'{"content": "x", "tags": ["\udfff"]}',
        rb'{"content": "x", "metadata": {"\ud800": 1}}',
        rb'{"content": "x", "metadata": {"a": NaN}}',
        rb'{"content": "x", "metadata": {"a": 1e999}}',
        b'{"content": ',
        b"7",
        b"",
    ],
)
async def test_what_is_no_storable_json_is_refused(client: httpx.AsyncClient, raw: bytes) -> None:
    response = await client.post("/v1/memories", content=raw, headers={"Content-Type": "application/json"})
    problem(response, 422, "invalid-request")


@pytest.mark.parametrize("raw", [b'{"content": "\xff\xfe"}', b'{"content":"x","metadata":' + b"[" * 200_000])
async def test_what_cannot_be_read_at_all_is_a_problem_too(client: httpx.AsyncClient, raw: bytes) -> None:
    response = await client.post("/v1/memories", content=raw, headers={"Content-Type": "application/json"})
    problem(response, 400, "bad-request")


async def test_values_are_not_echoed(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/memories", json={"content": ["hunter2"], "hunter2": 1})
    assert response.text.count("hunter2") == 2, "the name of the unknown field, in detail and pointer; never a value"
    problem(response, 422, "invalid-request")


@pytest.mark.parametrize("key", ["", "a b", "ü", "k" * (limits.MAX_KEY_CHARACTERS + 1)])
async def test_wrong_idempotency_keys_are_refused(client: httpx.AsyncClient, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    response = await client.post("/v1/memories", json={"content": "x"}, headers=headers)
    told = problem(response, 422, "invalid-request")
    assert [e["header"] for e in told["errors"]] == ["Idempotency-Key"]


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("/v1/recall", {}, "q"),
        ("/v1/recall", {"q": "a\x00"}, "q"),
        ("/v1/recall", {"q": "a" * (limits.MAX_QUERY_CHARACTERS + 1)}, "q"),
        ("/v1/recall", {"q": "a", "limit": "0"}, "limit"),
        ("/v1/recall", {"q": "a", "limit": "many"}, "limit"),
        ("/v1/recall", {"q": "a", "limit": str(limits.MAX_RECALL + 1)}, "limit"),
        ("/v1/recall", {"q": "a", "tag": "\x00"}, "tag.0"),
        ("/v1/recall", {"q": "a", "scope": "user"}, "scope"),
        ("/v1/recall", {"q": "a", "scope": "[]"}, "scope"),
        ("/v1/context", {"max_tokens": "0"}, "max_tokens"),
        ("/v1/context", {"scope": '{"User": "u1"}'}, "scope"),
        ("/v1/context", {"scope": '{"user": ""}'}, "scope"),
        ("/v1/context", {"query": "a\x00"}, "query"),
        ("/v1/context", {"query": "a" * (limits.MAX_QUERY_CHARACTERS + 1)}, "query"),
        ("/v1/memories/0", None, "id"),
        ("/v1/memories/9223372036854775808", None, "id"),
        ("/v1/memories/one", None, "id"),
    ],
)
async def test_wrong_parameters_are_refused_by_name(
    client: httpx.AsyncClient, path: str, query: dict[str, str] | None, parameter: str
) -> None:
    method = "DELETE" if path.startswith("/v1/memories") else "GET"
    told = problem(await client.request(method, path, params=query), 422, "invalid-request")
    assert [e["parameter"] for e in told["errors"]] == [parameter]


async def test_content_at_the_limit_passes_and_one_byte_more_is_413(client: httpx.AsyncClient) -> None:
    largest = "ü" * (limits.MAX_CONTENT_BYTES // 2)
    problem(await client.post("/v1/memories", json={"content": largest}), 503, "not-serving")
    told = problem(await client.post("/v1/memories", json={"content": largest + "x"}), 413, "content-too-large")
    assert str(limits.MAX_CONTENT_BYTES) in told["detail"]


@pytest.mark.parametrize("path", ["/v1/memories", "/v1/failover"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413(client: httpx.AsyncClient, chunked: bool, path: str) -> None:
    raw = json.dumps({"content": "x" * MAX_BODY_BYTES}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 65536):
            yield raw[start : start + 65536]

    response = await client.post(
        path, content=chunks() if chunked else raw, headers={"Content-Type": "application/json"}
    )
    told = problem(response, 413, "content-too-large")
    assert told["detail"] == f"a request's body may have {MAX_BODY_BYTES} bytes"


async def test_an_unexpected_error_is_a_problem_and_shows_nothing(runtime: Runtime) -> None:
    api = create_api(runtime)

    @api.get("/broken")
    async def broken() -> None:
        raise KeyError("password=hunter2")

    transport = httpx.ASGITransport(BearerAuth(api, TOKEN), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://robot", headers=headers) as client:
        response = await client.get("/broken")
    problem(response, 500, "internal")
    assert "hunter2" not in response.text
    await runtime.stop()


async def test_an_unexpected_error_of_a_direct_route_is_a_problem_and_is_left_to_the_log(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Runtime) -> None:
        raise KeyError("password=hunter2")

    monkeypatch.setattr(Runtime, "writer", property(broken))
    app, headers = create_app(runtime, TOKEN), {"Authorization": f"Bearer {TOKEN}"}
    for raising in (False, True):
        transport = httpx.ASGITransport(app, raise_app_exceptions=raising)
        async with httpx.AsyncClient(transport=transport, base_url="http://robot", headers=headers) as client:
            if raising:
                with pytest.raises(KeyError, match="hunter2"):
                    await client.post("/v1/memories", json={"content": "x"})
            else:
                response = await client.post("/v1/memories", json={"content": "x"})
                problem(response, 500, "internal")
                assert "hunter2" not in response.text
    await runtime.stop()


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_a_memory_is_json_and_says_so(client: httpx.AsyncClient, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    told = problem(
        await client.post("/v1/memories", content=b'{"content": "x"}', headers=headers), 422, "invalid-request"
    )
    assert told["errors"] == [{"header": "Content-Type", "detail": "must be application/json: the body is JSON"}]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"])
async def test_every_json_is_taken(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post("/v1/memories", content=b'{"content": "x"}', headers={"Content-Type": kind})
    problem(response, 503, "not-serving")


async def test_every_wrong_value_is_told_at_once(client: httpx.AsyncClient) -> None:
    body, headers = {"content": "", "tags": [""], "color": 1}, {"Idempotency-Key": "a b"}
    told = problem(await client.post("/v1/memories", json=body, headers=headers), 422, "invalid-request")
    assert [e.get("pointer") or e["header"] for e in told["errors"]] == [
        "#/content",
        "#/tags/0",
        "#/color",
        "Idempotency-Key",
    ]


async def test_requests_are_counted_by_route_and_answers_name_the_robot(client: httpx.AsyncClient) -> None:
    for number in (1, 2):
        response = await client.delete(f"/v1/memories/{number}")
        assert response.headers["x-robotgroups-robot"] == "support-primary"
    await client.get("/nothing/here")
    await client.get("/v1/status", headers={"Authorization": ""})
    text = (await client.get("/metrics")).text
    counted = {line for line in text.splitlines() if line.startswith("robotgroups_http_requests_total{")}
    assert counted == {
        'robotgroups_http_requests_total{method="DELETE",route="/v1/memories/{id}",status="503"} 2.0',
        'robotgroups_http_requests_total{method="GET",route="(none)",status="404"} 1.0',
        'robotgroups_http_requests_total{method="GET",route="(none)",status="401"} 1.0',
    }
    assert "robotgroups_robot_registered 0.0" in text
    assert "process_resident_memory_bytes" in text


async def test_openapi_documents_every_route_with_its_problems(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for method, path in ROUTES:
        operation = document["paths"][path.replace("/1", "/{id}")][method.lower()]
        assert operation["security"] == [{"HTTPBearer": []}]
        assert {"401", "403", "422", "503"} <= set(operation["responses"])
        for status in ("401", "403", "422", "503"):
            assert MEDIA_TYPE in operation["responses"][status]["content"]
    assert {"409", "413", "201"} <= set(document["paths"]["/v1/memories"]["post"]["responses"])
    for path in ("/healthz", "/readyz", "/startupz", "/metrics"):
        assert "security" not in document["paths"][path]["get"]


async def test_problems_match_their_documented_schema(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/memories"]["post"]
    schema = operation["responses"]["422"]["content"][MEDIA_TYPE]["schema"]
    answer = await client.post("/v1/memories", json={})
    jsonschema.validate(answer.json(), schema)


async def test_while_draining_every_answer_ends_its_connection(runtime: Runtime, client: httpx.AsyncClient) -> None:
    assert "connection" not in (await client.get("/healthz")).headers
    await runtime.hand_over()
    for path in ("/healthz", "/readyz", "/v1/status"):
        assert (await client.get(path)).headers["connection"] == "close"
    assert (await client.get("/readyz")).json()["detail"] == "the robot is draining: it has been told to stop"
