"""The resource on a real API server: samples accepted, every bad manifest refused with its message, columns, scale."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from api_server import ApiServer

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "crds" / "samples").glob("*.yaml"))
BAD = sorted((ROOT / "tests" / "fixtures" / "bad-manifests").glob("*.yaml"))
CRD = "robotgroups.robotgroups.dev"
NAMESPACE = ("-n", "default")


@pytest.fixture(scope="module")
def server(api_server: ApiServer) -> Iterator[ApiServer]:
    """The API server with the resource as it stands in crds/."""
    api_server.install(ROOT / "crds" / "robotgroups.yaml")
    yield api_server
    api_server.kubectl("delete", "crd", CRD, "--wait")


def test_is_served_as_a_structural_schema(server: ApiServer) -> None:
    conditions = {c["type"]: c["status"] for c in server.get("crd", CRD)["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_accepts(server: ApiServer, sample: Path) -> None:
    server.kubectl("apply", *NAMESPACE, "-f", str(sample))
    names = [document["metadata"]["name"] for document in yaml.safe_load_all(sample.read_text())]
    for name in names:
        assert server.get(*NAMESPACE, "rg", name)["metadata"]["name"] == name


@pytest.mark.parametrize("manifest", BAD, ids=lambda path: path.stem)
def test_refuses(server: ApiServer, manifest: Path) -> None:
    expected = manifest.read_text().splitlines()[0].removeprefix("# refused: ")
    done = server.kubectl("apply", *NAMESPACE, "-f", str(manifest), check=False)
    assert done.returncode != 0
    assert expected in done.stderr


def test_fills_in_the_defaults(server: ApiServer) -> None:
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("defaults", {"active": [{"name": "a"}]}))
    assert server.get(*NAMESPACE, "rg", "defaults")["spec"] == {
        "active": [{"name": "a"}],
        "passive": [],
        "replicas": 0,
        "maxTokens": 4000,
        "suspend": False,
        "memory": {
            "retention": "Retain",
            "eviction": "balanced",
            "language": "english",
            "tokenizer": "cl100k_base",
            "embedding": {"provider": "none"},
            "extraction": {"provider": "none", "tags": False, "propositions": False},
        },
        "failover": {
            "mode": "Automatic",
            "heartbeat": "500ms",
            "lease": "3s",
            "delay": "0s",
            "cooldown": "30s",
            "failback": "Never",
        },
    }


def test_accepts_the_limits(server: ApiServer) -> None:
    """The longest names, the shortest lease, the largest group: what the rules' messages promise."""
    longest = {"active": [{"name": "r" * 10}], "failover": {"heartbeat": "1m", "lease": "3m"}, "maxTokens": 1}
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("g" * 35, longest))
    largest = {
        "active": [{"name": f"active-{i}"} for i in range(50)],
        "passive": [{"name": f"passive-{i}"} for i in range(50)],
        "replicas": 100,
    }
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("g" * 35, largest))
    done = server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("g" * 36, longest), check=False)
    assert "lead to a pod name over 63 characters" in done.stderr


