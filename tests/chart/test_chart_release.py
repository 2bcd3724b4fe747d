"""A release on a real API server: the password stays, the resource is kept and upgraded, the volume cannot change."""

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from api_server import ApiServer
from programs import Helm

CRD = "robotgroups.robotgroups.dev"
SYSTEM = "robotgroups-system"


class Release:
    """A release of the chart on a server; `apply` installs or upgrades it."""

    def __init__(self, helm: Helm, chart: Path, server: ApiServer) -> None:
        self._helm, self._chart, self._server = helm, chart, server

    def apply(self, *values: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        settings = [argument for value in values for argument in ("--set", value)]
        done = self._run("upgrade", "--install", "robotgroups", self._chart, "--create-namespace", *settings)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def uninstall(self) -> str:
        return self._run("uninstall", "robotgroups", "--ignore-not-found").stdout

    def secret(self) -> dict[str, str]:
        data = self._server.get("-n", SYSTEM, "secret", "robotgroups-postgres")["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def _run(self, *args: object) -> subprocess.CompletedProcess[str]:
        return self._helm(*args, "-n", SYSTEM, "--kubeconfig", self._server.kubeconfig)


@pytest.fixture
def release(helm: Helm, chart: Path, api_server: ApiServer) -> Iterator[Release]:
    release = Release(helm, chart, api_server)
    yield release
    release.uninstall()
    api_server.kubectl("delete", "crd", CRD, "--ignore-not-found", "--wait")


ALLOWED = {
    ("robotgroups.robotgroups.dev", "get list watch"),
    ("robotgroups.robotgroups.dev/status", "patch"),
    ("robotgroups.robotgroups.dev/finalizers", "update"),
    ("deployments.apps", "get list watch create patch delete"),
    ("services", "get list watch create patch delete"),
    ("serviceaccounts", "get list watch create patch delete"),
    ("secrets", "get create patch"),
    ("pods", "get list watch patch"),
    ("namespaces", "get"),
    ("customresourcedefinitions.apiextensions.k8s.io", "list watch"),
    ("events.events.k8s.io", "create"),
}
VERBS = ["get", "list", "watch", "create", "patch", "update", "delete", "deletecollection"]
WHOLE_CLUSTER = {"namespaces", "customresourcedefinitions.apiextensions.k8s.io"}


def rights(server: ApiServer, namespace: str) -> set[tuple[str, str]]:
    """What the operator's account may do to each kind in a namespace, as the API server answers."""
    account = f"system:serviceaccount:{SYSTEM}:robotgroups-operator"
    answer = server.kubectl("auth", "can-i", "--list", "--no-headers", "-n", namespace, "--as", account).stdout
    found = set()
    for line in answer.splitlines():
        if line.split()[0].startswith(("[", "selfsubject")):
            continue  # discovery, and questions about oneself: everybody's
        granted = line[line.rindex("[") + 1 : line.rindex("]")].split()
        found.add((line.split()[0], " ".join(verb for verb in VERBS if verb in granted or "*" in granted)))
    return found


def test_the_operator_may_do_what_it_needs_and_no_more(release: Release, api_server: ApiServer) -> None:
    release.apply()
    assert rights(api_server, "default") == ALLOWED


def test_the_operator_of_chosen_namespaces_has_no_rights_in_others(release: Release, api_server: ApiServer) -> None:
    for namespace in ("chosen", "other"):
        api_server.kubectl("create", "namespace", namespace)
    release.apply("operator.namespaces={chosen}")
    reading = {("namespaces", "get list watch"), ("customresourcedefinitions.apiextensions.k8s.io", "list watch")}
    assert rights(api_server, "other") == reading
    assert rights(api_server, "chosen") == reading | {right for right in ALLOWED if right[0] not in WHOLE_CLUSTER}


def test_generates_a_password_and_keeps_it(release: Release) -> None:
    release.apply()
    first = release.secret()
    assert len(first["password"]) == 40
    assert first["dsn"] == (
        f"postgresql://robotgroups_operator:{first['password']}@robotgroups-postgres.{SYSTEM}.svc:5432/robotgroups"
    )
    release.apply("operator.logLevel=DEBUG")
    assert release.secret() == first


def test_upgrades_the_resource(
    release: Release, helm: Helm, chart: Path, api_server: ApiServer, tmp_path: Path
) -> None:
    """What a later chart changes in the resource reaches the cluster by `helm upgrade`."""
    earlier = shutil.copytree(chart, tmp_path / "robotgroups")
    file = earlier / "files" / "robotgroups.yaml"
    resource = yaml.safe_load(file.read_text())
    del resource["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["suspend"]
    resource["spec"]["names"]["shortNames"] = ["robots"]
    file.write_text(yaml.safe_dump(resource))
    Release(helm, earlier, api_server).apply()
    assert api_server.get("crd", CRD)["spec"]["names"]["shortNames"] == ["robots"]
    release.apply()
    upgraded = api_server.get("crd", CRD)["spec"]
    assert upgraded["names"]["shortNames"] == ["rg"]
    assert "suspend" in upgraded["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def test_uninstall_keeps_the_resource_and_its_groups(release: Release, api_server: ApiServer, root: Path) -> None:
    release.apply()
    api_server.wait_until_served()
    api_server.kubectl("apply", "-n", "default", "-f", str(root / "crds" / "samples" / "support-team.yaml"))
    assert f"[CustomResourceDefinition] {CRD}" in release.uninstall()
    groups = api_server.get("-n", "default", "robotgroups")["items"]
    assert [group["metadata"]["name"] for group in groups] == ["support-team"]
    release.apply()  # takes over what it left


def test_installs_nothing_in_the_place_of_anothers_data(release: Release, api_server: ApiServer) -> None:
    first = release.apply()
    assert "THEY ARE LOST WHEN ITS POD IS DELETED" in first.stdout
    refused = release.apply("postgres.persistence.type=hostPath", check=False)
    assert refused.returncode != 0
    assert "postgres.persistence.type cannot change from emptyDir to hostPath" in refused.stderr
    # A StorageClass that appears later does not move an existing release either.
    storage_class = (
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: standard, annotations: "
        "{storageclass.kubernetes.io/is-default-class: 'true'}}, provisioner: example.org/none}"
    )
    api_server.kubectl("apply", "-f", "-", stdin=storage_class)
    release.apply()
    stateful_set = api_server.get("-n", SYSTEM, "statefulset", "robotgroups-postgres")
    assert stateful_set["metadata"]["annotations"]["robotgroups.dev/persistence"] == "emptyDir"
    release.uninstall()
    assert "outlives `helm uninstall`" in release.apply().stdout
    stateful_set = api_server.get("-n", SYSTEM, "statefulset", "robotgroups-postgres")
    assert [claim["metadata"]["name"] for claim in stateful_set["spec"]["volumeClaimTemplates"]] == ["data"]
    api_server.kubectl("delete", "storageclass", "standard")
