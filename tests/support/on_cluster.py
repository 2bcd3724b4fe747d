"""What the end-to-end tests ask of the cluster: groups, kills, writing loads, and what Postgres really holds."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clusters.interface import Cluster
from demo import release
from demo.client import GroupClient
from demo.groups import Group
from demo.kube import JsonObject, Kube, wait_until
from localcluster.console import ClusterError

POSTGRES = f"{release.NAME}-postgres-0"
OPERATOR = f"/apis/apps/v1/namespaces/{release.NAMESPACE}/deployments/{release.NAME}-operator"
HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True)
class Written:
    """What a load wrote: contents acknowledged (each once), and the seconds that it took."""

    acknowledged: tuple[str, ...]
    refused: tuple[str, ...]
    seconds: float
    longest_gap_ms: float


@dataclass(frozen=True)
class Stage:
    """The cluster with the release on it. Postgres and operator are on node `home`; `away` is another one."""

    cluster: Cluster
    kube: Kube
    robot_image: str
    home: str
    away: str

    def apply(self, namespace: str, name: str, spec: JsonObject) -> Group:
        """`kubectl apply` of a RobotGroup."""
        head = {"apiVersion": "robotgroups.dev/v1alpha1", "kind": "RobotGroup", "metadata": {"name": name}}
        self.kube.kubectl("-n", namespace, "apply", "--filename", "-", stdin=json.dumps(head | {"spec": spec}))
        return Group(self.kube, namespace, name)

    def client(self, group: Group) -> GroupClient:
        """A client of the group's Service in a pod on the home node."""
        return GroupClient(
            self.kube, group.namespace, group.name, self.robot_image, node=self.home, name=f"client-of-{group.name}"
        )

    def kill(self, group: Group, robot: str) -> None:
        """SIGKILL to the robot's process, on its node."""
        pod = group.pod(robot)["metadata"]["name"]
        self.cluster.send_signal(group.namespace, pod, "robot", signal.SIGKILL)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a SELECT, asked in Postgres' own pod."""
        inner = f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) q"
        command = ["exec", POSTGRES, "-c", "postgres", "--", "psql", "-h", "/var/run/postgresql", "-U", "postgres"]
        answer = self.kube.kubectl(
            "-n", release.NAMESPACE, *command, "-d", "robotgroups", "-v", "ON_ERROR_STOP=1", "-Atc", inner
        )
        found: list[dict[str, Any]] = json.loads(answer)
        return found

    def namespace_uid(self, namespace: str) -> str:
        """The UID under which Postgres knows the namespace's groups."""
        found = self.kube.get(f"/api/v1/namespaces/{namespace}")
        if found is None:
            raise LookupError(f"there is no namespace {namespace}")
        return str(found["metadata"]["uid"])

    def memories(self, group: Group) -> list[dict[str, Any]]:
        """Every row of the group's long-term memory: content, remember_count, originator."""
        return self.rows(
            "SELECT m.content, m.remember_count, m.originator FROM robotgroups.memories m "
            f"JOIN robotgroups.groups g ON g.id = m.group_id WHERE {self._is(group)}"
        )

    def logins(self, group: Group) -> tuple[str | None, str | None]:
        """The group's login, and the previous one while it is being rotated."""
        found = self.rows(f"SELECT g.login, g.previous_login FROM robotgroups.groups g WHERE {self._is(group)}")
        return found[0]["login"], found[0]["previous_login"]

    def events(self, group: Group, reason: str) -> list[str]:
        """What the Events of a group with this reason say."""
        found = self.kube.listing(f"/apis/events.k8s.io/v1/namespaces/{group.namespace}/events")
        return [e["note"] for e in found if (e["reason"], e["regarding"]["name"]) == (reason, group.name)]

    def failovers(self, group: Group) -> list[dict[str, Any]]:
        """The group's recorded failovers and switchovers, oldest first."""
        return self.rows(
            "SELECT f.kind, f.source, f.target, f.detected_by, f.reason FROM robotgroups.failovers f "
            f"JOIN robotgroups.groups g ON g.id = f.group_id WHERE {self._is(group)} ORDER BY f.id"
        )

    def _is(self, group: Group) -> str:
        return f"g.namespace_uid = '{self.namespace_uid(group.namespace)}' AND g.name = '{group.name}'"

    def scale_operator(self, replicas: int) -> None:
        """Stops (0) or starts (1) the operator and waits until it is so."""
        self.kube.patch(OPERATOR, {"spec": {"replicas": replicas}})
        wait_until(f"{replicas} operators", 60, lambda: self._operators() == replicas)

    def _operators(self) -> int | None:
        labels = f"app.kubernetes.io/name=robotgroups-operator,app.kubernetes.io/instance={release.NAME}"
        pods = self.kube.pods(release.NAMESPACE, labels)
        ready = (self.kube.get(OPERATOR) or {}).get("status", {}).get("readyReplicas", 0)
        return ready if len(pods) == ready else None


@dataclass
class Load:
    """A writing load that runs in a client; `stop` ends it and says what was written."""

    client: GroupClient
    name: str
    written: Written | None = field(default=None)

    def count(self) -> int:
        """How many were acknowledged so far."""
        return int(self.client.call("load_count", name=self.name))

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Waits until so many were acknowledged."""
        wait_until(f"{count} acknowledged writes", seconds, lambda: self.count() >= count, every=0.2)

    def stop(self) -> Written:
        """Lets what is under way be acknowledged and returns what was."""
        if self.written is None:
            done = self.client.call("load_stop", name=self.name)
            self.written = Written(
                tuple(done["acknowledged"]), tuple(done["refused"]), done["seconds"], done["longest_gap_ms"]
            )
        return self.written


@contextmanager
def writing(client: GroupClient, name: str, *, rate: float) -> Iterator[Load]:
    """Writes `rate` memories a second, each "NAME number N", until the block's end."""
    client.call("load_start", name=name, text=f"{name} number {{}}", rate=rate)
    load = Load(client, name)
    try:
        yield load
    finally:
        load.stop()


def nothing_lost_or_doubled(stage: Stage, group: Group, load: Load) -> None:
    """Ends a load; whatever was acknowledged is a memory that was remembered once, and no write was refused."""
    written = load.stop()
    assert written.refused == ()
    held = {
        row["content"]: row["remember_count"]
        for row in stage.memories(group)
        if row["content"].startswith(f"{load.name} number ")
    }
    assert held == dict.fromkeys(written.acknowledged, 1)


def pinned(name: str, node: str) -> JsonObject:
    """A robot that runs on one node."""
    return {"name": name, "template": {"nodeSelector": {HOSTNAME: node}}}


def condition(status: JsonObject, kind: str) -> JsonObject:
    """One condition of a group's status."""
    found: JsonObject = next(c for c in status["conditions"] if c["type"] == kind)
    return found


def last_words(kube: Kube, namespace: str, lines: int = 60) -> str:
    """The last lines that each pod of a namespace logged, without those of single requests."""
    words = []
    for pod in kube.pods(namespace):
        name = pod["metadata"]["name"]
        try:
            log = kube.kubectl("-n", namespace, "logs", name, "--tail=3000")
        except ClusterError as error:
            log = str(error)
        kept = [line for line in log.splitlines() if '"event": "request"' not in line]
        words += [f"--- {name}", *kept[-lines:]]
    return "\n".join(words)
