"""What the resource says of memory: it reaches Postgres, what is refused is told, and keeps nothing else back."""

from typing import Any

import psycopg
from operator_bench import Bench, eventually
from psycopg.rows import dict_row

from robotgroups.embedding import embedding_config
from robotgroups.extraction import extraction_config
from robotgroups.store import Store
from robotgroups_operator.names import Kind

SPEC: dict[str, Any] = {"active": [{"name": "first"}], "maxTokens": 1000}
KEY = {"name": "llm", "key": "token"}
MODELS = {
    "embedding": {"provider": "openai", "model": "bge-m3", "dimensions": 1024, "baseURL": "http://ollama:11434/v1"},
    "extraction": {"provider": "openai", "model": "qwen", "tags": True, "apiKeySecretRef": KEY},
}


async def row(database: str, number: int) -> dict[str, Any]:
    """The group's row, with the name of its space."""
    async with await psycopg.AsyncConnection.connect(database, row_factory=dict_row) as connection:
        cursor = await connection.execute(
            "SELECT g.*, s.name AS space FROM robotgroups.groups g JOIN robotgroups.spaces s ON s.id = g.space_id "
            "WHERE g.id = %s",
            (number,),
        )
        found = await cursor.fetchone()
        assert found is not None
        return found


async def made(bench: Bench, store: Store, spec: dict[str, Any], name: str = "team") -> int:
    await bench.apply(name, spec)
    await bench.until_children(name, ["first"])
    return await store.find_group(await bench.key(name))


async def pin(database: str, number: int, memory: int, *, pinned: bool) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("SELECT robotgroups.pin(%s, NULL, NULL, ARRAY[%s], %s)", (number, memory, pinned))


async def delete(bench: Bench, name: str) -> None:
    body = await bench.get(Kind.ROBOT_GROUP, name)
    await bench.api.delete(Kind.ROBOT_GROUP, bench.namespace, name, uid=body["metadata"]["uid"])
    for kind, child in (
        (Kind.DEPLOYMENT, f"{name}-first"),
        (Kind.SERVICE, name),
        (Kind.SERVICE_ACCOUNT, name),
        (Kind.SECRET, f"{name}-robotgroups"),
    ):
        found = await bench.get(kind, child)
        await bench.api.delete(kind, bench.namespace, child, uid=found["metadata"]["uid"])


async def test_tells_postgres_what_the_resource_says(bench: Bench, store: Store, database: str) -> None:
    memory = MODELS | {"space": "customers", "eviction": "lfu", "expiry": {"after": "90d", "keep": 1000}}
    number = await made(bench, store, SPEC | {"memory": memory})
    other = await made(bench, store, SPEC | {"memory": {"space": "customers"}}, "other")
    alone = await made(bench, store, SPEC, "alone")
    found = await row(database, number)
    assert (found["space"], found["eviction"]) == ("customers", "lfu")
    assert (found["expire_after_s"], found["keep_memories"]) == (90 * 86400, 1000)
    embedding = embedding_config("openai", model="bge-m3", dimensions=1024, base_url="http://ollama:11434/v1")
    assert found["embedding"] == embedding.as_json()
    assert found["extraction"] == extraction_config("openai", model="qwen", tags=True).as_json()
    assert (await row(database, other))["space_id"] == found["space_id"]
    assert (await row(database, alone))["space"] is None

    await bench.apply("team", {"memory": {"expiry": None, "embedding": {"provider": "none", "model": None,
        "dimensions": None, "baseURL": None}, "extraction": {"provider": "none", "model": None, "tags": False,
        "apiKeySecretRef": None}}})  # fmt: skip

    async def cleared() -> bool:
        now = await row(database, number)
        assert (now["expire_after_s"], now["keep_memories"]) == (None, None)
        assert now["embedding"] == now["extraction"] == {"provider": "none"}
        return True

    await eventually(cleared)

    async def without_key() -> bool:
        spec = (await bench.get(Kind.DEPLOYMENT, "team-first"))["spec"]["template"]["spec"]
        assert "ROBOTGROUPS_EXTRACTION_API_KEY_FILE" not in {v["name"] for v in spec["containers"][0]["env"]}
        assert "robotgroups-extraction-key" not in {volume["name"] for volume in spec["volumes"]}
        return True

    await eventually(without_key)


