"""Relations, tags and files over HTTP: two real robots, the passive one forwarding, and the clients of a service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from robotgroups import AsyncClient, Client
from robotgroups.errors import ArgumentError, ContentTooLargeError, InvalidTagError, UnknownMemoryError
from robotgroups.filing import RefusedFile
from robotgroups.relating import relate_step
from robotgroups.tagging import TagCount

from .conftest import TOKEN, Group, declared


@pytest.fixture(scope="module")
async def shared(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Group]:
    """Two robots that these tests share: none changes roles."""
    async with declared(shared_dsn, tmp_path_factory.mktemp("robots"), ["primary"], ["standby"]) as group:
        await group.start("primary", "standby")
        yield group


@pytest.fixture
def http(shared: Group) -> httpx.AsyncClient:
    """The passive robot: what it may not do itself, it passes on."""
    return shared["standby"].client


@pytest.fixture
def url(shared: Group) -> str:
    return f"http://127.0.0.1:{shared['standby'].port}"


async def remember(http: httpx.AsyncClient, content: str, **more: Any) -> int:
    answer = await http.post("/v1/memories", json={"content": content, **more})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def problem(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, kind and detail of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    return answer.status_code, told["type"].removeprefix("urn:robotgroups:problem:"), told["detail"]


async def test_relations_are_said_walked_and_taken_back(http: httpx.AsyncClient) -> None:
    a, b, c = [await remember(http, f"relation {n}") for n in "abc"]
    for source, target, weight in ((a, b, 0.5), (b, c, 0.5)):
        body = {"source": source, "target": target, "kind": "supports", "weight": weight}
        assert (await http.post("/v1/relations", json=body)).json() == {"created": True}
    assert (await http.post("/v1/relations", json=body)).json() == {"created": False}
    found = (await http.get(f"/v1/memories/{a}/related", params={"depth": 2})).json()["related"]
    assert [(r["memory"]["content"], r["weight"], r["depth"], r["path"], r["kinds"]) for r in found] == [
        ("relation b", 0.5, 1, [a, b], ["supports"]),
        ("relation c", 0.25, 2, [a, b, c], ["supports", "supports"]),
    ]
    query: dict[str, Any] = {"depth": 2, "min_weight": 0.3, "kind": ["supports", "tags"], "limit": 5}
    assert len((await http.get(f"/v1/memories/{a}/related", params=query)).json()["related"]) == 1
    assert (await http.get(f"/v1/memories/{a}/related", params={"kind": "tags"})).json() == {"related": []}
    gone: dict[str, str | int] = {"source": b, "target": c, "kind": "supports"}
    assert (await http.delete("/v1/relations", params=gone)).json() == {"removed": True}
    assert (await http.delete("/v1/relations", params=gone)).json() == {"removed": False}


async def test_wrong_relations_and_tags_are_problems_that_name_what_is_wrong(http: httpx.AsyncClient) -> None:
    a, b = await remember(http, "wrong a"), await remember(http, "wrong b")
    post, get = http.post, http.get

    async def relate(**changes: Any) -> tuple[int, str, str]:
        return problem(await post("/v1/relations", json={"source": a, "target": b, "kind": "near"} | changes))

    assert await relate(target=999999) == (404, "unknown-memory", "no memory has id 999999")
    status, kind, detail = await relate(kind="tags")
    assert (status, kind) == (422, "invalid-request")
    assert detail.startswith("kind 'tags' is kept for relations by tags")
    assert (await relate(kind=" "))[2] == "#/kind: it must not be blank"
    assert (await relate(weight=1.5))[2] == "#/weight: Input should be less than or equal to 1"
    assert (await relate(to=1))[2] == "#/to: Extra inputs are not permitted"
    assert (await relate(target=a))[2] == f"memory {a} cannot be related to itself"
    assert problem(await get(f"/v1/memories/{a}/related", params={"depth": 6}))[2].startswith("depth: ")
    assert problem(await get("/v1/memories/999999/related"))[0] == 404
    assert problem(await get("/v1/tags", params={"scope": "[1]"}))[2] == (
        "scope: scope must be a mapping such as {'user': 'u1'}, not list"
    )
    assert problem(await get("/v1/tags", params={"scope": "{"}))[2].startswith("scope: is no JSON")
    assert problem(await get("/v1/tags/find", params={"q": " "}))[0] == 422
    status, _, detail = problem(await post(f"/v1/memories/{a}/tags", json={"tags": ["good", "a::b"]}))
    assert (status, detail) == (422, "#/tags/1: has a blank level: write a:b, with a name on both sides of each colon")
    assert problem(await post(f"/v1/memories/{a}/tags", json={"tags": []}))[0] == 422
    assert problem(await http.delete(f"/v1/memories/{a}/tags"))[0] == 422
    assert problem(await http.put("/v1/files", json={"path": "x", "text": "---\na: [\n---\nx"}))[2].startswith(
        "the front matter is no YAML, line 2"
    )


async def test_tags_are_given_listed_found_and_taken(http: httpx.AsyncClient) -> None:
    scope = {"user": "tags"}
    query = {"scope": json.dumps(scope)}
    async with AsyncClient(str(http.base_url), TOKEN) as client:
        one = await remember(http, "tagged over HTTP")
        done = (await http.post(f"/v1/memories/{one}/tags", json={"tags": ["db:postgres", "work"]})).json()
        assert (done["tags"], done["version"]) == (["db:postgres", "work"], 2)
        assert set(done) == {"id", "tags", "version", "revision", "epoch"}
        assert {"tag": "db:postgres", "count": 1} in (await http.get("/v1/tags")).json()["tags"]
        assert (await http.get("/v1/tags", params=query)).json() == {"tags": []}
        tree = (await http.get("/v1/tags/tree")).json()
        (db,) = [node for node in tree["children"] if node["name"] == "db"]
        assert db == {
            "name": "db", "tag": "db", "count": 0, "total": 1,
            "children": [{"name": "postgres", "tag": "db:postgres", "count": 1, "total": 1, "children": []}],
        }  # fmt: skip
        found = (await http.get("/v1/tags/find", params={"q": "postgers", "limit": 3})).json()["tags"]
        assert [t["tag"] for t in found] == ["db:postgres"]
        assert 0.7 < found[0]["score"] < 1
        left = (await http.delete(f"/v1/memories/{one}/tags", params={"tag": ["work", "db"]})).json()
        assert left["tags"] == ["db:postgres"]
        # the same by the client
        assert (await client.tag(one, "work")).tags == ("db:postgres", "work")
        assert (await client.untag(one, "work")).tags == ("db:postgres",)
        assert TagCount("db:postgres", 1) in await client.tags()
        assert [child.tag for child in (await client.tag_tree()).children if child.name == "db"] == ["db"]
        assert [m.tag for m in await client.find_tags("postgers")] == ["db:postgres"]
        assert await client.tags(scope=scope) == []
        with pytest.raises(UnknownMemoryError):
            await client.tag(999999, "x")
        with pytest.raises(InvalidTagError):
            await client.tag(one, "a::b")
        await client.untag(one, "db:postgres")


async def test_files_are_put_listed_and_deleted(http: httpx.AsyncClient, shared: Group) -> None:
    text = "---\ntags: [http]\n---\n# Put\n\nOver HTTP.\n\n## More\n\nMore.\n"
    body = {"path": "docs/put.md", "text": text, "metadata": {"a": 1}, "scope": {"user": "files"}}
    done = (await http.put("/v1/files", json=body)).json()
    figures = {k: done[k] for k in ("path", "changed", "chunks", "added", "updated", "removed")}
    assert figures == {"path": "docs/put.md", "changed": True, "chunks": 2, "added": 2, "updated": 0, "removed": 0}
    again = (await http.put("/v1/files", json=body)).json()
    assert (again["changed"], again["revision"]) == (False, done["revision"])
    query = {"scope": json.dumps({"user": "files"})}
    (listed,) = (await http.get("/v1/files", params=query)).json()["files"]
    assert (listed["path"], listed["scope"], listed["chunks"]) == ("docs/put.md", {"user": "files"}, 2)
    assert (listed["tags"], listed["front_matter"]) == (["http"], {"tags": ["http"]})
    assert not [c for c in await shared.contents() if "Over HTTP." in c]  # long-term memory alone
    found = (await http.get("/v1/recall", params={"q": "HTTP", "tag": "http"})).json()["memories"]
    assert [m["content"] for m in found] == ["# Put\n\nOver HTTP."]
    assert found[0]["metadata"] == {"a": 1, "file": {"path": "docs/put.md", "heading": ["Put"]}}
    gone = (await http.delete("/v1/files", params={"path": "docs/put.md"})).json()
    assert (gone["existed"], gone["removed"]) == (False, 0)
    gone = (await http.delete("/v1/files", params={"path": "docs/put.md", **query})).json()
    assert (gone["existed"], gone["removed"]) == (True, 2)
    assert (await http.get("/v1/files", params=query)).json() == {"files": []}


async def test_the_client_reads_files_of_its_own_machine(url: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("# A\n\nBy the client.\n")
    (tmp_path / "sub" / "b.md").write_text("B by the client.\n")
    (tmp_path / "sub" / "bad.md").write_bytes(b"\xff")
    async with AsyncClient(url, TOKEN) as client:
        done = await client.load_file(tmp_path / "a.md", tags=["client"])
        assert (done.path, done.changed, done.added) == (str(tmp_path / "a.md"), True, 1)
        told: list[int] = []
        loaded = await client.load_directory(tmp_path, tags=["client"], progress=lambda p: told.append(p.done))
        assert [(f.path, f.changed) for f in loaded.files] == [
            (str(tmp_path / "a.md"), False), (str(tmp_path / "sub" / "b.md"), True)
        ]  # fmt: skip
        assert loaded.refused == (
            RefusedFile(str(tmp_path / "sub/bad.md"), f"{tmp_path}/sub/bad.md: is no UTF-8 at byte 0: convert it"),
        )
        assert told == [1, 2, 3]
        (tmp_path / "a.md").unlink()
        gone = await client.load_directory(tmp_path, tags=["client"], unload_missing=True)
        assert [(u.path, u.removed) for u in gone.unloaded] == [(str(tmp_path / "a.md"), 1)]
        assert [f.path for f in await client.files() if f.tags == ("client",)] == [str(tmp_path / "sub" / "b.md")]
        assert (await client.unload_file(tmp_path / "sub" / "b.md")).removed == 1
        with pytest.raises(ContentTooLargeError, match="a request's body may have 1048576 bytes"):
            await client.load_text("large.md", "x" * (1 << 20))
        with pytest.raises(ArgumentError, match="the front matter is no YAML"):
            await client.load_text("wrong.md", "---\na: [\n---\nx")


async def test_a_file_as_large_as_a_request_may_be_is_loaded_in_one_request(url: str) -> None:
    words = "Of memory and robots, groups and failovers. "
    text = "\n".join(f"## Section {n}\n\n{words * 40}{n}\n" for n in range(520))
    assert 900_000 < len(text) < (1 << 20)
    async with AsyncClient(url, TOKEN) as client:
        done = await client.load_text("large.md", text, scope={"user": "large"})
        assert done.added == done.chunks == 520
        assert (await client.unload_text("large.md", scope={"user": "large"})).removed == 520


async def test_relations_by_tags_and_the_synchronous_client(shared: Group, url: str) -> None:
    def synchronously() -> tuple[int, int]:
        with Client(url, TOKEN) as client:
            a = client.remember("by the synchronous client", tags=["sync:a"]).id
            b = client.remember("also by the synchronous client", tags=["sync:a"]).id
            assert client.relate(a, b, "supports", 0.5)
            assert not client.relate(a, b, "supports", 0.5)
            (found,) = client.related(a, kinds=["supports"])
            assert (found.memory.id, found.weight, found.path) == (b, 0.5, (a, b))
            assert client.related(a, kinds=[]) == []
            assert client.unrelate(a, b, "supports")
            assert client.tag(a, "sync:b").tags == ("sync:a", "sync:b")
            assert TagCount("sync:a", 2) in client.tags()
            assert [m.tag for m in client.find_tags("sync:b")] == ["sync:b", "sync:a"]
            assert "sync" in client.tag_tree().mapping()
            assert client.untag(a, "sync:b").tags == ("sync:a",)
            assert client.load_text("sync.md", "# S\n\nSynchronously.").added == 1
            assert "sync.md" in [f.path for f in client.files()]
            assert client.unload_file("sync.md").removed == 1
            return a, b

    a, b = await anyio.to_thread.run_sync(synchronously)
    while await relate_step(shared.store, shared.id):
        pass
    async with AsyncClient(url, TOKEN) as client:
        (found,) = await client.related(a, kinds=["tags"])
        assert (found.memory.id, found.weight, found.kinds) == (b, 1.0, ("tags",))
