"""Memory on the cluster: shared spaces, a model's key that comes later, the local model in pods."""

from on_cluster import Stage, condition

from demo.kube import JsonObject

# The kubelet brings a Secret's change into a pod within its sync period of a minute; then the job's pause has to end.
MOUNTED_SECONDS = 200


def test_groups_of_a_space_share_what_they_remember(stage: Stage, namespace: str) -> None:
    memory = {"space": "customers"}
    groups = [
        stage.apply(namespace, name, {"active": [{"name": "agent"}], "memory": memory}) for name in ("sales", "billing")
    ]
    alone = stage.apply(namespace, "alone", {"active": [{"name": "agent"}]})
    for group in (*groups, alone):
        group.wait_ready()
    with stage.client(groups[0]) as sales:
        assert sales.call("remember", content="the customer pays by invoice")["created"]
    with stage.client(groups[1]) as billing:
        assert billing.call("recall", query="invoice") == ["the customer pays by invoice"]
        assert billing.call("working_memory")["memories"] == {}
    with stage.client(alone) as other:
        assert other.call("recall", query="invoice") == []


def test_a_key_that_comes_later_reaches_the_robot(stage: Stage, namespace: str) -> None:
    """Without it the robots run, and both the missing Secret and what waits to be embedded are told."""
    embedding = {
        "provider": "openai",
        "baseURL": "http://nobody.invalid/v1",
        "model": "some-model",
        "dimensions": 8,
        "apiKeySecretRef": {"name": "llm", "key": "token"},
    }
    spec = {"active": [{"name": "one"}], "passive": [{"name": "two"}], "memory": {"embedding": embedding}}
    group = stage.apply(namespace, "keyless", spec)
    status = group.wait(
        "serves without the key",
        lambda s: s["phase"] == "Degraded" and all(r["ready"] for r in s["robots"]) and len(s["robots"]) == 2,
    )
    assert condition(status, "Ready")["reason"] == "ApiKeyMissing"
    assert "names the Secret llm, which is not there" in condition(status, "Ready")["message"]
    with stage.client(group) as client:
        assert client.call("remember", content="nobody embeds this")["created"]
        status = group.wait("tells why", lambda s: s["unembedded"] == 1 and "in vain" in _memory(s))
        assert "ROBOTGROUPS_EMBEDDING_API_KEY_FILE" in _memory(status)
        assert client.call("recall", query="embeds") == ["nobody embeds this"]
    pods = {robot: group.pod(robot)["metadata"]["uid"] for robot in ("one", "two")}
    stage.kube.kubectl("-n", namespace, "create", "secret", "generic", "llm", "--from-literal=token=sk-123")
    group.wait_ready()
    group.wait("asks the endpoint", lambda s: "http://nobody.invalid/v1" in _memory(s), MOUNTED_SECONDS)
    assert {robot: group.pod(robot)["metadata"]["uid"] for robot in pods} == pods


def _memory(status: JsonObject) -> str:
    return str(condition(status, "MemoryAvailable")["message"])


def test_local_model_in_pods(stage: Stage, namespace: str) -> None:
    """The operator takes the image that has the model; recall by meaning finds what shares no word with the query."""
    spec = {
        "active": [{"name": "one"}],
        "passive": [{"name": "two"}],
        "memory": {"embedding": {"provider": "local"}},
    }
    group = stage.apply(namespace, "meaning", spec)
    group.wait_ready()
    assert "robot-local:" in group.pod("one")["spec"]["containers"][0]["image"]
    with stage.client(group) as client:
        for content in ("the cat sleeps on the sofa", "interest rates rose by half a percent"):
            client.call("remember", content=content)
        group.wait("embeds everything", lambda s: s["workingMemoryNodes"] == 2 and s["unembedded"] == 0)
        found = client.call("recall", query="a kitten naps", strategy="vector")
        assert found == ["the cat sleeps on the sofa", "interest rates rose by half a percent"]
        assert client.call("recall", query="money becomes dearer", strategy="vector", limit=1) == found[1:]
