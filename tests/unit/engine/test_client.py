"""The client of the Service: what it tries again, what it raises, and that one remember is one key. No sockets."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups import NewMemory, errors
from robotgroups.client import AsyncClient, batches
from robotgroups.models import Change, ChangeKind, FailoverResult, Remembered, Revised, SwitchoverResult
from robotgroups.sync import Client
from robotgroups.updating import Updated

Answer = httpx.Response | Exception
DONE = {"id": 7, "revision": 3, "epoch": 2, "created": True, "in_working_memory": True, "tokens": 4}
MEMORY = {
    "id": 7,
    "content": "x",
    "originator": "a",
    "tokens": 1,
    "tags": ["t"],
    "metadata": {},
    "created_at": "2026-01-01T00:00:00+00:00",
    "remembered_at": "2026-01-01T00:00:00+00:00",
    "remember_count": 1,
    "forgotten_at": None,
    "in_working_memory": True,
    "keeper": "a",
    "access_count": 0,
    "last_accessed_at": "2026-01-01T00:00:00Z",
    "score": 0.5,
}


def problem(status: int, slug: str, **members: Any) -> httpx.Response:
    body = {"type": f"urn:robotgroups:problem:{slug}", "title": "No", "status": status, "detail": f"why: {slug}"}
    return httpx.Response(status, json=body | members, headers={"Content-Type": "application/problem+json"})


class Service:
    """Answers one after the other; keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, deadline: float = 30.0) -> AsyncClient:
        return AsyncClient("http://group", "the-token", deadline=deadline, transport=httpx.MockTransport(self))


async def test_remember_is_sent_with_token_and_key_and_typed() -> None:
    service = Service(httpx.Response(201, json=DONE | {"said_by_a_newer_service": 1}))
    async with service.client() as client:
        done = await client.remember("x", tags=["t"], metadata={"n": 1}, originator="a", key="my-key")
    assert done == Remembered(id=7, revision=3, epoch=2, created=True, in_working_memory=True, tokens=4)
    (request,) = service.asked
    assert (request.method, request.url.path) == ("POST", "/v1/memories")
    assert request.headers["Authorization"] == "Bearer the-token"
    assert request.headers["Idempotency-Key"] == "my-key"
    assert json.loads(request.content) == {"content": "x", "tags": ["t"], "metadata": {"n": 1}, "originator": "a"}


