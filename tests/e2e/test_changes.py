"""A running group is changed: its resource edited, scaled, suspended; its children deleted or edited."""

from collections.abc import Callable

import pytest
from on_cluster import Stage, condition

from demo.groups import Group
from demo.kube import JsonObject, wait_until

# By a watch, not by the next look at everything (resyncSeconds, 10 here).
WATCHED_SECONDS = 8


@pytest.fixture(scope="module")
def group(stage: Stage, shared_namespace: str) -> Group:
    made = stage.apply(shared_namespace, "pair", {"active": [{"name": "one"}], "passive": [{"name": "two"}]})
    made.wait_ready()
    return made


def _deployment(group: Group, robot: str) -> str:
    return f"/apis/apps/v1/namespaces/{group.namespace}/deployments/{group.name}-{robot}"


def _comes_back(group: Group, path: str, uid: str) -> JsonObject:
    def another() -> JsonObject | None:
        found = group.kube.get(path)
        return found if found is not None and found["metadata"]["uid"] != uid else None

    return wait_until(f"{path} is put back", 30, another)


def _uid(group: Group, path: str) -> str:
    found = group.kube.get(path)
    assert found is not None
    return str(found["metadata"]["uid"])


def _pods(group: Group) -> dict[str, str]:
    return dict(_each_pod(group))


def _each_pod(group: Group) -> list[tuple[str, str]]:
    pods = group.kube.pods(group.namespace, f"robotgroups.dev/group={group.name}")
    return [(pod["metadata"]["labels"]["robotgroups.dev/robot"], pod["metadata"]["uid"]) for pod in pods]


def _wait_for_pods(group: Group, robots: set[str]) -> None:
    """One pod of each: one that is going is there as well for a while."""
    wait_until(f"pods of {robots}", 60, lambda: sorted(r for r, _ in _each_pod(group)) == sorted(robots))


def test_deleted_children_are_put_back(group: Group) -> None:
    before = _pods(group)
    core = f"/api/v1/namespaces/{group.namespace}"
    paths = [f"{core}/services/{group.name}", f"{core}/secrets/{group.name}-robotgroups"]
    paths.append(f"{core}/serviceaccounts/{group.name}")
    uids = {path: _uid(group, path) for path in paths}
    for path in paths:
        group.kube.delete(path)
    for path, uid in uids.items():
        _comes_back(group, path, uid)
    path = _deployment(group, "two")
    uid = _uid(group, path)
    group.kube.delete(path)
    _comes_back(group, path, uid)
    wait_until("a new pod of two", 60, lambda: _pods(group).get("two") not in {None, before["two"]})
    group.wait_ready()
    assert _pods(group)["one"] == before["one"]


@pytest.mark.parametrize(
    ("edit", "is_back"),
    [
        ({"spec": {"replicas": 0}}, lambda d: d["spec"]["replicas"] == 1),
        (
            {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
            lambda d: d["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30,
        ),
        ({"metadata": {"labels": {"robotgroups.dev/group": "other"}}}, None),
    ],
    ids=["replicas", "template", "labels"],
)
def test_edited_deployment_is_put_back(
    group: Group, edit: JsonObject, is_back: Callable[[JsonObject], bool] | None
) -> None:
    path = _deployment(group, "two")
    group.kube.patch(path, edit)

    def back() -> bool:
        found = group.kube.get(path)
        assert found is not None
        return is_back(found) if is_back else found["metadata"]["labels"]["robotgroups.dev/group"] == group.name

    wait_until(f"{path} is as it was", WATCHED_SECONDS, back)
    status = group.wait_ready()
    assert (status["active"], status["passive"]) == (["one"], ["two"])


def test_scale_up_and_down(stage: Stage, group: Group) -> None:
    _wait_for_pods(group, {"one", "two"})  # the test before may have left one that is going
    before = _pods(group)
    for replicas, workers in ((2, ["worker-0", "worker-1"]), (0, [])):
        stage.kube.kubectl("-n", group.namespace, "scale", "robotgroup", group.name, f"--replicas={replicas}")
        status = group.wait_ready()
        assert (status["active"], status["passive"]) == (["one", *workers], ["two"])
        _wait_for_pods(group, {"one", "two", *workers})
        assert status["replicas"] == replicas
    assert _pods(group) == before


def test_suspend_and_resume(stage: Stage, group: Group) -> None:
    with stage.client(group) as client:
        client.call("remember", content="what was known before the pause")
    epoch = group.status()["epoch"]
    group.kube.patch(group.path, {"spec": {"suspend": True}})
    status = group.wait("suspended", lambda s: s["phase"] == "Suspended")
    _wait_for_pods(group, set())
    status = group.wait("settled", lambda s: condition(s, "Progressing")["status"] == "False", 30)
    assert (status["active"], status["passive"]) == (["one"], ["two"])
    assert condition(status, "Ready")["reason"] == "Suspended"
    assert "spec.suspend" in condition(status, "Ready")["message"]
    group.kube.patch(group.path, {"spec": {"suspend": False}})
    status = group.wait_ready()
    assert (status["active"], status["passive"], status["workingMemoryNodes"]) == (["one"], ["two"], 1)
    assert [f for f in stage.failovers(group) if f["kind"] == "failover"] == []
    assert status["epoch"] >= epoch


def test_image_that_does_not_exist_names_the_robot(group: Group) -> None:
    broken = {"name": "three", "template": {"image": "localhost/no-such-image:1", "imagePullPolicy": "Never"}}
    group.kube.patch(group.path, {"spec": {"passive": [{"name": "two"}, broken]}})
    status = group.wait("tells of the image", lambda s: condition(s, "Ready")["reason"] == "ErrImageNeverPull", 60)
    assert status["phase"] == "Degraded"
    message = condition(status, "Ready")["message"]
    assert "robot three" in message
    assert "localhost/no-such-image:1" in message
    assert next(robot for robot in status["robots"] if robot["name"] == "three")["ready"] is False
    assert condition(status, "FailoverReady")["status"] == "True"
    group.kube.patch(group.path, {"spec": {"passive": [{"name": "two"}]}})
    assert group.wait_ready()["passive"] == ["two"]


def test_role_edited_in_the_resource(group: Group) -> None:
    before = _pods(group)
    group.kube.patch(group.path, {"spec": {"active": [{"name": "two"}], "passive": [{"name": "one"}]}})
    status = group.wait_ready()
    assert (status["active"], status["passive"]) == (["two"], ["one"])
    assert _pods(group) == before
    group.kube.patch(group.path, {"spec": {"active": [{"name": "one"}], "passive": [{"name": "two"}]}})
    assert group.wait_ready()["active"] == ["one"]
