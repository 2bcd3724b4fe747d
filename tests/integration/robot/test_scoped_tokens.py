"""S1 over HTTP: with a token that is limited to a scope nothing of another scope is seen, touched or guessed."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from robot_process import RobotProcess, until

from robotgroups import AsyncClient, NewMemory, scoped_token
from robotgroups.errors import NotPermittedError, UnknownMemoryError

from .conftest import TOKEN, Group, declared

ROBOTS = ("primary", "standby")
ANN, BOB = {"user": "ann"}, {"user": "bob"}


def limited(robot: RobotProcess, scope: dict[str, str], expires_at: datetime | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {scoped_token(TOKEN, scope, expires_at)}"}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{robot.port}", headers=headers, timeout=15)


@dataclass
class Case:
    """A group with memories of Ann, of Bob and of nobody; Ann's client talks to the robot under test."""

    group: Group
    ann: httpx.AsyncClient
    robot: RobotProcess
    of_ann: int
    of_bob: int
    of_nobody: int

    async def others(self) -> list[tuple[Any, ...]]:
        """What is known of the memories that Ann may not touch."""
        memories = [await self.group.store.memory(self.group.id, i) for i in (self.of_bob, self.of_nobody)]
        return [
            (m.content, m.tags, m.version, m.forgotten_at, m.pinned, m.in_working_memory, m.access_count, m.expires_at)
            for m in memories
        ]


@pytest.fixture(scope="module")
async def shared(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Group]:
    async with declared(shared_dsn, tmp_path_factory.mktemp("robots"), ["primary"], ["standby"]) as group:
        await group.start(*ROBOTS)
        yield group


@pytest.fixture(params=ROBOTS)
async def case(shared: Group, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    """At the active robot, and at one that forwards to it."""
    robot = shared[request.param]
    owner = robot.client
    assert (await owner.post("/v1/memories/erase", json={"tags": ["case"]})).status_code == 200
    ids = []
    for content, scope in (("ann's secret", ANN), ("bob's secret", BOB), ("nobody's secret", {})):
        body = {"content": content, "scope": scope, "tags": ["case"]}
        answer = await owner.post("/v1/memories", json=body)
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])

    async def cached() -> bool:
        held = (await owner.get("/v1/working-memory")).json()["memories"]
        return set(ids) <= {m["id"] for m in held}

    await until(cached, "the robot has all of them")
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(limited(robot, ANN))
        yield Case(shared, ann, robot, *ids)


def is_problem(answer: httpx.Response, status: int, slug: str) -> bool:
    return (answer.status_code, answer.json()["type"]) == (status, f"urn:robotgroups:problem:{slug}")


async def test_reading_shows_ones_own_alone(case: Case) -> None:
    ann = case.ann
    for asked in (
        await ann.get("/v1/recall", params={"q": "secret"}),
        await ann.get("/v1/recall", params={"q": "secret", "scope": '{"user": "ann"}'}),
        await ann.post("/v1/recall", json={"query": "secret"}),
        await ann.post("/v1/recall", json={"query": "secret", "scope": ANN, "include_forgotten": True, "limit": 1000}),
        await ann.post("/v1/recall", json={"query": "secret or bob", "tags": ["case"], "originators": ["primary"]}),
        await ann.post("/v1/recall", json={"query": "secret", "into_working_memory": True}),
        await ann.get("/v1/working-memory"),
    ):
        assert asked.status_code == 200, asked.text
        assert [m["id"] for m in asked.json()["memories"]] == [case.of_ann]
    held = (await ann.get("/v1/working-memory")).json()
    assert held["tokens"] == held["memories"][0]["tokens"]
    contexts: list[dict[str, str]] = [
        {},
        {"query": "bob nobody secret"},
        {"scope": '{"user": "ann"}'},
        {"strategy": "recent", "max_tokens": "9999"},
    ]
    for params in contexts:
        made = (await ann.get("/v1/context", params=params)).json()
        assert (made["text"], made["memory_ids"]) == ("ann's secret", [case.of_ann])
    assert (await ann.get(f"/v1/memories/{case.of_ann}")).json()["content"] == "ann's secret"
    assert (await ann.get("/v1/status")).json()["active"] == ["primary"]


async def test_why_background_work_failed_is_not_told_for_it_may_quote_what_others_remember(case: Case) -> None:
    status = (await case.ann.get("/v1/status")).json()
    assert (status["failing_jobs"], status["job_error"]) == (0, None)
    why = 'the endpoint answered 400 (cannot embed "bob\'s secret")'
    async with await psycopg.AsyncConnection.connect(case.group.store.dsn, autocommit=True) as owner:
        await owner.execute(
            "INSERT INTO robotgroups.jobs (space_id, memory_id, kind, error, not_before) "
            "SELECT space_id, id, 'embed', %s, 'infinity' FROM robotgroups.memories WHERE id = %s",
            (why, case.of_bob),
        )
    answer = await case.ann.get("/v1/status")
    assert answer.json()["failing_jobs"] == 1
    assert answer.json()["job_error"] == "it is told to the group's own token"
    assert "secret" not in answer.text
    assert (await case.robot.client.get("/v1/status")).json()["job_error"] == why