async def test_scope_and_expiry_are_sent_the_time_in_utc() -> None:
    service = Service(httpx.Response(201, json=DONE))
    async with service.client() as client:
        await client.remember(
            "x", scope={"user": "u1"}, expires_at=datetime(2100, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
        )
    sent = json.loads(service.asked[0].content)
    assert (sent["scope"], sent["expires_at"]) == ({"user": "u1"}, "2100-01-01T00:00:00+00:00")


async def test_many_are_sent_in_batches_each_memory_with_a_key_that_all_tries_have() -> None:
    asked: list[list[dict[str, Any]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/v1/memories/batch")
        memories = json.loads(request.content)["memories"]
        asked.append(memories)
        if len(asked) == 1:
            return problem(503, "no-active-robot", active=[])
        outcomes = [{"status": 201, "memory": DONE | {"id": int(m["content"])}, "problem": None} for m in memories]
        return httpx.Response(200, json={"outcomes": outcomes})

    memories = [NewMemory(str(i), key="mine" if i == 1 else None) for i in range(300)]
    async with AsyncClient("http://group", "t", transport=httpx.MockTransport(answer)) as client:
        done = await client.remember_many(memories)
        assert await client.remember_many([]) == []
    assert [d.id for d in done] == list(range(300))
    assert [len(batch) for batch in asked] == [256, 256, 44]
    assert asked[0] == asked[1]
    keys = [m["key"] for batch in asked[1:] for m in batch]
    assert (keys[1], len(set(keys))) == ("mine", 300)


async def test_one_that_is_refused_among_many_is_raised_with_its_place() -> None:
    refused = {"type": "urn:robotgroups:problem:idempotency-conflict", "title": "No", "status": 422, "detail": "used"}
    outcomes = [{"status": 201, "memory": DONE}, {"status": 422, "problem": refused}]
    service = Service(httpx.Response(200, json={"outcomes": outcomes}))
    async with service.client() as client:
        with pytest.raises(errors.IdempotencyConflictError, match="used") as raised:
            await client.remember_many([NewMemory("a"), NewMemory("b", key="k")])
        assert raised.value.__notes__ == ["it is memory 1 of 2"]
        with pytest.raises(errors.InvalidTextError) as not_sent:
            await client.remember_many([NewMemory("a"), NewMemory(" ")])
        assert not_sent.value.__notes__ == ["it is memory 1 of 2"]
    assert len(service.asked) == 1


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(1, 5), st.integers(1, 20))
def test_batches_keep_the_order_and_their_limits(sizes: list[int], most: int, size: int) -> None:
    items = [b"x" * n for n in sizes]
    runs = batches(items, most, size)
    assert [item for run in runs for item in run] == items
    assert all(1 <= len(run) <= most and (len(run) == 1 or len(b",".join(run)) <= size) for run in runs)
    for run, following in pairwise(runs):  # no more of them than are needed
        assert len(run) == most or len(b",".join([*run, following[0]])) > size - 1


async def test_m2_one_remember_is_one_key_through_all_of_its_tries() -> None:
    service = Service(
        httpx.ConnectError("refused"),
        httpx.ReadError("the robot was killed before it answered"),
        problem(503, "memory-unavailable"),
        problem(409, "not-active", active=["b"]),
        problem(503, "no-active-robot", active=[]),
        httpx.Response(502, text="no gateway"),
        httpx.Response(201, json=DONE),
    )
    async with service.client() as client:
        assert (await client.remember("x")).id == 7
        assert (await client.remember("y")).id == 7
    keys = [r.headers["Idempotency-Key"] for r in service.asked]
    assert len(keys) == 8
    assert len(set(keys[:7])) == 1
    assert keys[7] != keys[0]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (problem(404, "unknown-memory"), errors.UnknownMemoryError, "why: unknown-memory"),
        (problem(409, "no-passive-robot"), errors.NoPassiveRobotError, "why: no-passive-robot"),
        (problem(401, "unauthorized"), errors.NotPermittedError, "why: unauthorized"),
        (problem(413, "content-too-large"), errors.ArgumentError, "why: content-too-large"),
        (problem(422, "invalid-request"), errors.ArgumentError, "why: invalid-request"),
        (problem(422, "idempotency-conflict"), errors.IdempotencyConflictError, "why: idempotency-conflict"),
        (problem(501, "missing-feature"), errors.MissingFeatureError, "why: missing-feature"),
        (problem(500, "internal"), errors.ServiceError, "500: why: internal"),
        (problem(403, "not-permitted"), errors.NotPermittedError, "why: not-permitted"),
        (problem(410, "changes-gone", pruned_to=4), errors.PrunedError, "why: changes-gone"),
        (
            problem(500, "model-misconfigured", reason="unauthorized"),
            errors.EmbeddingConfigError,
            "why: model-misconfigured",
        ),
        (problem(500, "model-misconfigured", reason="new"), errors.ServiceError, "500: why: model-misconfigured"),
        (httpx.Response(404, text="no such page"), errors.ServiceError, "404: Not Found"),
        (httpx.Response(400, json=["odd"]), errors.ServiceError, "400: Bad Request"),
    ],
)
async def test_a_refusal_is_raised_at_once_as_what_it_is(
    answer: httpx.Response, error: type[Exception], message: str
) -> None:
    service = Service(answer)
    async with service.client() as client:
        with pytest.raises(error, match=message):
            await client.forget(7)
    assert len(service.asked) == 1


