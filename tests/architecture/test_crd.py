"""The resource's definition: described, strict, bounded, and the same in crds/ and in the chart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "crds" / "robotgroups.yaml"
COPY = ROOT / "charts" / "robotgroups" / "files" / "robotgroups.yaml"
SAMPLES = sorted((ROOT / "crds" / "samples").glob("*.yaml"))
BAD = sorted((ROOT / "tests" / "fixtures" / "bad-manifests").glob("*.yaml"))

Schema = dict[str, Any]

# Where an object of Kubernetes is embedded; everywhere else an unknown field is refused.
EMBEDDED = {
    "affinity.nodeAffinity",
    "affinity.podAffinity",
    "affinity.podAntiAffinity",
    "extraContainers[]",
    "volumes[]",
}
# The use cases of the page, and groups that share a space: active and passive robots, and the budget.
USE_CASES = {
    "customer-support": (["support-primary"], ["support-standby"], 8000),
    "support-team": (["agent-1", "agent-2", "agent-3"], ["backup-agent"], 16000),
    "query-handlers": (["handler-1", "handler-2"], [], 8000),
    "primary-with-dr": (["primary"], ["dr-standby"], 32000),
    "sales": (["sales-agent"], ["sales-standby"], 16000),
    "billing": (["billing-agent"], [], 8000),
}
SHARED_SPACES = {"customers": {"sales", "billing"}}


@pytest.fixture(scope="module")
def version() -> Schema:
    document = yaml.safe_load(SOURCE.read_text())
    [only] = document["spec"]["versions"]
    assert isinstance(only, dict)
    return only


@pytest.fixture(scope="module")
def schema(version: Schema) -> Schema:
    root = version["schema"]["openAPIV3Schema"]
    assert isinstance(root, dict)
    return root


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema below this one with its path: `spec.active[].name`, `spec.template.labels{}`."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from walk(part, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


def test_the_charts_copy_has_not_drifted() -> None:
    assert COPY.read_text() == SOURCE.read_text(), f"run: cp {SOURCE.relative_to(ROOT)} {COPY.relative_to(ROOT)}"


def test_every_field_is_described(schema: Schema) -> None:
    # The API server allows no description of metadata.
    missing = [path for path, part in walk(schema) if path != "metadata" and not part.get("description")]
    assert missing == []


def test_unknown_fields_are_refused_but_where_kubernetes_is_embedded(schema: Schema) -> None:
    open_parts = {path for path, part in walk(schema) if part.get("x-kubernetes-preserve-unknown-fields")}
    templates = ("spec.template", "spec.active[].template", "spec.passive[].template")
    assert open_parts == {f"{template}.{path}" for template in templates for path in EMBEDDED}


def test_every_object_has_its_fields_listed(schema: Schema) -> None:
    vague = [
        path
        for path, part in walk(schema)
        if part.get("type") == "object"
        and path != "metadata"
        and not ({"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(part))
    ]
    assert vague == []


def test_whatever_a_person_writes_is_bounded(schema: Schema) -> None:
    """The API server must be able to bound the cost of the rules, and a group's size."""
    unbounded = []
    for path, part in walk(schema["properties"]["spec"], "spec"):
        kind = part.get("type")
        if kind == "array" and "maxItems" not in part:
            unbounded.append(path)
        if kind == "string" and not {"maxLength", "enum"} & set(part):
            unbounded.append(path)
        if "additionalProperties" in part and "maxProperties" not in part:
            unbounded.append(path)
    assert unbounded == []


def test_every_rule_has_a_message(schema: Schema) -> None:
    rules = [rule for _, part in walk(schema) for rule in part.get("x-kubernetes-validations", [])]
    assert len(rules) > 10
    assert [rule["rule"] for rule in rules if not rule.get("message")] == []


def test_a_template_has_no_defaults(schema: Schema) -> None:
    """A default in a robot's template would override what the group's template says."""
    template = schema["properties"]["spec"]["properties"]["template"]
    assert [path for path, part in walk(template) if "default" in part] == []


def test_columns_subresources_and_names(version: Schema) -> None:
    columns = [(c["name"].upper(), c.get("priority", 0)) for c in version["additionalPrinterColumns"]]
    assert columns == [
        *((name, 0) for name in ("PHASE", "ACTIVE", "PASSIVE", "NODES", "UTIL", "SYNC")),
        *((name, 1) for name in ("EPOCH", "REVISION", "LAST-FAILOVER")),
        ("AGE", 0),
    ]
    assert version["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    names = yaml.safe_load(SOURCE.read_text())["spec"]["names"]
    assert (names["kind"], names["plural"], names["shortNames"]) == ("RobotGroup", "robotgroups", ["rg"])
    assert names["categories"] == ["robotgroups", "all"]


def test_columns_show_fields_of_the_status(version: Schema, schema: Schema) -> None:
    fields = {f".{path}" for path, _ in walk(schema)} | {".metadata.creationTimestamp"}
    assert [c["jsonPath"] for c in version["additionalPrinterColumns"] if c["jsonPath"] not in fields] == []


@pytest.mark.parametrize("name", USE_CASES)
def test_samples_are_the_pages_use_cases(schema: Schema, name: str) -> None:
    sample = samples()[name]
    jsonschema.validate(sample, schema)
    active, passive, max_tokens = USE_CASES[name]
    assert [robot["name"] for robot in sample["spec"]["active"]] == active
    assert [robot["name"] for robot in sample["spec"].get("passive", ())] == passive
    assert sample["spec"]["maxTokens"] == max_tokens


def samples() -> dict[str, Schema]:
    """Every group of the samples, by name."""
    documents = [document for path in SAMPLES for document in yaml.safe_load_all(path.read_text())]
    return {document["metadata"]["name"]: document for document in documents}


def test_no_sample_is_forgotten() -> None:
    assert set(samples()) == set(USE_CASES)
    spaces: dict[str, set[str]] = {}
    for name, sample in samples().items():
        if space := sample["spec"].get("memory", {}).get("space"):
            spaces.setdefault(space, set()).add(name)
    assert spaces == SHARED_SPACES


def test_every_bad_manifest_says_how_it_is_refused() -> None:
    assert len(BAD) > 20
    for path in BAD:
        head = path.read_text().splitlines()[0]
        assert head.startswith("# refused: "), path.name
        assert len(head) > len("# refused: ") + 10, path.name
        assert yaml.safe_load(path.read_text())["kind"] == "RobotGroup"