async def test_ids_of_others_do_not_exist(case: Case) -> None:
    before = await case.others()
    answers = []
    for memory_id in (case.of_bob, case.of_nobody, 999_999):
        path = f"/v1/memories/{memory_id}"
        for method, where, body in (
            ("GET", path, None),
            ("GET", f"{path}/history", None),
            ("GET", f"{path}/propositions", None),
            ("PATCH", path, {"content": "ann was here", "tags": ["ann"]}),
            ("PATCH", path, {"expires_at": None}),
            ("DELETE", path, None),
            ("POST", f"{path}/restore", None),
            ("POST", "/v1/working-memory/pins", {"ids": [memory_id]}),
            ("POST", "/v1/working-memory/pins", {"ids": [case.of_ann, memory_id]}),
            ("DELETE", "/v1/working-memory/pins", {"ids": [memory_id]}),
        ):
            answer = await case.ann.request(method, where, json=body)
            assert is_problem(answer, 404, "unknown-memory"), (method, where, answer.text)
            answers.append(answer.json()["detail"].replace(str(memory_id), "ID"))
        erased = await case.ann.post("/v1/memories/erase", json={"ids": [memory_id]})
        assert erased.json() == {"erased": 0}
    assert set(answers) == {"no memory has id ID"}, "an id of another and one that there is not look the same"
    assert await case.others() == before
    assert not (await case.group.store.memory(case.group.id, case.of_ann)).pinned


async def test_no_request_reaches_beyond_its_token(case: Case) -> None:
    before = await case.others()
    for scope in (BOB, {"topic": "t"}, {"user": "bob", "topic": "t"}, {"User2": "ann"}, {"user": "ANN"}, {"user": "*"}):
        for method, path, body in (
            ("POST", "/v1/memories", {"content": "forged", "scope": scope}),
            (
                "POST",
                "/v1/memories/batch",
                {"memories": [{"content": "forged"}, {"content": "forged", "scope": scope}]},
            ),
            ("POST", "/v1/recall", {"query": "secret", "scope": scope}),
            ("POST", "/v1/recall", {"query": "secret", "scope": scope, "into_working_memory": True}),
            ("POST", "/v1/memories/erase", {"scope": scope}),
            ("POST", "/v1/memories/erase", {"scope": scope, "tags": ["case"]}),
        ):
            answer = await case.ann.request(method, path, json=body)
            refused = 422 if "User2" in scope else 403
            assert answer.status_code == refused, (method, path, scope, answer.text)
    for path, query in (("/v1/recall", {"q": "secret"}), ("/v1/context", {})):
        texts = ['{"user": "bob"}', '{"topic": "t"}', '{"user": "ann", "user": "bob"}', '{"topic": "t", "user": "bob"}']
        for text in texts:
            answer = await case.ann.get(path, params=query | {"scope": text})
            assert is_problem(answer, 403, "not-permitted"), answer.text
        first = await case.ann.get(path, params=query | {"scope": ['{"user": "ann"}', '{"user": "bob"}']})
        assert first.status_code == 403 or "bob's" not in first.text
    assert await case.others() == before
    assert (await case.robot.client.get("/v1/recall", params={"q": "forged"})).json()["memories"] == []


async def test_erasing_by_tags_erases_ones_own_alone(case: Case) -> None:
    before = await case.others()
    assert (await case.ann.post("/v1/memories/erase", json={"tags": ["case"]})).json() == {"erased": 1}
    assert await case.others() == before
    assert await case.others() == before


async def test_nothing_is_erased_because_nothing_was_said(case: Case) -> None:
    before = await case.others()
    bodies: list[dict[str, Any]] = [{}, {"scope": {}}, {"tags": []}, {"ids": [case.of_ann], "tags": ["case"]}]
    for body in bodies:
        assert is_problem(await case.ann.post("/v1/memories/erase", json=body), 422, "invalid-request")
    assert (await case.ann.get(f"/v1/memories/{case.of_ann}")).status_code == 200
    assert (await case.ann.post("/v1/memories/erase", json={"scope": ANN})).json()["erased"] >= 1
    assert is_problem(await case.ann.get(f"/v1/memories/{case.of_ann}"), 404, "unknown-memory")
    assert await case.others() == before


