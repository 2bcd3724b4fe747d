"""The release itself: tested, upgraded, uninstalled and installed again, while a group runs."""

import json
import re

import pytest
from on_cluster import OPERATOR, Stage

from demo import release
from demo.groups import Group
from demo.kube import JsonObject
from localcluster.console import ClusterError

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/robotgroups.robotgroups.dev"


@pytest.fixture(scope="module")
def group(stage: Stage, shared_namespace: str) -> Group:
    made = stage.apply(shared_namespace, "steady", {"active": [{"name": "one"}]})
    made.wait_ready()
    return made


def _values(stage: Stage) -> JsonObject:
    values: JsonObject = json.loads(
        stage.kube.helm("get", "values", release.NAME, "--namespace", release.NAMESPACE, "--output", "json")
    )
    return values


def _pod(group: Group) -> str:
    return str(group.pod("one")["metadata"]["uid"])


def test_helm_test(stage: Stage) -> None:
    answer = stage.kube.helm("test", release.NAME, "--namespace", release.NAMESPACE, "--timeout", "60s")
    suites = dict(re.findall(r"TEST SUITE: +(\S+)\n(?:.*\n)*?Phase: +(\S+)", answer))
    assert suites == {"robotgroups-test": "Succeeded"}


def test_upgrade_changes_what_it_says_and_no_robot(stage: Stage, group: Group) -> None:
    values, pod = _values(stage), _pod(group)
    revision = release.install(stage.kube, values | {"operator": values["operator"] | {"resyncSeconds": 17}})
    try:
        deployment = stage.kube.get(OPERATOR)
        assert deployment is not None
        environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "ROBOTGROUPS_OPERATOR_RESYNC_SECONDS", "value": "17"} in environment
        assert group.wait_ready()["active"] == ["one"]
        assert _pod(group) == pod
    finally:
        assert release.install(stage.kube, values) == revision + 1


def test_values_that_are_wrong_are_refused(stage: Stage) -> None:
    with pytest.raises(ClusterError, match="resyncSecond"):
        release.install(stage.kube, _values(stage) | {"operator": {"resyncSecond": 17}})


def test_uninstall_keeps_groups_and_robots_and_memories(stage: Stage, group: Group) -> None:
    values, pod = _values(stage), _pod(group)
    with stage.client(group) as client:
        client.call("remember", content="remembered before the uninstallation")
    release.uninstall(stage.kube)
    try:
        assert stage.kube.get(CRD) is not None
        assert group.read()["spec"]["active"] == [{"name": "one"}]
        assert _pod(group) == pod
    finally:
        release.install(stage.kube, values)
    status = group.wait_ready()
    assert (status["active"], status["workingMemoryNodes"]) == (["one"], 1)
    assert _pod(group) == pod
