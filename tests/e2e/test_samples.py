"""Every sample comes up as it says, with the children that it should have."""

import pytest
import yaml
from on_cluster import Stage

from demo.groups import SAMPLES, Group
from demo.kube import JsonObject

GROUPS: list[JsonObject] = [
    document for path in sorted(SAMPLES.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]


@pytest.fixture(scope="module")
def applied(stage: Stage, shared_namespace: str) -> str:
    """All of them at once."""
    stage.kube.kubectl("-n", shared_namespace, "apply", "--filename", str(SAMPLES))
    return shared_namespace


@pytest.mark.parametrize("declared", GROUPS, ids=lambda group: group["metadata"]["name"])
def test_sample_becomes_ready(stage: Stage, applied: str, declared: JsonObject) -> None:
    spec = declared["spec"]
    active, passive = ([robot["name"] for robot in spec.get(role, ())] for role in ("active", "passive"))
    status = Group(stage.kube, applied, declared["metadata"]["name"]).wait_ready()
    assert (status["active"], status["passive"], status["failed"]) == (active, passive, [])
    assert status["maxTokens"] == spec["maxTokens"]
    assert (status["workingMemoryNodes"], status["tokenUtilization"], status["inSync"]) == (0, 0, True)
    assert sorted(robot["name"] for robot in status["robots"]) == sorted(active + passive)
    assert all(robot["ready"] and robot["live"] for robot in status["robots"])
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions == {
        "Ready": "True",
        "FailoverReady": "True" if passive else "False",
        "InSync": "True",
        "MemoryAvailable": "True",
        "Progressing": "False",
    }


def test_children_of_a_group(stage: Stage, applied: str) -> None:
    """One Deployment a robot, labels with the role, the Service's endpoints are all robots."""
    group = Group(stage.kube, applied, "customer-support")
    group.wait_ready()
    labels = f"robotgroups.dev/group={group.name}"
    deployments = stage.kube.listing(f"/apis/apps/v1/namespaces/{applied}/deployments", labels)
    assert sorted(d["metadata"]["name"] for d in deployments) == [
        "customer-support-support-primary",
        "customer-support-support-standby",
    ]
    roles = {
        pod["metadata"]["labels"]["robotgroups.dev/robot"]: pod["metadata"]["labels"]["robotgroups.dev/role"]
        for pod in stage.kube.pods(applied, labels)
    }
    assert roles == {"support-primary": "active", "support-standby": "passive"}
    slices = stage.kube.listing(
        f"/apis/discovery.k8s.io/v1/namespaces/{applied}/endpointslices", f"kubernetes.io/service-name={group.name}"
    )
    addresses = {address for one in slices for endpoint in one["endpoints"] for address in endpoint["addresses"]}
    assert addresses == {pod["status"]["podIP"] for pod in stage.kube.pods(applied, labels)}


def test_active_and_passive_on_different_nodes(stage: Stage, applied: str) -> None:
    group = Group(stage.kube, applied, "primary-with-dr")
    group.wait_ready()
    assert group.pod("primary")["spec"]["nodeName"] != group.pod("dr-standby")["spec"]["nodeName"]


def test_columns_of_kubectl_get(stage: Stage, applied: str) -> None:
    Group(stage.kube, applied, "primary-with-dr").wait_ready()
    heading, line = stage.kube.kubectl("-n", applied, "get", "rg", "primary-with-dr").splitlines()
    assert heading.split() == ["NAME", "PHASE", "ACTIVE", "PASSIVE", "NODES", "UTIL", "SYNC", "AGE"]
    assert line.split()[:7] == ["primary-with-dr", "Ready", "primary", "dr-standby", "0", "0", "true"]
    wide = stage.kube.kubectl("-n", applied, "get", "robotgroups", "-o", "wide").splitlines()[0].split()
    assert wide[7:10] == ["EPOCH", "REVISION", "LAST-FAILOVER"]
