"""The release on the cluster that CLUSTER and KUBECONFIG choose, installed once; namespaces of the tests' own."""

import secrets
from collections.abc import Generator, Iterator
from functools import partial

import pytest
from on_cluster import HOSTNAME, Stage, last_words

from clusters import choose
from demo import release
from demo.kube import Kube, wait_until
from images import record

POSTGRES_CLAIM = f"/api/v1/namespaces/{release.NAMESPACE}/persistentvolumeclaims/data-{release.NAME}-postgres-0"

RESYNC_SECONDS = 10  # a deleted Secret, which the operator does not watch, is put back by then
NAMESPACES = ("namespace", "shared_namespace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster, and may wait longer than a unit test."""
    for item in items:
        if "/tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure brings the last words of the operator and of the test's robots."""
    report = yield
    found = getattr(item, "funcargs", {})
    if report.failed and "stage" in found:
        for namespace in {release.NAMESPACE, *(found[name] for name in NAMESPACES if name in found)}:
            report.sections.append((f"logs in {namespace}", last_words(found["stage"].kube, namespace)))
    return report


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Installs the release with Postgres and operator on one node; uninstalls it unless it was there before."""
    cluster = choose()
    kube = Kube(cluster.environment())
    images = record.read()
    home, away = _nodes(kube)
    was_there = release.status(kube) is not None
    values = release.values_of(images)
    values["operator"] = {"nodeSelector": {HOSTNAME: home}, "resyncSeconds": RESYNC_SECONDS}
    values["postgres"]["nodeSelector"] = {HOSTNAME: home}
    release.install(kube, values)
    yield Stage(cluster, kube, images["robot"].name, home, away)
    if not was_there:
        release.uninstall(kube)


def _nodes(kube: Kube) -> tuple[str, str]:
    """The node of Postgres' volume, if it has one already, and another node."""
    names = sorted(node["metadata"]["labels"][HOSTNAME] for node in kube.listing("/api/v1/nodes") if _takes_pods(node))
    if len(names) < 2:
        pytest.fail(f"the end-to-end tests need two nodes that take pods, not {names}")
    claim = kube.get(POSTGRES_CLAIM) or {"metadata": {}}
    home = claim["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node", names[0])
    return home, next(name for name in names if name != home)


def _takes_pods(node: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    return all(taint["effect"] == "PreferNoSchedule" for taint in node["spec"].get("taints", []))


def _make_namespace(kube: Kube) -> str:
    name = f"e2e-{secrets.token_hex(4)}"
    kube.kubectl("create", "namespace", name)
    return name


@pytest.fixture(scope="session")
def _doomed_namespaces(stage: Stage) -> Iterator[list[str]]:
    """Namespaces that the tests have deleted: at the end all of them must be gone."""
    names: list[str] = []
    yield names
    wait_for_the_end(stage.kube, names)


@pytest.fixture(scope="module")
def quiet(stage: Stage, _doomed_namespaces: list[str]) -> None:
    """Earlier tests' pods have ended: what is measured has the machine to itself."""
    wait_for_the_end(stage.kube, _doomed_namespaces)


def wait_for_the_end(kube: Kube, namespaces: list[str]) -> None:
    """Waits until deleted namespaces are gone, and forgets them."""
    while namespaces:
        wait_until(f"end of namespace {namespaces[-1]}", 120, partial(_is_gone, kube, namespaces[-1]))
        namespaces.pop()


def _is_gone(kube: Kube, name: str) -> bool:
    return kube.get(f"/api/v1/namespaces/{name}") is None


def _delete_namespace(kube: Kube, name: str, doomed: list[str]) -> None:
    kube.delete(f"/api/v1/namespaces/{name}")
    doomed.append(name)


@pytest.fixture
def namespace(stage: Stage, _doomed_namespaces: list[str]) -> Iterator[str]:
    """A new namespace, deleted after the test."""
    name = _make_namespace(stage.kube)
    yield name
    _delete_namespace(stage.kube, name, _doomed_namespaces)


@pytest.fixture(scope="module")
def shared_namespace(stage: Stage, _doomed_namespaces: list[str]) -> Iterator[str]:
    """A namespace for a module whose tests share groups."""
    name = _make_namespace(stage.kube)
    yield name
    _delete_namespace(stage.kube, name, _doomed_namespaces)
