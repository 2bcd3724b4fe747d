"""One run of the demo: release, group, walk; and what is cleaned up."""

from clusters.interface import Cluster
from demo import release
from demo.client import GroupClient
from demo.diagnosis import explain_namespace
from demo.groups import SAMPLES, Group, seconds_to_ready
from demo.kube import Kube, wait_until
from demo.report import Report, Seen
from demo.walk import PRIMARY, STANDBY, Walk
from images import record
from localcluster.console import ClusterError

NAMESPACE = "robotgroups-demo"
OWNED_BY = {"app.kubernetes.io/managed-by": "robotgroups-demo"}
GROUP = "customer-support"
DELETION_SECONDS = 120


def run(cluster: Cluster, report: Report) -> None:
    """Everything after cluster and images are there; a ClusterError ends it, with its row in the report."""
    images = record.read()
    kube = Kube(cluster.environment())
    kube.get("/version")  # a cluster that does not answer is told as such, before helm does it its way
    group = Group(kube, NAMESPACE, GROUP)
    values = release.values_of(images)
    report.step(
        "helm upgrade --install robotgroups",
        "operator and Postgres are up",
        lambda: _installed(kube, release.install(kube, values)),
        first_time="1 min",
    )
    report.step("a fresh namespace", "nothing left of an earlier demo", lambda: _fresh_namespace(kube))
    report.step(
        "kubectl apply -f crds/samples/customer-support.yaml",
        f"Ready: {PRIMARY} active, {STANDBY} passive",
        lambda: _ready(group),
        first_time="15 s",
    )
    with GroupClient(kube, NAMESPACE, GROUP, images["robot"].name) as client:
        Walk(cluster, group, client, report).run()


def _installed(kube: Kube, revision: int) -> Seen:
    found = kube.get(f"/apis/apps/v1/namespaces/{release.NAMESPACE}/statefulsets/{release.NAME}-postgres")
    if found is None:
        return Seen(False, "there is no StatefulSet of Postgres")
    where = found["metadata"]["annotations"]["robotgroups.dev/persistence"]
    lasting = {"pvc": "a PersistentVolumeClaim", "hostPath": "a directory of its node"}
    kept = lasting.get(where, f"{where}: LOST when Postgres' pod is deleted")
    return Seen(True, f"release {release.NAME}, revision {revision}; memories are kept in {kept}")


def _fresh_namespace(kube: Kube) -> Seen:
    """The state that every run starts from: a new namespace is a new group, with nothing remembered."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    old = kube.get(path)
    if old is not None:
        if not OWNED_BY.items() <= old["metadata"].get("labels", {}).items():
            raise ClusterError(f"namespace {NAMESPACE} is not the demo's: rename or delete it, then run the demo again")
        kube.delete(path)
        wait_until(
            f"end of the namespace {NAMESPACE} of an earlier demo",
            DELETION_SECONDS,
            lambda: kube.get(path) is None,
            explain=lambda: explain_namespace(kube, NAMESPACE),
        )
    kube.kubectl("create", "namespace", NAMESPACE)
    kube.kubectl("label", "namespace", NAMESPACE, *(f"{key}={value}" for key, value in OWNED_BY.items()))
    return Seen(True, f"namespace {NAMESPACE} is new" + (" (the earlier one was deleted)" if old else ""))


def _ready(group: Group) -> Seen:
    group.kube.kubectl("-n", group.namespace, "apply", "--filename", str(SAMPLES / f"{group.name}.yaml"))
    status = group.wait_ready()
    nodes = {robot["name"]: robot["node"] for robot in status["robots"]}
    slowest = max(seconds_to_ready(group.pod(robot)) for robot in (PRIMARY, STANDBY))
    return Seen(
        status["active"] == [PRIMARY] and status["passive"] == [STANDBY],
        f"active {status['active']} on {nodes[PRIMARY]}, passive {status['passive']} on {nodes[STANDBY]}; "
        f"robots Ready {slowest:.0f} s after their start",
    )