async def test_a_refused_budget_keeps_nothing_else_back(bench: Bench, store: Store, database: str) -> None:
    number = await made(bench, store, SPEC)
    memory = await store.remember(number, robot=None, tenure=None, content="never forget this", tokens=500)
    await pin(database, number, memory.id, pinned=True)
    changed = {"maxTokens": 100, "active": [{"name": "first"}, {"name": "more"}], "memory": {"eviction": "fifo"}}
    await bench.apply("team", changed)
    condition = await bench.until_condition("team", "Ready", "False", "SettingsRefused")
    assert condition["message"] == "max_tokens 100 is less than the 500 tokens that are pinned: unpin some first"
    await bench.until_children("team", ["first", "more"])
    status = await bench.status("team")
    assert (status["active"], status["maxTokens"]) == (["first", "more"], 1000)
    assert (await row(database, number))["eviction"] == "fifo"
    await bench.apply("team", changed | {"active": [{"name": "first"}]})
    await bench.until_children("team", ["first"])

    await pin(database, number, memory.id, pinned=False)

    async def taken_over() -> bool:
        return bool((await bench.status("team"))["maxTokens"] == 100)

    await eventually(taken_over)
    assert (await bench.condition("team", "Ready"))["reason"] != "SettingsRefused"


async def test_a_successor_with_another_space_is_told(bench: Bench, store: Store, database: str) -> None:
    number = await made(bench, store, SPEC | {"memory": {"space": "customers"}})
    await delete(bench, "team")

    async def retired() -> bool:
        return (await row(database, number))["login"] is None

    await eventually(retired)
    body = await bench.apply("team", SPEC | {"memory": {"space": "suppliers", "retention": "Delete"}})
    condition = await bench.until_condition("team", "Ready", "False", "SettingsRefused")
    assert "remembers in the space customers, which cannot be changed to suppliers" in condition["message"]
    await bench.until_children("team", ["first"])
    found = await row(database, number)
    assert (found["space"], found["retention"], found["resource_uid"]) == (
        "customers",
        "Delete",
        body["metadata"]["uid"],
    )


async def test_groups_of_a_space_that_name_two_languages_are_told_so(bench: Bench, store: Store) -> None:
    await made(bench, store, SPEC | {"memory": {"space": "customers", "language": "german"}})
    await made(bench, store, SPEC | {"memory": {"space": "customers"}}, "other")
    told = (
        "team of the same space names another language than english: the one that was changed last serves all of them"
    )

    async def disagree() -> bool:
        return told in (await bench.condition("other", "MemoryAvailable"))["message"]

    await eventually(disagree)
    await bench.apply("other", {"memory": {"language": "german"}})

    async def agree() -> bool:
        messages = [(await bench.condition(name, "MemoryAvailable"))["message"] for name in ("team", "other")]
        return not any("another language" in message for message in messages)

    await eventually(agree)


async def test_a_missing_key_is_named_and_waited_for(bench: Bench, store: Store) -> None:
    await made(bench, store, SPEC | {"memory": MODELS})
    condition = await bench.until_condition("team", "Ready", "False", "ApiKeyMissing")
    assert "spec.memory.extraction.apiKeySecretRef names the Secret llm, which is not there" in condition["message"]
    spec = (await bench.get(Kind.DEPLOYMENT, "team-first"))["spec"]["template"]["spec"]
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == "robotgroups-extraction-key"]
    assert (volume["secret"]["secretName"], volume["secret"]["optional"]) == ("llm", True)
    bench.server.kubectl("create", "secret", "generic", "llm", "--from-literal=other=x", "-n", bench.namespace)

    async def named() -> bool:
        return "which the Secret llm lacks" in (await bench.condition("team", "Ready"))["message"]

    await eventually(named)
    secret = {"stringData": {"token": "sk-123"}}
    await bench.api.patch(Kind.SECRET, bench.namespace, "llm", secret)
    await bench.until_condition("team", "Progressing", "True", "RobotsStarting")


async def test_a_model_that_no_image_has_is_told(bench: Bench, store: Store) -> None:
    await made(bench, store, SPEC | {"memory": {"embedding": {"provider": "local"}}})
    condition = await bench.until_condition("team", "Ready", "False", "LocalModelMissing")
    assert "the image of first has no model" in condition["message"]
    await bench.apply("team", {"template": {"image": "registry.example/with-model:1"}})
    await bench.until_condition("team", "Progressing", "True", "RobotsStarting")