async def test_at_the_deadline_the_last_error_is_raised() -> None:
    service = Service(problem(409, "not-active", active=["b", "c"]))
    async with service.client(deadline=0.2) as client:
        with pytest.raises(errors.ServiceError, match="why: not-active") as refused:
            await client.remember("x")
    assert (refused.value.status, refused.value.problem["active"]) == (409, ["b", "c"])
    assert len(service.asked) > 1

    service = Service(httpx.ConnectError("refused"))
    async with service.client(deadline=0.2) as client:
        with pytest.raises(errors.MemoryUnavailableError, match="the service cannot be reached: refused"):
            await client.recall("x")


async def test_no_try_outlives_the_deadline() -> None:
    service = Service(problem(503, "memory-unavailable"))
    async with service.client(deadline=0.5) as client:
        with pytest.raises(errors.ServiceError):
            await client.status()
    allowed = [request.extensions["timeout"]["read"] for request in service.asked]
    assert len(allowed) > 1
    assert 0.5 >= allowed[0] > 0.4
    assert allowed == sorted(allowed, reverse=True)
    assert allowed[-1] >= 0.1
    service = Service(httpx.Response(200, json={}))
    async with service.client(deadline=30) as client:
        await client.status()
    assert service.asked[0].extensions["timeout"]["read"] == 4.0


async def test_what_hangs_is_asked_again_with_more_time() -> None:
    """First a lease and a second: a stopped robot is replaced by then. A lost connection costs no patience."""
    hangs, breaks = httpx.ReadTimeout("no answer"), httpx.ConnectError("refused")
    service = Service(hangs, breaks, hangs, hangs, httpx.Response(200, json={}))
    async with service.client(deadline=60) as client:
        await client.status()
    allowed = [request.extensions["timeout"] for request in service.asked]
    assert [timeout["read"] for timeout in allowed] == [4.0, 8.0, 8.0, 16.0, 16.0]
    assert {timeout["connect"] for timeout in allowed} == {2.0}


async def test_an_answer_that_is_no_json_is_told_with_its_address() -> None:
    service = Service(httpx.Response(200, text="<html>welcome</html>"))
    async with service.client() as client:
        with pytest.raises(errors.ServiceError, match=r"200: the answer is no JSON; is http://group/v1/status a group"):
            await client.status()
    assert len(service.asked) == 1


async def test_failover_is_sent_once() -> None:
    service = Service(httpx.ReadError("lost"))
    async with service.client() as client:
        with pytest.raises(errors.MemoryUnavailableError, match="lost"):
            await client.failover("a")
    assert len(service.asked) == 1
    service = Service(httpx.Response(200, json={"promoted": "b", "failed": "a", "epoch": 3, "revision": 9}))
    async with service.client() as client:
        assert await client.failover() == FailoverResult(promoted="b", failed="a", epoch=3, revision=9)


async def test_switchover_is_sent_once_and_says_from_whom_to_whom() -> None:
    service = Service(httpx.ReadError("lost"))
    async with service.client() as client:
        with pytest.raises(errors.MemoryUnavailableError, match="lost"):
            await client.switchover()
    assert len(service.asked) == 1
    service = Service(httpx.Response(200, json={"promoted": "b", "replaced": "a", "epoch": 3, "revision": 9}))
    async with service.client() as client:
        done = await client.switchover("b", source="a")
    assert done == SwitchoverResult(promoted="b", replaced="a", epoch=3, revision=9)
    assert json.loads(service.asked[0].content) == {"robot": "a", "to": "b"}


async def test_recall_sends_what_it_filters_by_and_reads_memories() -> None:
    service = Service(httpx.Response(200, json={"memories": [MEMORY]}))
    async with service.client() as client:
        (memory,) = await client.recall(
            "x y", limit=3, tags=["a", "b"], metadata={"n": 1}, timeframe="2026-01-01/2026-02-01"
        )
    assert (memory.id, memory.tags, memory.score) == (7, ("t",), 0.5)
    (request,) = service.asked
    assert (request.method, request.url.path) == ("POST", "/v1/recall")
    assert json.loads(request.content) == {
        "query": "x y",
        "limit": 3,
        "strategy": "fulltext",
        "tags": ["a", "b"],
        "metadata": {"n": 1},
        "timeframe": "2026-01-01/2026-02-01",
    }