async def test_what_concerns_all_is_refused(case: Case) -> None:
    before = await case.others()
    moves = (("POST", "/v1/failover"), ("POST", "/v1/switchover"))
    for method, path in (("DELETE", "/v1/working-memory"), ("GET", "/v1/events"), *moves):
        assert is_problem(await case.ann.request(method, path), 403, "not-permitted")
    headers = {"X-RobotGroups-Forwarded": "standby"}
    assert is_problem(await case.ann.delete("/v1/working-memory", headers=headers), 403, "not-permitted")
    assert await case.others() == before
    assert (await case.robot.client.get("/v1/status")).json()["active"] == ["primary"]


async def test_files_are_those_of_the_scope(case: Case) -> None:
    """The same path, with the same words, of Ann, of Bob and of nobody: three files, of which one is Ann's."""
    owner, path, before = case.robot.client, "notes.md", await case.others()

    def file(text: str, scope: dict[str, str] | None = None) -> dict[str, Any]:
        return {"path": path, "text": text, "tags": ["case"]} | ({} if scope is None else {"scope": scope})

    async def listed(client: httpx.AsyncClient, **params: str) -> list[tuple[str, dict[str, str], int]]:
        files = (await client.get("/v1/files", params=params)).json()["files"]
        return [(f["path"], f["scope"], f["chunks"]) for f in files]

    for scope in ({}, BOB):
        assert (
            await owner.put("/v1/files", json=file("# A\n\nbob's secret\n\n# B\n\nelephants", scope))
        ).status_code == 200
    theirs = await listed(owner)
    assert theirs == [(path, {}, 2), (path, BOB, 2)]
    # what is not Ann's is neither seen nor touched
    assert await listed(case.ann) == []
    assert (await case.ann.delete("/v1/files", params={"path": path})).json()["existed"] is False
    for scope in (BOB, {"topic": "t"}, BOB | {"topic": "t"}):
        text = json.dumps(scope)
        for answer in (
            await case.ann.put("/v1/files", json=file("# A\n\nforged", scope)),
            await case.ann.get("/v1/files", params={"scope": text}),
            await case.ann.delete("/v1/files", params={"path": path, "scope": text}),
        ):
            assert is_problem(answer, 403, "not-permitted"), answer.text
    assert await listed(owner) == theirs
    # hers is another file of that path, and its memories are hers
    own = ANN | {"topic": "t"}
    for hers in (None, own):
        done = await case.ann.put("/v1/files", json=file("# A\n\nbob's secret\n\n# B\n\nelephants", hers))
        assert (done.json()["changed"], done.json()["added"]) == (True, 2), "nobody else has said it"
    assert await listed(case.ann) == [(path, own, 2), (path, ANN, 2)]
    assert await listed(case.ann, scope=json.dumps(own)) == [(path, own, 2)]
    found = (await case.ann.post("/v1/recall", json={"query": "elephants"})).json()["memories"]
    assert [m["scope"] for m in found] == [ANN, own]
    assert (await case.ann.put("/v1/files", json=file("# A\n\nbob's secret"))).json()["removed"] == 1
    assert await listed(owner, scope=json.dumps(BOB)) == [(path, BOB, 2)]
    assert (await case.ann.put("/v1/files", json=file(""))).json()["removed"] == 1
    assert (await case.ann.delete("/v1/files", params={"path": path, "scope": json.dumps(own)})).json()["removed"] == 2
    assert await listed(case.ann) == []
    assert await listed(owner) == theirs
    recalled = (await owner.post("/v1/recall", json={"query": "elephants"})).json()["memories"]
    assert [m["scope"] for m in recalled] == [{}, BOB]
    assert await case.others() == before


async def test_what_is_remembered_gets_the_scope(case: Case) -> None:
    async def scope_of(answer: httpx.Response) -> Any:
        assert answer.status_code == 201, answer.text
        return (await case.group.store.memory(case.group.id, answer.json()["id"])).scope

    tagged = {"tags": ["case"]}
    plain = await case.ann.post("/v1/memories", json={"content": "plain"} | tagged)
    assert await scope_of(plain) == ANN
    own = {"user": "ann", "topic": "t"}
    assert await scope_of(await case.ann.post("/v1/memories", json={"content": "own", "scope": own} | tagged)) == own
    # the same words as another's are another memory
    same = await case.ann.post("/v1/memories", json={"content": "bob's secret"} | tagged)
    assert (await scope_of(same), same.json()["created"]) == (ANN, True)
    assert same.json()["id"] != case.of_bob
    items = [{"content": "one"} | tagged, {"content": "two", "scope": own} | tagged]
    outcomes = (await case.ann.post("/v1/memories/batch", json={"memories": items})).json()["outcomes"]
    ids = [o["memory"]["id"] for o in outcomes]
    assert [(await case.group.store.memory(case.group.id, i)).scope for i in ids] == [ANN, own]


