"""The rotation of a group's login under load: robot by robot, without a failed request."""

import base64

from on_cluster import Stage, nothing_lost_or_doubled, writing

from demo.groups import Group
from demo.kube import wait_until

SECONDS = 180  # two robots, one after the other: hand-over, drain, end and start of a pod each


def _secret_dsn(group: Group) -> str:
    secret = group.kube.get(f"/api/v1/namespaces/{group.namespace}/secrets/{group.name}-robotgroups")
    assert secret is not None
    return base64.b64decode(secret["data"]["dsn"]).decode()


def _pods(group: Group) -> dict[str, str]:
    pods = group.kube.pods(group.namespace, f"robotgroups.dev/group={group.name}")
    return {pod["metadata"]["labels"]["robotgroups.dev/robot"]: pod["metadata"]["uid"] for pod in pods}


def test_login_rotated_under_load(stage: Stage, namespace: str) -> None:
    spec = {"active": [{"name": "one"}], "passive": [{"name": "two"}], "maxTokens": 100_000}
    group = stage.apply(namespace, "rotating", spec)
    group.wait_ready()
    before, (old, _) = _pods(group), stage.logins(group)
    with stage.client(group) as client:
        with writing(client, "rotation", rate=20) as load:
            load.wait_for(20)
            annotation = "robotgroups.dev/rotate-credentials=now"
            stage.kube.kubectl("-n", namespace, "annotate", "robotgroup", group.name, annotation)
            wait_until("the rotation", SECONDS, lambda: stage.events(group, "RotatedCredentials"))
            load.wait_for(load.count() + 40)
        nothing_lost_or_doubled(stage, group, load)
        assert client.call("remember", content="after the rotation")["created"]
    status = group.wait_ready()
    assert (status["active"], status["passive"], status["failovers"]) == (["two"], ["one"], 0)
    assert {failover["kind"] for failover in stage.failovers(group)} == {"switchover"}
    assert not set(_pods(group).values()) & set(before.values())
    new, previous = stage.logins(group)
    assert previous is None
    assert new != old
    assert f"{new}" in _secret_dsn(group)
    assert stage.rows(f"SELECT rolname FROM pg_roles WHERE rolname IN ('{old}', '{new}')") == [{"rolname": new}]
    [begun], [ended] = stage.events(group, "RotatingCredentials"), stage.events(group, "RotatedCredentials")
    assert str(new) in begun
    assert str(old) in ended
