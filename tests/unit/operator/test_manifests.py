"""The manifests of a group's children against golden files in tests/fixtures/operator/manifests.

After a wanted change: `ROBOTGROUPS_WRITE_GOLDEN=1 pytest tests/unit/operator/test_manifests.py`, and read the diff.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from operator_values import DEFAULTS, IDENTITY, group

from robotgroups_operator.children import desired_children
from robotgroups_operator.local_model import local_model_problem
from robotgroups_operator.manifests.access import Credentials, read_credentials, secret
from robotgroups_operator.manifests.identity import RobotDefaults
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
    "models": {
        "active": [{"name": "first"}],
        "memory": {
            "embedding": {
                "provider": "openai",
                "model": "text-embedding-3-small",
                "dimensions": 1536,
                "apiKeySecretRef": {"name": "openai", "key": "api-key"},
            },
            "extraction": {
                "provider": "openai",
                "model": "gpt-4o-mini",
                "tags": True,
                "apiKeySecretRef": {"name": "other", "key": "token"},
            },
        },
    },
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
    assert repr(credentials) == "Credentials(rotation=None)"
    assert manifest["metadata"]["name"] == "team-robotgroups"


@pytest.mark.parametrize(
    "data", [None, {}, {"dsn": "eA=="}, {"dsn": "eA==", "token": ""}, {"dsn": "?", "token": "eA=="}]
)
def test_a_broken_secret_has_no_credentials(data: dict[str, str] | None) -> None:
    assert read_credentials({"metadata": {}, "data": data}) is None


def test_a_robot_leaves_a_lost_node_soon_unless_its_template_says() -> None:
    keys = [toleration["key"] for toleration in with_quick_eviction(())]
    assert keys == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    mine = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 5}
    assert [t.get("tolerationSeconds") for t in with_quick_eviction((mine,))] == [5, 30]
    assert with_quick_eviction(({"operator": "Exists"},)) == [{"operator": "Exists"}]


def images(spec: dict[str, Any], defaults: RobotDefaults) -> list[str]:
    deployments = [manifest for _, manifest in desired_children(replace(group(spec), defaults=defaults))[2:]]
    return [body["spec"]["template"]["spec"]["containers"][0]["image"] for body in deployments]


def test_the_image_is_the_operators_where_no_template_names_one() -> None:
    with_model = replace(DEFAULTS, local_model_image="registry.example/robot-local:1")
    mine = {"active": [{"name": "first"}, {"name": "mine", "template": {"image": "mine:1"}}]}
    local = mine | {"memory": {"embedding": {"provider": "local"}}}
    assert images(mine, DEFAULTS) == ["registry.example/robot:1", "mine:1"]
    assert images(mine, with_model) == ["registry.example/robot:1", "mine:1"]
    assert images(local, with_model) == ["registry.example/robot-local:1", "mine:1"]
    assert images(local, DEFAULTS) == ["registry.example/robot:1", "mine:1"]


def test_an_image_without_the_model_is_told() -> None:
    spec: dict[str, Any] = {
        "active": [{"name": "first"}, {"name": "mine", "template": {"image": "mine:1"}}],
        "passive": [{"name": "second"}],
        "memory": {"embedding": {"provider": "local"}},
    }
    problem = local_model_problem(group(spec))
    assert problem is not None
    assert problem.reason == "LocalModelMissing"
    assert "the image of first, second has no model: install the operator with image.robotLocal" in problem.message
    with_model = replace(DEFAULTS, local_model_image="registry.example/robot-local:1")
    assert local_model_problem(replace(group(spec), defaults=with_model)) is None
    assert local_model_problem(group(spec | {"template": {"image": "mine:1"}})) is None
    assert local_model_problem(group(CASES["simple"])) is None


def test_marks_are_annotations_of_the_pods() -> None:
    marked = replace(group(CASES["full"]), marks=(("robotgroups.dev/login", "2"),))
    deployment = desired_children(marked)[2][1]
    metadata = deployment["spec"]["template"]["metadata"]
    assert metadata["annotations"] == {"note": "mine", "robotgroups.dev/login": "2"}
    digest, unmarked = (
        body["metadata"]["annotations"] for body in (deployment, desired_children(group(CASES["full"]))[2][1])
    )
    assert digest != unmarked


def test_a_request_for_rotation_is_kept_in_the_secret() -> None:
    manifest = secret(IDENTITY, Credentials("host=db", "t0ken", rotation="monday"))
    assert manifest["metadata"]["annotations"] == {"robotgroups.dev/rotate-credentials": "monday"}
    assert read_credentials(manifest) == Credentials("host=db", "t0ken", rotation="monday")
    assert "annotations" not in secret(IDENTITY, Credentials("host=db", "t0ken"))["metadata"]