async def test_recall_sends_all_that_it_is_asked_and_tells_what_is_not_embedded() -> None:
    asked: dict[str, Any] = {
        "strategy": "hybrid",
        "scope": {"user": "u1"},
        "originators": ["a"],
        "include_forgotten": True,
        "into_working_memory": True,
        "weights": {"vector": 2.0},
        "relevance": {"recency": 1.0},
        "explain": True,
    }
    service = Service(httpx.Response(200, json={"memories": [MEMORY | {"parts": {"vector_rank": 1}}], "unembedded": 3}))
    async with service.client() as client:
        found = await client.recall("x", **asked)
        assert (found.unembedded, [m.parts for m in found]) == (3, [{"vector_rank": 1}])
        await client.recall("x", relevance={})
        await client.recall("x", relevance=True)
    assert json.loads(service.asked[0].content) == {"query": "x", "limit": 10} | asked
    assert [json.loads(r.content)["relevance"] for r in service.asked[1:]] == [{}, True]


@pytest.mark.parametrize("field", ["tags", "originators"])
async def test_a_text_is_not_split_into_a_list_of_its_letters(field: str) -> None:
    service = Service(httpx.Response(200, json={"memories": []}))
    async with service.client() as client:
        with pytest.raises(errors.ArgumentError, match=f"{field} must be a list of .*, not the text 'writer'"):
            await client.recall("x", **{field: "writer"})  # type: ignore[arg-type]
        with pytest.raises(errors.ArgumentError, match="tags must be a list of tags, not the text 'writer'"):
            await client.load_text("a.md", "# A", tags="writer")
    assert service.asked == []


async def test_a_timezone_is_sent_when_it_is_another_and_a_pair_is_read_in_it() -> None:
    service = Service(httpx.Response(200, json={"memories": []}))
    async with service.client() as client:
        await client.recall("x", timeframe="yesterday", timezone="UTC")
        await client.recall("x", timeframe="yesterday", timezone="Europe/Berlin")
        await client.recall("x", timeframe=(datetime(2026, 7, 1), None), timezone="Europe/Berlin")  # noqa: DTZ001
        with pytest.raises(errors.ArgumentError, match="unknown timezone 'Mars/Base': give an IANA name"):
            await client.recall("x", timezone="Mars/Base")
    asked = [json.loads(request.content) for request in service.asked]
    assert [(body["timeframe"], body.get("timezone")) for body in asked] == [
        ("yesterday", None),
        ("yesterday", "Europe/Berlin"),
        ("2026-06-30T22:00:00+00:00/..", "Europe/Berlin"),
    ]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ((datetime(2026, 1, 1, tzinfo=UTC), None), "2026-01-01T00:00:00+00:00/.."),
        ((None, datetime(2026, 2, 1, tzinfo=UTC)), "../2026-02-01T00:00:00+00:00"),
        ("last week", "last week"),
        ("auto", "auto"),
    ],
)
async def test_words_for_a_time_are_sent_as_they_are(given: Any, sent: str) -> None:
    service = Service(httpx.Response(200, json={"memories": []}))
    async with service.client() as client:
        assert await client.recall("x", timeframe=given) == []
        with pytest.raises(errors.ArgumentError, match="ends before it begins"):
            await client.recall("x", timeframe=(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)))
    assert [json.loads(request.content)["timeframe"] for request in service.asked] == [sent]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"content": "x" * 262145}, errors.ContentTooLargeError),
        ({"content": "x", "tags": ["a::b"]}, errors.InvalidTagError),
        ({"content": "x", "metadata": {"a": float("nan")}}, errors.InvalidMetadataError),
    ],
)
async def test_what_cannot_be_remembered_is_not_sent(arguments: dict[str, Any], error: type[Exception]) -> None:
    service = Service(httpx.Response(201, json={}))
    async with service.client() as client:
        with pytest.raises(error):
            await client.remember(**arguments)
    assert service.asked == []


