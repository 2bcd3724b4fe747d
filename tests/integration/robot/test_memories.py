"""What the HTTP API does with memories beside remembering and forgetting one, by two real robots."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from robot_process import until

from .conftest import Group, declared

ROBOTS = ("primary", "standby")


@pytest.fixture(scope="module")
async def shared(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Group]:
    """Two robots that these tests share: none changes roles."""
    async with declared(shared_dsn, tmp_path_factory.mktemp("robots"), ["primary"], ["standby"]) as group:
        await group.start(*ROBOTS)
        yield group


@pytest.fixture
async def running(shared: Group) -> Group:
    """The two robots with an empty working memory."""
    assert (await shared["primary"].client.delete("/v1/working-memory")).status_code == 200
    return shared


async def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


async def remember(group: Group, content: str, **more: Any) -> int:
    answer = await group["primary"].client.post("/v1/memories", json={"content": content} | more)
    return int((await ok(answer, 201))["id"])


async def ids_by_recall(client: httpx.AsyncClient, query: str, **more: Any) -> list[int]:
    found = await ok(await client.post("/v1/recall", json={"query": query} | more))
    return [m["id"] for m in found["memories"]]


@pytest.mark.parametrize("name", ROBOTS)
async def test_a_batch_is_remembered_in_order_and_one_that_is_refused_hinders_no_other(
    running: Group, name: str
) -> None:
    client = running[name].client
    memories = [
        {"content": f"{name}: first of many", "scope": {"user": "u1"}, "key": f"{name}-k"},
        {"content": f"{name}: of a stranger", "originator": "stranger"},
        {"content": f"{name}: second of many", "tags": ["a:b"], "metadata": {"n": 1}},
        {"content": f"{name}: other words", "scope": {"user": "u1"}, "key": f"{name}-k"},
        {"content": f"{name}: second of many"},
        {"content": f"{name}: over before it begins", "expires_at": "2020-01-01T00:00:00Z"},
    ]
    outcomes = (await ok(await client.post("/v1/memories/batch", json={"memories": memories})))["outcomes"]
    assert [o["status"] for o in outcomes] == [201, 422, 201, 422, 201, 422]
    types = ["invalid-request", "idempotency-conflict", "invalid-request"]
    assert [o["problem"]["type"] for o in outcomes if o["problem"]] == [f"urn:robotgroups:problem:{t}" for t in types]
    assert outcomes[5]["problem"]["detail"] == "expires_at 2020-01-01 00:00:00+00 is not in the future"
    first, _, second, _, again, _ = [o["memory"] for o in outcomes]
    assert (first["id"] < second["id"], again["id"], again["created"]) == (True, second["id"], False)
    found = await ok(await client.get(f"/v1/memories/{second['id']}"))
    assert (found["content"], found["tags"], found["remember_count"]) == (f"{name}: second of many", ["a:b"], 2)
    retried = (await ok(await client.post("/v1/memories/batch", json={"memories": memories[:1]})))["outcomes"]
    assert retried == outcomes[:1]


async def test_recall_by_a_body_filters_explains_and_scores(running: Group) -> None:
    client = running["standby"].client
    words = "the quick brown fox"
    ids = [await remember(running, f"{words} {i}", scope={"user": f"u{i % 2}"}, tags=[f"n:{i}"]) for i in range(4)]
    assert await ids_by_recall(client, "fox", scope={"user": "u1"}) == [ids[1], ids[3]]
    assert await ids_by_recall(client, "fox", tags=["n"], limit=3) == ids[:3]
    assert await ids_by_recall(client, "fox", originators=["standby"]) == []
    assert await ids_by_recall(client, "fox within the past hour", timeframe="auto") == ids
    by_query = await ok(await client.get("/v1/recall", params={"q": "fox", "scope": '{"user": "u1"}'}))
    assert ([m["id"] for m in by_query["memories"]], by_query["unembedded"]) == ([ids[1], ids[3]], None)
    assert by_query["memories"][0]["parts"] is None
    body = {"query": "fox", "tags": ["n:2"], "relevance": {"tags": 1.0, "similarity": 0}, "explain": True}
    (scored,) = (await ok(await client.post("/v1/recall", json=body)))["memories"]
    assert (scored["id"], scored["parts"]["fulltext_rank"]) == (ids[2], 1)
    assert scored["parts"]["relevance"]["total"] == scored["score"]
    gone = (await client.delete(f"/v1/memories/{ids[0]}")).status_code
    assert (gone, await ids_by_recall(client, "fox")) == (200, ids[1:])
    assert await ids_by_recall(client, "fox", include_forgotten=True) == ids
    unknown = await client.post("/v1/recall", json={"query": "fox", "strategy": "astrology"})
    assert (unknown.status_code, "astrology" in unknown.json()["detail"]) == (422, True)
    for field, weights in (
        ("relevance", {"similarity": 1e308, "tags": 1e308}),
        ("relevance", {"half_life_hours": 1e308}),
        ("weights", {"fulltext": -1}),
        ("weights", {"k": 0}),
    ):
        refused = await client.post("/v1/recall", json={"query": "fox", field: weights})
        assert (refused.status_code, field in refused.text) == (422, True), refused.text
    for zone, found in (("UTC", []), ("Pacific/Kiritimati", ids[1:])):
        # in Kiritimati it is 14 hours later
        later = datetime.now(UTC) + timedelta(hours=1)
        begun = later.replace(tzinfo=None).isoformat()
        assert await ids_by_recall(client, "fox", timeframe=f"{begun}/P1D", timezone=zone) == found
        by_query = await client.get("/v1/recall", params={"q": "fox", "timeframe": f"{begun}/P1D", "timezone": zone})
        assert [m["id"] for m in by_query.json()["memories"]] == found
    lost = await client.post("/v1/recall", json={"query": "fox", "timezone": "Mars/Base"})
    assert (lost.status_code, "unknown timezone 'Mars/Base'" in lost.json()["detail"]) == (422, True)
    nothing = {"query": "fox", "weights": {"fulltext": 0, "vector": 0}}
    assert "must be above 0" in (await client.post("/v1/recall", json=nothing)).json()["detail"]
    vector = await client.post("/v1/recall", json={"query": "fox", "strategy": "hybrid", "weights": {"vector": 2}})
    assert vector.json()["type"] == "urn:robotgroups:problem:missing-feature"


async def test_recall_into_working_memory_is_a_write_that_a_passive_robot_passes_on(running: Group) -> None:
    kept = await remember(running, "an elephant never forgets")
    assert (await running["primary"].client.delete("/v1/working-memory")).json() == {"cleared": 1}
    client = running["standby"].client
    asked = {"query": "elephant", "into_working_memory": True}
    answer = await client.post("/v1/recall", json=asked)
    assert answer.headers["x-robotgroups-robot"] == "primary"
    (found,) = (await ok(answer))["memories"]
    assert (found["id"], found["in_working_memory"]) == (kept, True)
    assert await running.contents() == ["an elephant never forgets"]
    read = await client.post("/v1/recall", json={"query": "elephant"})
    assert read.headers["x-robotgroups-robot"] == "standby"


async def test_pinned_memories_stay_when_the_working_memory_is_cleared(running: Group) -> None:
    pinned, other = await remember(running, "to be kept"), await remember(running, "to be cleared")
    client = running["standby"].client
    assert await ok(await client.post("/v1/working-memory/pins", json={"ids": [pinned]})) == {"changed": 1}
    assert await ok(await client.post("/v1/working-memory/pins", json={"ids": [pinned]})) == {"changed": 0}
    assert await ok(await client.delete("/v1/working-memory")) == {"cleared": 1}
    assert await running.contents() == ["to be kept"]
    missing = await client.post("/v1/working-memory/pins", json={"ids": [other, 10**9]})
    assert missing.json()["type"] == "urn:robotgroups:problem:unknown-memory"
    assert await running.contents() == ["to be kept"], "all of them or none"
    assert await ok(await client.request("DELETE", "/v1/working-memory/pins", json={"ids": [pinned]})) == {"changed": 1}
    assert await ok(await client.delete("/v1/working-memory")) == {"cleared": 1}


async def test_an_update_keeps_what_was_said_before(running: Group) -> None:
    memory_id = await remember(running, "the meeting is on Monday", tags=["meeting"])
    client = running["standby"].client
    path = f"/v1/memories/{memory_id}"
    done = await ok(await client.patch(path, json={"content": "the meeting is on Tuesday"}))
    assert (done["id"], done["version"], done["in_working_memory"]) == (memory_id, 2, True)
    versions = (await ok(await client.get(f"{path}/history")))["versions"]
    assert [(v["version"], v["content"]) for v in versions] == [
        (2, "the meeting is on Tuesday"),
        (1, "the meeting is on Monday"),
    ]
    assert len((await ok(await client.get(f"{path}/history", params={"limit": 1})))["versions"]) == 1
    ends = datetime(2100, 1, 1, tzinfo=UTC)
    await ok(await client.patch(path, json={"expires_at": ends.isoformat()}))
    assert (await ok(await client.get(path)))["expires_at"] == "2100-01-01T00:00:00Z"
    await ok(await client.patch(path, json={"expires_at": None}))
    assert (await ok(await client.get(path)))["expires_at"] is None
    for body in ({}, {"expires_at": "2020-01-01T00:00:00Z"}):
        assert (await client.patch(path, json=body)).status_code == 422
    for answer in (
        await client.patch("/v1/memories/999999", json={"tags": []}),
        await client.get("/v1/memories/999999"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:robotgroups:problem:unknown-memory")


async def test_what_is_erased_is_gone(running: Group) -> None:
    client = running["standby"].client
    ids = [await remember(running, f"private {i}", scope={"user": "gone"}) for i in range(3)]
    assert await ok(await client.post("/v1/memories/erase", json={"ids": [ids[0], 10**9]})) == {"erased": 1}
    assert await ok(await client.post("/v1/memories/erase", json={"scope": {"user": "gone"}})) == {"erased": 2}
    assert await ids_by_recall(client, "private", include_forgotten=True) == []
    for body in ({}, {"ids": ids, "tags": ["a"]}):
        assert (await client.post("/v1/memories/erase", json=body)).status_code == 422


async def test_what_expires_is_not_seen_from_then_on(running: Group) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    memory_id = await remember(running, "valid for a moment", expires_at=later.isoformat())
    await remember(running, "valid for ever")
    client = running["standby"].client

    async def seen() -> list[bool]:
        context = (await ok(await client.get("/v1/context")))["text"]
        held = (await ok(await client.get("/v1/working-memory")))["memories"]
        recalled = await ids_by_recall(client, "moment")
        got = (await client.get(f"/v1/memories/{memory_id}")).status_code == 200
        return ["moment" in context, memory_id in [m["id"] for m in held], memory_id in recalled, got]

    async def everywhere() -> bool:
        return all(await seen())

    await until(everywhere, "the standby has the memory")

    soon = datetime.now(UTC) + timedelta(seconds=2)
    await ok(await client.patch(f"/v1/memories/{memory_id}", json={"expires_at": soon.isoformat()}))

    async def nowhere() -> bool:
        return not any(await seen())

    await until(nowhere, "its time is over")
    assert datetime.now(UTC) >= soon
    assert "valid for ever" in (await ok(await client.get("/v1/context")))["text"]


async def test_a_context_of_one_scope(running: Group) -> None:
    for user in ("u1", "u2"):
        last = await remember(running, f"what {user} said", scope={"user": user, "topic": "talk"})
    client = running["standby"].client

    async def cached() -> bool:
        return last in (await client.get("/v1/context")).json()["memory_ids"]

    await until(cached, "the standby has them")
    made = await ok(await client.get("/v1/context", params={"scope": '{"user": "u1", "topic": "talk"}'}))
    assert made["text"] == "what u1 said"
    assert (await ok(await client.get("/v1/context", params={"scope": '{"user": "nobody"}'})))["text"] == ""


async def test_changes_that_are_gone_are_told_before_the_stream(running: Group) -> None:
    for i in range(3):
        await remember(running, f"change {i}")
    status = await running.store.status(running.id)

    async def applied() -> bool:
        now = await running.store.status(running.id)
        return all(r.applied_revision >= status.revision for r in now.robots)

    await until(applied, "all have applied it")
    pruned_to = await running.store.prune(running.id, keep=1, age=timedelta(0))
    assert pruned_to > 0
    answer = await running["standby"].client.get("/v1/events", params={"after": pruned_to - 1})
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:robotgroups:problem:changes-gone")
    assert answer.json()["pruned_to"] == pruned_to