async def test_idempotency_keys_of_others_can_be_neither_tested_nor_taken(case: Case) -> None:
    owner, key = case.robot.client, f"order-{case.of_ann}"
    body = {"content": f"order {case.of_ann}", "tags": ["case"]}

    async def remembered(client: httpx.AsyncClient, content: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post("/v1/memories", json=content, headers={"Idempotency-Key": key})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    ann = await remembered(case.ann, body)
    bobs = limited(case.robot, BOB)
    bob = await remembered(bobs, body | {"content": "something else"})
    await bobs.aclose()
    group = await remembered(owner, body)
    assert len({ann["id"], bob["id"], group["id"]}) == 3
    assert await remembered(case.ann, body) == ann
    item = {"memories": [body | {"key": key}]}
    batched = (await case.ann.post("/v1/memories/batch", json=item)).json()["outcomes"]
    assert batched[0]["memory"] == ann


async def test_ones_own_memories_are_ones_own(case: Case) -> None:
    ann, path = case.ann, f"/v1/memories/{case.of_ann}"
    assert (await ann.patch(path, json={"content": "ann's other secret"})).json()["version"] == 2
    assert len((await ann.get(f"{path}/history")).json()["versions"]) == 2
    assert (await ann.get(f"{path}/propositions")).json() == {"propositions": []}
    assert (await ann.post("/v1/working-memory/pins", json={"ids": [case.of_ann]})).json() == {"changed": 1}
    unpin = await ann.request("DELETE", "/v1/working-memory/pins", json={"ids": [case.of_ann]})
    assert unpin.json() == {"changed": 1}
    assert (await ann.delete(path)).status_code == 200
    assert (await ann.post("/v1/recall", json={"query": "secret"})).json()["memories"] == []
    assert (await ann.post(f"{path}/restore")).status_code == 200
    assert (await ann.post("/v1/memories/erase", json={"ids": [case.of_ann]})).json() == {"erased": 1}
    assert is_problem(await ann.get(path), 404, "unknown-memory")


async def test_a_narrower_token_is_narrower(case: Case) -> None:
    own = {"user": "ann", "topic": "t"}
    done = await case.ann.post("/v1/memories", json={"content": "about t", "scope": own, "tags": ["case"]})
    async with limited(case.robot, own) as narrow:
        assert is_problem(await narrow.get(f"/v1/memories/{case.of_ann}"), 404, "unknown-memory")
        assert (await narrow.get(f"/v1/memories/{done.json()['id']}")).status_code == 200
        wider = await narrow.post("/v1/recall", json={"query": "secret", "scope": ANN})
        assert is_problem(wider, 403, "not-permitted")


async def test_expired_and_foreign_tokens_are_none(case: Case) -> None:
    async with limited(case.robot, ANN, datetime.now(UTC) - timedelta(seconds=1)) as late:
        answer = await late.get("/v1/recall", params={"q": "secret"})
        assert is_problem(answer, 401, "unauthorized")
        assert "the token has expired" in answer.json()["detail"]
    async with limited(case.robot, ANN, datetime.now(UTC) + timedelta(hours=1)) as timely:
        assert (await timely.get("/v1/recall", params={"q": "secret"})).status_code == 200
    foreign = scoped_token("the-token-of-another-group", ANN)
    answer = await case.ann.get("/v1/status", headers={"Authorization": f"Bearer {foreign}"})
    assert is_problem(answer, 401, "unauthorized")
    # a robot's token makes scoped ones, a scoped one makes none
    child = scoped_token(scoped_token(TOKEN, ANN), BOB)
    answer = await case.ann.get("/v1/status", headers={"Authorization": f"Bearer {child}"})
    assert is_problem(answer, 401, "unauthorized")
    assert child not in case.robot.log.read_text()


async def test_the_client_with_a_scoped_token(case: Case) -> None:
    url = f"http://127.0.0.1:{case.robot.port}"
    async with AsyncClient(url, scoped_token(TOKEN, ANN), deadline=10) as ann:
        assert [m.id for m in await ann.recall("secret")] == [case.of_ann]
        many = [NewMemory("from the client", ["case"]), NewMemory("and more", ["case"], scope=ANN)]
        ids = [done.id for done in await ann.remember_many(many)]
        assert {(await ann.get(i)).scope["user"] for i in ids} == {"ann"}
        for refused in (ann.clear_working_memory(), ann.failover(), ann.recall("secret", scope=BOB)):
            with pytest.raises(NotPermittedError):
                await refused
        with pytest.raises(NotPermittedError):
            await anext(ann.events())
        with pytest.raises(UnknownMemoryError):
            await ann.forget(case.of_bob)