def test_accepts_a_whole_template(server: ApiServer) -> None:
    template = {
        "image": "example/robot:1",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1Gi", "cpu": 1}},
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "labels": {"team": "support"},
        "annotations": {"example.org/note": "x"},
        "priorityClassName": "high",
        "terminationGracePeriodSeconds": 60,
        "extraContainers": [{"name": "proxy", "image": "example/proxy:1", "ports": [{"containerPort": 1}]}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    spec = {"active": [{"name": "a", "template": template}], "passive": [{"name": "b"}], "template": template}
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("whole-template", spec))
    stored = server.get(*NAMESPACE, "rg", "whole-template")["spec"]
    assert stored["template"] == template
    assert stored["active"] == [{"name": "a", "template": template}]


def test_accepts_a_whole_memory(server: ApiServer) -> None:
    key = {"name": "openai", "key": "api-key"}
    memory = {
        "space": "support",
        "retention": "Delete",
        "expiry": {"after": "90d", "keep": 100000},
        "eviction": "lru",
        "language": "german",
        "tokenizer": "cl100k_base",
        "embedding": {
            "provider": "openai",
            "model": "nomic-embed-text",
            "dimensions": 768,
            "baseURL": "http://ollama.models.svc:11434/v1",
            "apiKeySecretRef": key,
        },
        "extraction": {
            "provider": "openai",
            "model": "gpt-4o-mini",
            "baseURL": "https://[2001:db8::1]:8443/v1/",
            "apiKeySecretRef": key,
            "tags": True,
            "propositions": True,
        },
    }
    spec = {"active": [{"name": "a"}], "memory": memory}
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("whole-memory", spec))
    assert server.get(*NAMESPACE, "rg", "whole-memory")["spec"]["memory"] == memory
    local = {"active": [{"name": "a"}], "memory": {"embedding": {"provider": "local"}}}
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("local-memory", local))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"space": "one"}, {"space": "two"}),
        ({"space": "one"}, {}),
        ({}, {"space": "two"}),
        ({"space": "one"}, None),
        (None, {"space": "two"}),
    ],
    ids=["changed", "removed", "set", "memory removed", "memory set"],
)
def test_a_groups_space_stays(server: ApiServer, before: dict[str, str] | None, after: dict[str, str] | None) -> None:
    name = "space-stays"
    server.kubectl("delete", *NAMESPACE, "rg", name, "--ignore-not-found", "--wait")
    spec: dict[str, object] = {"active": [{"name": "a"}]}
    server.kubectl(
        "apply", *NAMESPACE, "-f", "-", stdin=_group(name, spec | ({"memory": before} if before is not None else {}))
    )
    changed = _group(name, spec | ({"memory": after} if after is not None else {}))
    done = server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=changed, check=False)
    assert done.returncode != 0
    assert "spec.memory.space cannot be set, changed or removed while the group exists" in done.stderr
    assert "make a new RobotGroup with the other space, and export and import the memories" in done.stderr
    same = spec | {"memory": (before or {}) | {"eviction": "fifo"}}
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group(name, same))


def test_prints_the_columns_and_scales(server: ApiServer) -> None:
    spec = {"active": [{"name": "agent-1"}, {"name": "agent-2"}], "passive": [{"name": "backup"}]}
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("columns", spec))
    status = {
        "phase": "Ready",
        "active": ["agent-1", "agent-2"],
        "activeNames": "agent-1,agent-2",
        "passive": ["backup"],
        "passiveNames": "backup",
        "workingMemoryNodes": 3,
        "tokenUtilization": 0.15,
        "inSync": True,
        "epoch": 7,
        "revision": 123,
        "replicas": 1,
        "selector": "robotgroups.dev/group=columns",
        "lastFailover": {"promotedAt": "2026-01-01T00:00:00.123456Z"},
    }
    patch = json.dumps({"status": status})
    server.kubectl("patch", *NAMESPACE, "rg", "columns", "--subresource=status", "--type=merge", "-p", patch)
    head, row = server.kubectl("get", *NAMESPACE, "rg", "columns").stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "ACTIVE", "PASSIVE", "NODES", "UTIL", "SYNC", "AGE"]
    assert row.split()[:-1] == ["columns", "Ready", "agent-1,agent-2", "backup", "3", "0.15", "true"]
    wide, row = server.kubectl("get", *NAMESPACE, "robotgroups", "columns", "-o", "wide").stdout.splitlines()
    assert wide.split()[7:] == ["EPOCH", "REVISION", "LAST-FAILOVER", "AGE"]
    assert row.split()[7:9] == ["7", "123"]
    server.kubectl("scale", *NAMESPACE, "rg/columns", "--replicas=2")
    scale = json.loads(
        server.kubectl(
            "get", "--raw", "/apis/robotgroups.dev/v1alpha1/namespaces/default/robotgroups/columns/scale"
        ).stdout
    )
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "robotgroups.dev/group=columns"}


def test_is_listed_by_its_category(server: ApiServer) -> None:
    server.kubectl("apply", *NAMESPACE, "-f", "-", stdin=_group("categorized", {"active": [{"name": "a"}]}))
    assert "robotgroup.robotgroups.dev/categorized" in server.kubectl("get", *NAMESPACE, "all", "-o", "name").stdout


def _group(name: str, spec: Mapping[str, object]) -> str:
    document = {
        "apiVersion": "robotgroups.dev/v1alpha1",
        "kind": "RobotGroup",
        "metadata": {"name": name},
        "spec": spec,
    }
    return json.dumps(document)
