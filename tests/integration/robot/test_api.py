"""The HTTP API of two real robots, the passive one forwarding."""

import json
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from robot_process import until

from .conftest import SETTINGS, Group, declared, events


@pytest.fixture(scope="module")
async def shared(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Group]:
    """Two robots that these tests share: none changes roles."""
    async with declared(shared_dsn, tmp_path_factory.mktemp("robots"), ["primary"], ["standby"]) as group:
        await group.start("primary", "standby")
        yield group


@pytest.fixture
async def running(shared: Group) -> Group:
    """The two robots with an empty working memory."""
    assert (await shared["primary"].client.delete("/v1/working-memory")).status_code == 200
    return shared


async def test_remember_is_acknowledged_and_recalled_by_both(running: Group) -> None:
    body = {"content": "The customer prefers email", "tags": ["contact"], "metadata": {"vip": True}}
    answer = await running["primary"].client.post("/v1/memories", json=body)
    assert answer.status_code == 201, answer.text
    done = answer.json()
    assert set(done) == {"id", "revision", "epoch", "created", "in_working_memory", "tokens"}
    assert (done["created"], done["in_working_memory"], done["tokens"]) == (True, True, 4)
    for name in ("primary", "standby"):
        query = {"q": "customers", "tag": "contact", "metadata": '{"vip": true}'}
        found = (await running[name].client.get("/v1/recall", params=query)).json()["memories"]
        assert [(m["id"], m["content"], m["originator"]) for m in found] == [(done["id"], body["content"], "primary")]
        assert found[0]["score"] > 0
        none = (await running[name].client.get("/v1/recall", params={"q": "customers", "tag": "other"})).json()
        assert none == {"memories": [], "unembedded": None}


async def test_a_passive_robot_forwards_writes_and_says_who_answered(running: Group) -> None:
    standby = running["standby"].client
    answer = await standby.post("/v1/memories", json={"content": "by way of the standby"})
    assert (answer.status_code, answer.headers["x-robotgroups-robot"]) == (201, "primary")
    memory_id = answer.json()["id"]
    forgotten = await standby.delete(f"/v1/memories/{memory_id}")
    assert (forgotten.status_code, forgotten.headers["x-robotgroups-robot"]) == (200, "primary")
    assert forgotten.json()["revision"] == answer.json()["revision"] + 1
    assert (await standby.get("/v1/recall", params={"q": "standby"})).json()["memories"] == []
    restored = await standby.post(f"/v1/memories/{memory_id}/restore")
    assert restored.json() == {
        "id": memory_id,
        "revision": forgotten.json()["revision"] + 1,
        "epoch": answer.json()["epoch"],
    }
    assert (await standby.delete("/v1/working-memory")).json() == {"cleared": 1}
    missing = await standby.delete("/v1/memories/999999")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:robotgroups:problem:unknown-memory")


