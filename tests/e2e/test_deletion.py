"""A group ends: what of it goes, what stays, and who finds it again."""

from on_cluster import Stage

from demo.groups import Group
from demo.kube import wait_until

CONTENT = "The customer's contract ends in May."
CHILDREN = (
    "/apis/apps/v1/namespaces/{}/deployments",
    "/api/v1/namespaces/{}/services",
    "/api/v1/namespaces/{}/secrets",
    "/api/v1/namespaces/{}/serviceaccounts",
    "/api/v1/namespaces/{}/pods",
)


def _children(stage: Stage, group: Group) -> list[str]:
    labels = f"robotgroups.dev/group={group.name}"
    paths = (path.format(group.namespace) for path in CHILDREN)
    return [f"{path}/{found['metadata']['name']}" for path in paths for found in stage.kube.listing(path, labels)]


def _delete(stage: Stage, *groups: Group) -> None:
    for group in groups:
        stage.kube.kubectl("-n", group.namespace, "delete", "robotgroup", group.name, "--timeout=60s")
    wait_until("end of the children", 60, lambda: [c for group in groups for c in _children(stage, group)] == [])


def _rows(stage: Stage, uid: str) -> set[str]:
    return {row["name"] for row in stage.rows(f"SELECT name FROM robotgroups.groups WHERE namespace_uid = '{uid}'")}


def test_deleted_groups_leave_what_their_retention_says(stage: Stage, namespace: str) -> None:
    uid = stage.namespace_uid(namespace)
    kept = stage.apply(namespace, "kept", {"active": [{"name": "one"}]})
    dropped = stage.apply(namespace, "dropped", {"active": [{"name": "one"}], "memory": {"retention": "Delete"}})
    for group in (kept, dropped):
        group.wait_ready()
        with stage.client(group) as client:
            assert client.call("remember", content=CONTENT)["created"]
    assert _children(stage, kept) != []
    _delete(stage, kept, dropped)
    wait_until("only the retained rows", 30, lambda: _rows(stage, uid) == {"kept"})
    assert [row["content"] for row in stage.memories(kept)] == [CONTENT]
    again = stage.apply(namespace, "kept", {"active": [{"name": "another"}]})
    status = again.wait_ready()
    assert (status["active"], status["workingMemoryNodes"]) == (["another"], 1)
    with stage.client(again) as client:
        assert client.call("recall", query="contract") == [CONTENT]


def test_namespace_goes_without_the_operator(stage: Stage, namespace: str) -> None:
    """Nothing of ours holds a namespace; the operator sweeps the rows when it is back."""
    uid = stage.namespace_uid(namespace)
    group = stage.apply(namespace, "doomed", {"active": [{"name": "one"}], "memory": {"retention": "Delete"}})
    group.wait_ready()
    assert _rows(stage, uid) == {"doomed"}
    stage.scale_operator(0)
    try:
        stage.kube.delete(f"/api/v1/namespaces/{namespace}")
        wait_until("end of the namespace", 90, lambda: stage.kube.get(f"/api/v1/namespaces/{namespace}") is None)
        assert _rows(stage, uid) == {"doomed"}
    finally:
        stage.scale_operator(1)
    wait_until("the rows are swept", 60, lambda: _rows(stage, uid) == set())