async def test_the_other_calls() -> None:
    answers: dict[tuple[str, str], Any] = {
        ("GET", "/v1/working-memory"): {"revision": 3, "tokens": 1, "max_tokens": 9, "memories": [MEMORY]},
        ("GET", "/v1/context"): {"text": "x", "tokens": 1, "revision": 3, "memory_ids": [7]},
        ("GET", "/v1/status"): {"name": "g", "revision": 3},
        ("DELETE", "/v1/memories/7"): {"id": 7, "revision": 4, "epoch": 1},
        ("POST", "/v1/memories/7/restore"): {"id": 7, "revision": 5, "epoch": 1},
        ("DELETE", "/v1/working-memory"): {"cleared": 2},
    }

    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url.query, "ascii"))
        return httpx.Response(200, json=answers[request.method, request.url.path])

    async with AsyncClient("http://group/", "t", transport=httpx.MockTransport(answer)) as client:
        assert [m.id for m in await client.working_memory()] == [7]
        made = await client.context(strategy="recent", max_tokens=5, query="red apples")
        assert asked[-1] == "strategy=recent&query=red+apples&max_tokens=5"
        assert (made.text, made.tokens, made.memory_ids, made.revision) == ("x", 1, (7,), 3)
        assert await client.status() == {"name": "g", "revision": 3}
        assert await client.forget(7) == Revised(7, 4, 1)
        assert await client.restore(7) == Revised(7, 5, 1)
        assert await client.clear_working_memory() == 2
        await client.context(scope={"user": "a=b", "topic": "t"})
        assert parse_qs(asked[-1]) == {"strategy": ["balanced"], "scope": ['{"topic": "t", "user": "a=b"}']}


async def test_pins_and_the_life_of_a_memory() -> None:
    updated: dict[str, Any] = {"id": 7, "version": 2, "revision": 6, "epoch": 1, "in_working_memory": True}
    version = {"version": 1, "content": "x", "tokens": 1, "tags": [], "metadata": {}, "until": None}
    version |= {"since": "2026-01-01T00:00:00Z", "replaced_by": None}
    answers: dict[tuple[str, str], Any] = {
        ("POST", "/v1/working-memory/pins"): {"changed": 2},
        ("DELETE", "/v1/working-memory/pins"): {"changed": 1},
        ("GET", "/v1/memories/7"): MEMORY,
        ("PATCH", "/v1/memories/7"): updated,
        ("GET", "/v1/memories/7/history"): {"versions": [version]},
        ("GET", "/v1/memories/7/propositions"): {"propositions": ["x is", "y is"]},
        ("POST", "/v1/memories/erase"): {"erased": 3},
    }
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content) if request.content else str(request.url.query, "ascii"))
        return httpx.Response(200, json=answers[request.method, request.url.path])

    async with AsyncClient("http://group/", "t", transport=httpx.MockTransport(answer)) as client:
        assert (await client.pin(7, 8), await client.unpin(7), await client.pin()) == (2, 1, 0)
        assert (await client.get(7)).id == 7
        assert await client.update(7, "y", tags=["a"]) == Updated(**updated)
        await client.update(7, expires_at=None)
        await client.update(7, metadata={}, expires_at=datetime(2100, 1, 1, tzinfo=UTC))
        assert [v.version for v in await client.history(7, limit=5)] == [1]
        assert await client.propositions(7) == ["x is", "y is"]
        assert await client.erase(scope={"user": "u1"}) == 3
        assert await client.erase(range(1, 1502)) == 6
        assert await client.erase([]) == 0
        with pytest.raises(errors.ArgumentError, match="give ids, a scope or tags"):
            await client.erase()
    assert asked[:2] == [{"ids": [7, 8]}, {"ids": [7]}]
    assert asked[3:6] == [
        {"content": "y", "tags": ["a"]},
        {"expires_at": None},
        {"metadata": {}, "expires_at": "2100-01-01T00:00:00+00:00"},
    ]
    assert asked[6:9] == ["limit=5", "", {"scope": {"user": "u1"}, "tags": []}]
    assert [len(body["ids"]) for body in asked[9:]] == [1000, 501]