async def test_one_key_is_one_memory_whichever_robot_is_asked(running: Group) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = await running["primary"].client.post("/v1/memories", json={"content": "once"}, headers=headers)
    again = await running["standby"].client.post("/v1/memories", json={"content": "once"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    other = await running["standby"].client.post("/v1/memories", json={"content": "twice"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "urn:robotgroups:problem:idempotency-conflict")
    assert await running.contents() == ["once"]


async def test_a_forwarded_write_is_not_forwarded_again(running: Group) -> None:
    answer = await running["standby"].client.post(
        "/v1/memories", json={"content": "x"}, headers={"X-RobotGroups-Forwarded": "primary"}
    )
    assert (answer.status_code, answer.json()["active"]) == (409, ["primary"])
    assert answer.headers["content-type"] == "application/problem+json"
    assert await running.contents() == []


async def test_working_memory_and_context_come_from_every_cache(running: Group) -> None:
    contents = ["first memory", "second memory"]
    for content in contents:
        last = await running["primary"].client.post("/v1/memories", json={"content": content})
    revision = last.json()["revision"]
    for name in ("primary", "standby"):
        client = running[name].client

        async def caught_up(client: httpx.AsyncClient = client) -> bool:
            return bool((await client.get("/v1/working-memory")).json()["revision"] >= revision)

        await until(caught_up, f"{name} applies revision {revision}")
        held = (await client.get("/v1/working-memory")).json()
        assert [m["content"] for m in held["memories"]] == contents
        assert (held["revision"], held["max_tokens"]) == (revision, 8000)
        assert held["tokens"] == sum(m["tokens"] for m in held["memories"])
        context = (await client.get("/v1/context", params={"strategy": "recent"})).json()
        assert (context["revision"], len(context["memory_ids"])) == (revision, 2)
        for content, query in zip(contents, ("FIRST", "second?"), strict=True):
            asked: dict[str, str | int] = {"strategy": "recent", "max_tokens": 2, "query": query}
            assert (await client.get("/v1/context", params=asked)).json()["text"] == content
        assert all(content in context["text"] for content in contents)


async def test_status_is_the_groups_with_the_robot_that_answers(running: Group) -> None:
    for name, role in (("primary", "active"), ("standby", "passive")):
        told = (await running[name].client.get("/v1/status")).json()
        assert (told["active"], told["passive"], told["failed"]) == (["primary"], ["standby"], [])
        assert (told["name"], told["total_members"], told["max_tokens"]) == ("support", 2, 8000)
        assert (told["robot"]["name"], told["robot"]["role"], told["robot"]["serving"]) == (name, role, True)
        assert set(told["sync_stats"]) == {"nodes_synced", "evictions_synced", "notifications_received"}


async def test_the_feed_goes_on_where_a_client_was_cut_off(running: Group) -> None:
    primary, standby = running["primary"].client, running["standby"].client
    start = (await primary.get("/v1/status")).json()["revision"]
    first = (await primary.post("/v1/memories", json={"content": "first"})).json()
    second = (await primary.post("/v1/memories", json={"content": "second"})).json()
    seen = []
    async with standby.stream("GET", "/v1/events", headers={"Last-Event-ID": str(start)}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        with anyio.fail_after(10):
            async for event in events(stream):
                seen.append(event)
                if len(seen) == 2:
                    third = (await primary.post("/v1/memories", json={"content": "third"})).json()
                if len(seen) == 3:
                    break
    assert [e["id"] for e in seen] == [str(r["revision"]) for r in (first, second, third)]
    assert [e["event"] for e in seen] == ["added"] * 3
    assert [json.loads(e["data"])["payload"]["content"] for e in seen] == ["first", "second", "third"]
    async with standby.stream("GET", "/v1/events", params={"after": second["revision"]}) as stream:
        with anyio.fail_after(10):
            event = await anext(events(stream))
    assert event["id"] == str(third["revision"])


async def test_failover_on_request(group: Group) -> None:
    await group.start("primary", "standby")
    answer = await group["standby"].client.post("/v1/failover")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["promoted"], answer.json()["failed"]) == ("standby", "primary")
    # the replaced robot registers again by itself, as what it is now
    await group.until_roles(primary="passive", standby="active")
    await group["primary"].until_probe("/readyz", lambda status, told: status == 200 and told["role"] == "passive")
    written = await group["primary"].client.post("/v1/memories", json={"content": "after it"})
    assert (written.status_code, written.headers["x-robotgroups-robot"]) == (201, "standby")


async def test_an_active_robot_can_be_asked_to_replace_itself(group: Group) -> None:
    await group.start("primary", "standby")
    answer = await group["primary"].client.post("/v1/failover", json={"robot": "primary"})
    assert (answer.status_code, answer.json()["promoted"]) == (200, "standby")
    await group.until_roles(primary="passive", standby="active")


async def test_failover_without_a_passive_robot_is_409(group: Group) -> None:
    await group.start("primary", "standby")
    await group["standby"].kill()
    answer = await group["primary"].client.post("/v1/failover")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:robotgroups:problem:no-passive-robot")
    unknown = await group["primary"].client.post("/v1/failover", json={"robot": "nobody"})
    assert unknown.status_code == 422


async def test_switchover_on_request(group: Group) -> None:
    await group.start("primary", "standby")
    answer = await group["standby"].client.post("/v1/switchover")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["promoted"], answer.json()["replaced"]) == ("standby", "primary")
    assert await group.roles() == {"primary": "passive", "standby": "active"}
    assert answer.json()["epoch"] == (await group.store.status(group.id)).epoch
    written = await group["primary"].client.post("/v1/memories", json={"content": "after it"})
    assert (written.status_code, written.headers["x-robotgroups-robot"]) == (201, "standby")
    back = await group["primary"].client.post("/v1/switchover", json={"robot": "standby", "to": "primary"})
    assert (back.status_code, back.json()["promoted"]) == (200, "primary")
    rows = await group.store.failovers(group.id)
    assert [(row.kind, row.source, row.target, row.detected_by) for row in rows] == [
        ("switchover", "standby", "primary", "primary"),
        ("switchover", "primary", "standby", "standby"),
    ]


async def test_a_switchover_that_cannot_be_is_a_problem(group: Group) -> None:
    await group.start("primary", "standby")
    client = group["primary"].client

    async def ask(**body: str) -> tuple[int, str, str]:
        answer = await client.post("/v1/switchover", json=body)
        told = answer.json()
        return answer.status_code, told["type"].removeprefix("urn:robotgroups:problem:"), told["detail"]

    words = "primary is active already: there is nothing to switch over"
    assert await ask(to="primary") == (422, "invalid-request", words)
    assert await ask(robot="standby") == (422, "invalid-request", "standby is not an active member")
    assert await ask(to="nobody") == (422, "invalid-request", "nobody is not a passive member")
    assert (await ask(whom="standby"))[:2] == (422, "invalid-request")
    await group["standby"].kill()
    await group.until_roles(standby="failed")
    words = "no warm passive robot can take over from primary"
    assert await ask() == (409, "no-passive-robot", words)
    assert await group.roles() == {"primary": "active", "standby": "failed"}


async def test_refusals_over_the_wire(running: Group) -> None:
    client = running["standby"].client
    assert (await client.get("/v1/status", headers={"Authorization": "Bearer wrong"})).status_code == 401
    assert (await client.post("/v1/memories", json={"content": ""})).status_code == 422
    assert (await client.post("/v1/memories", json={"content": "x", "originator": "stranger"})).status_code == 422
    large = await client.post("/v1/memories", json={"content": "x" * 300_000})
    assert (large.status_code, large.headers["content-type"]) == (413, "application/problem+json")
    for _ in range(10):  # the answer arrives however late the client has sent the last byte
        huge = await client.post("/v1/memories", content=b"x" * 8_000_000)
        assert (huge.status_code, huge.headers["content-type"]) == (413, "application/problem+json")
    vector = await client.get("/v1/recall", params={"q": "x", "strategy": "vector"})
    assert vector.status_code == 501
    strange = await client.get("/v1/recall", params={"q": "x", "strategy": "astrology"})
    assert strange.status_code == 422
    assert "astrology" in strange.json()["detail"]


async def test_metrics_tell_how_the_robot_stands(running: Group) -> None:
    written = 'robotgroups_http_requests_total{method="POST",route="/v1/memories",status="201"}'

    async def values() -> dict[str, str]:
        text = (await running["primary"].client.get("/metrics")).text
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    before = float((await values()).get(written, 0))
    await running["primary"].client.post("/v1/memories", json={"content": "one memory"})
    after = await values()
    assert float(after[written]) == before + 1
    assert after['robotgroups_robot_role{role="active"}'] == "1.0"
    assert after["robotgroups_robot_serving"] == "1.0"
    assert after["robotgroups_working_memory_max_tokens"] == "8000.0"
    assert float(after["robotgroups_heartbeat_age_seconds"]) < SETTINGS.lease_ms / 1000


async def test_no_secret_is_logged(running: Group) -> None:
    robot = running["primary"]
    await robot.client.post("/v1/memories", json={"content": "private words"})
    await robot.client.get("/v1/recall", params={"q": "private words"})
    assert {"request", "registered", "starting"} <= {line["event"] for line in robot.lines()}
    text = robot.log.read_text()
    for secret in (robot.token, "a-password-of-the-login", "private words"):
        assert secret not in text
