"""The manifests of a group's children against golden files in tests/fixtures/operator/manifests.

After a wanted change: `ROBOTGROUPS_WRITE_GOLDEN=1 pytest tests/unit/operator/test_manifests.py`, and read the diff.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from operator_values import DEFAULTS, IDENTITY, group

from robotgroups_operator.children import desired_children
from robotgroups_operator.manifests.access import Credentials, read_credentials, secret
from robotgroups_operator.manifests.scheduling import with_quick_eviction

GOLDEN = Path(__file__).parents[2] / "fixtures" / "operator" / "manifests"
FULL_TEMPLATE = {
    "image": "registry.example/mine:2",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "pull"}],
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
    "env": [{"name": "MODEL", "value": "small"}, {"name": "ROBOTGROUPS_LOG_LEVEL", "value": "debug"}],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
    "labels": {"team": "support"},
    "annotations": {"note": "mine"},
    "priorityClassName": "high",
    "terminationGracePeriodSeconds": 60,
    "extraContainers": [{"name": "side", "image": "registry.example/side:1"}],
    "volumes": [{"name": "data", "emptyDir": {}}],
}
CASES: dict[str, dict[str, Any]] = {
    "simple": {"active": [{"name": "first"}], "passive": [{"name": "second"}]},
    "full": {
        "active": [{"name": "first", "template": {"env": [{"name": "MODEL", "value": "large"}]}}],
        "replicas": 1,
        "template": FULL_TEMPLATE,
    },
    "suspended": {"active": [{"name": "first"}], "suspend": True},
}


@pytest.mark.parametrize("case", CASES)
def test_children(case: str) -> None:
    found = [manifest for _, manifest in desired_children(group(CASES[case]))]
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("ROBOTGROUPS_WRITE_GOLDEN"):
        path.write_text(yaml.safe_dump_all(found, sort_keys=False, width=120))
    assert found == list(yaml.safe_load_all(path.read_text()))


def test_every_kind_knows_itself() -> None:
    for kind, manifest in desired_children(group(CASES["full"])):
        assert (manifest["apiVersion"], manifest["kind"]) == (kind.value.api_version, kind.value.kind)


def test_secrets_are_read_as_written_and_never_printed() -> None:
    credentials = Credentials("host=db password=hunter2", "t0ken")
    manifest = secret(IDENTITY, credentials)
    assert read_credentials(manifest) == credentials
    assert repr(credentials) == "Credentials()"
    assert manifest["metadata"]["name"] == "team-robotgroups"


@pytest.mark.parametrize(
    "data", [None, {}, {"dsn": "eA=="}, {"dsn": "eA==", "token": ""}, {"dsn": "?", "token": "eA=="}]
)
def test_a_broken_secret_has_no_credentials(data: dict[str, str] | None) -> None:
    assert read_credentials({"data": data}) is None


def test_a_robot_leaves_a_lost_node_soon_unless_its_template_says() -> None:
    keys = [toleration["key"] for toleration in with_quick_eviction(())]
    assert keys == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    mine = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 5}
    assert [t.get("tolerationSeconds") for t in with_quick_eviction((mine,))] == [5, 30]
    assert with_quick_eviction(({"operator": "Exists"},)) == [{"operator": "Exists"}]


def test_the_image_is_the_operators_where_no_template_names_one() -> None:
    deployment = desired_children(group(CASES["simple"]))[2][1]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == DEFAULTS.image