class Feed(httpx.AsyncByteStream):
    """Events that come and then a connection that is lost, or ends."""

    def __init__(self, revisions: range, end: Exception | None) -> None:
        self.revisions, self.end = revisions, end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"retry: 1000\n: the feed of changes\n\n"
        for revision in self.revisions:
            body = json.dumps(change(revision).as_json())
            yield f"id: {revision}\nevent: cleared\ndata: {body}\n\n".encode()
            yield b": ping\n\n"
        if self.end is not None:
            raise self.end


def change(revision: int) -> Change:
    data = {"revision": revision, "kind": "cleared", "epoch": 1, "memory_id": None, "robot": "a", "payload": {}}
    return Change.from_json(data | {"created_at": "2026-01-01T00:00:00Z"})


def feeds() -> Callable[[httpx.Request], httpx.Response]:
    """The group is at revision 3; the feed is lost after 5, refused, ends after 7, goes on."""
    answers: list[Answer] = [
        httpx.Response(200, stream=Feed(range(4, 6), httpx.ReadError("the robot was killed"))),
        httpx.ConnectError("refused"),
        problem(503, "not-serving"),
        httpx.Response(200, stream=Feed(range(6, 8), None)),
        httpx.Response(200, stream=Feed(range(8, 100), None)),
    ]
    expected = iter(["3", "5", "5", "5", "7"])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/status":
            return httpx.Response(200, json={"revision": 3})
        assert request.url.params["after"] == next(expected)
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    return answer


async def test_m5_events_go_on_without_a_gap_where_they_were_cut_off() -> None:
    async with AsyncClient("http://group", "t", transport=httpx.MockTransport(feeds())) as client:
        feed = client.events()
        seen = [await anext(feed) for _ in range(8)]
        await feed.aclose()
    assert [c.revision for c in seen] == list(range(4, 12))
    assert seen[0] == change(4)
    assert seen[0].kind is ChangeKind.CLEARED


async def test_events_that_cannot_be_had_for_a_deadline_are_given_up() -> None:
    service = Service(httpx.ConnectError("refused"))
    async with service.client(deadline=0.2) as client:
        with pytest.raises(errors.MemoryUnavailableError, match="refused"):
            await anext(client.events(3))


@pytest.mark.parametrize(("url", "deadline", "message"), [("group", 30, "not 'group'"), ("http://g", 0, "not 0")])
def test_wrong_settings_are_named(url: str, deadline: float, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        AsyncClient(url, "t", deadline=deadline)


def test_the_synchronous_face_is_closed_once_and_says_so() -> None:
    client = Client("http://group", "t")
    client.close()
    client.close()
    with pytest.raises(errors.ClosedError, match="client of http://group has been shut down"):
        client.status()


async def test_much_content_has_more_time_before_it_is_sent_again() -> None:
    hangs = httpx.ReadTimeout("no answer")
    service = Service(hangs, hangs, problem(422, "invalid-request"))
    async with service.client(deadline=120) as client:
        with pytest.raises(errors.ArgumentError):
            await client.load_text("large.md", "x" * (16 * 64 * 1024))
    first, *others = [request.extensions["timeout"]["read"] for request in service.asked]
    assert 20.0 < first < 20.1
    assert others == [first, first]


async def test_what_may_take_long_is_not_asked_again_soon() -> None:
    hangs = httpx.ReadTimeout("no answer")
    service = Service(hangs, httpx.Response(200, json={"erased": 2}))
    async with service.client(deadline=60) as client:
        assert await client.erase(scope={"user": "u1"}) == 2
    assert [request.extensions["timeout"]["read"] > 15.9 for request in service.asked] == [True, True]
