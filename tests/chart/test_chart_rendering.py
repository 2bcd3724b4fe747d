"""`helm lint`, what the chart renders (golden files), and what its schema refuses.

After a wanted change of the chart run `UPDATE_GOLDEN=1 .venv/bin/pytest tests/chart`, then read the diff.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from programs import Helm

KUBERNETES = "1.35.0"
EXTERNAL = (
    "postgres.enabled=false",
    "database.existingSecret=our-postgres",
    "database.existingSecretKey=uri",
    "database.caKey=root.pem",
)
CASES = {
    "default": (),
    "claim": (
        "postgres.persistence.type=pvc",
        "postgres.persistence.storageClass=fast",
        "postgres.settings.work_mem=8MB",
    ),
    "host-path": (
        "postgres.persistence.type=hostPath",
        r"postgres.nodeSelector.kubernetes\.io/hostname=node1",
        "networkPolicy.enabled=true",
    ),
    "external-database": EXTERNAL,
    "chosen-namespaces": (
        "operator.namespaces={support,queries}",
        "image.operator.tag=1.2.3",
        "image.robotLocal.repository=registry.example/robot-local",
        "image.robotLocal.tag=1.2.4",
        "image.robot.pullPolicy=Never",
    ),
}
REFUSED = [
    (("postgres.enabled=false",), "there is no database: set postgres.enabled=true"),
    (("database.existingSecret=ours",), "postgres.enabled and database.existingSecret exclude each other"),
    (("operator.replicas=2",), "at '/operator/replicas': maximum"),
    (("operator.loglevel=INFO",), "additional properties 'loglevel' not allowed"),
    (("operator.logLevel=LOUD",), "at '/operator/logLevel'"),
    (("operator.resyncSeconds=often",), "at '/operator/resyncSeconds'"),
    (("postgres.settings.fsync=off",), "invalid propertyName 'fsync'"),
    (("postgres.settings.synchronous_commit=off",), "invalid propertyName 'synchronous_commit'"),
    (("postgres.persistence.type=nfs",), "at '/postgres/persistence/type'"),
    (("postgres.persistence.hostPath=data",), "at '/postgres/persistence/hostPath'"),
    (("image.robot.repository=",), "at '/image/robot/repository'"),
    (("image.operator.pullPolicy=Sometimes",), "at '/image/operator/pullPolicy'"),
    (("unknown=1",), "additional properties 'unknown' not allowed"),
]


def settings(values: tuple[str, ...]) -> list[str]:
    return [argument for value in values for argument in ("--set", value)]


def render(helm: Helm, chart: Path, *values: str) -> str:
    done = helm(
        "template", "robotgroups", chart, "-n", "robotgroups-system", "--kube-version", KUBERNETES, *settings(values)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(text) if d}


@pytest.mark.parametrize("case", CASES)
def test_lints_without_a_warning(helm: Helm, chart: Path, case: str) -> None:
    done = helm("lint", "--strict", chart, "--kube-version", KUBERNETES, *settings(CASES[case]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("case", CASES)
def test_renders_the_golden_file(helm: Helm, chart: Path, root: Path, case: str) -> None:
    rendered = render(helm, chart, "crds.install=false", *CASES[case])
    # The password is new at every rendering; in a cluster `lookup` keeps it.
    seen, passwords = re.subn(r"(password: |_operator:)[A-Za-z0-9]{40}\b", r"\1GENERATED", rendered)
    assert passwords == (0 if CASES[case] is EXTERNAL else 2)
    golden = root / "tests" / "fixtures" / "chart" / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(seen)
    assert seen == golden.read_text(), f"{golden} differs; the docstring of this module says how to update it"


def test_installs_the_resource_of_crds_and_keeps_it(helm: Helm, chart: Path, root: Path) -> None:
    rendered = documents(render(helm, chart))[("CustomResourceDefinition", "robotgroups.robotgroups.dev")]
    source = yaml.safe_load((root / "crds" / "robotgroups.yaml").read_text())
    assert rendered["spec"] == source["spec"]
    assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert ("CustomResourceDefinition", source["metadata"]["name"]) not in documents(
        render(helm, chart, "crds.install=false")
    )


@pytest.mark.parametrize("case", CASES)
def test_every_pod_is_restricted(helm: Helm, chart: Path, case: str) -> None:
    """The pod security standard `restricted`; alone the directory of a node needs one container that may chown."""
    pods = 0
    for (kind, name), document in documents(render(helm, chart, *CASES[case])).items():
        if kind not in ("Deployment", "StatefulSet", "Pod"):
            continue
        pods += 1
        spec = document["spec"] if kind == "Pod" else document["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]
        as_root = [c["name"] for c in spec.get("initContainers", [])]
        assert as_root == (["own-data"] if case == "host-path" and name == "robotgroups-postgres" else [])
    assert pods == (2 if CASES[case] is EXTERNAL else 3)


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_refuses(helm: Helm, chart: Path, values: tuple[str, ...], message: str) -> None:
    done = helm("template", "robotgroups", chart, "--kube-version", KUBERNETES, *settings(values))
    assert done.returncode != 0
    assert message in done.stderr


def test_schema_knows_every_value_and_values_explain_each(chart: Path) -> None:
    """Every key of values.yaml is in the schema and the other way round, and has a comment above it."""
    schema = json.loads((chart / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    lines = (chart / "values.yaml").read_text().splitlines()

    def compare(values: dict[str, Any], part: dict[str, Any], path: str) -> None:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        known = part.get("properties")
        if known is None:
            return
        assert set(values) == set(known) - {"global"}, path
        for key, value in values.items():
            if isinstance(value, dict) and value:
                compare(value, known[key], f"{path}.{key}")

    compare(yaml.safe_load("\n".join(lines)), schema, "values")
    for number, line in enumerate(lines):
        leaf = re.fullmatch(r" *[a-zA-Z]+: \S.*", line)
        if leaf and lines[number - 1].strip().startswith(("cpu:", "requests:", "limits:")):
            continue
        if leaf and not line.strip().startswith(("cpu:", "memory:")):
            assert lines[number - 1].strip().startswith("#"), f"values.yaml:{number + 1} has no comment: {line}"
