"""What bench-failover runs on: the local cluster, the release, a group of two robots in a namespace of its own."""

from __future__ import annotations

import base64
import json
import os
import select
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from on_cluster import HOSTNAME, POSTGRES, condition, pinned
from psycopg.conninfo import make_conninfo

from benchmarks.harness.processes import Child, children
from clusters import choose
from clusters.local import LocalCluster
from demo import release
from demo.diagnosis import explain_group, explain_namespace, is_ready
from demo.groups import Group
from demo.kube import JsonObject, Kube, wait_until
from images import record
from localcluster import containers, state
from localcluster.console import ClusterError
from localcluster.processes import Process

NAMESPACE = "robotgroups-bench"
GROUP = "bench"
PRIMARY, STANDBY = "primary", "standby"
SECONDS = 120
END_S = 5.0  # whoever is killed has ended by then
OPERATOR_LABELS = f"app.kubernetes.io/name=robotgroups-operator,app.kubernetes.io/instance={release.NAME}"


@dataclass(frozen=True)
class Victim:
    """A container that something is to befall: its pod's path in the API, its node and its main process here."""

    pod: str
    path: str
    node: str
    container: str
    process: Process

    @contextmanager
    def end(self) -> Iterator[Callable[[], int | None]]:
        """Gives a function that waits for the process's end: when it was (monotonic, ns), None after some seconds."""
        descriptor = os.pidfd_open(self.process.pid)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        try:
            yield lambda: time.monotonic_ns() if poll.poll(END_S * 1000) else None
        finally:
            os.close(descriptor)


class Scene:
    """The cluster with the release. Postgres, operator and clients are on node ``home``; ``away`` may be cut off."""

    def __init__(self, kube: Kube, images: Mapping[str, str], home: str, away: str) -> None:
        self.kube = kube
        self.images = images
        self.home = home
        self.away = away
        self.group = Group(kube, NAMESPACE, GROUP)

    # -- bringing about ----------------------------------------------------------------------------------------------

    @classmethod
    def install(cls) -> Scene:
        """Installs the release and an empty namespace. ClusterError: another cluster than the local one."""
        cluster = choose()
        if not isinstance(cluster, LocalCluster):
            raise ClusterError(
                f"bench-failover needs the local cluster, whose clock and processes are this machine's, not "
                f"{cluster.describe()}: run it with CLUSTER=local"
            )
        kube, images = Kube(cluster.environment()), record.read()
        values = release.values_of(images)
        values["postgres"]["settings"] = {"track_commit_timestamp": "on"}  # when the new roles were committed
        release.install(kube, values)
        nodes = sorted(machine.name for machine in state.running().node_machines)
        home = kube.get(f"/api/v1/namespaces/{release.NAMESPACE}/pods/{POSTGRES}")["spec"]["nodeName"]  # type: ignore[index]
        if len(nodes) < 2:  # noqa: PLR2004
            raise ClusterError("bench-failover cuts a node off: it needs two nodes (`make cluster-down`, then again)")
        # nothing that a trial needs is on the node that it cuts off
        values["operator"] = {"nodeSelector": {HOSTNAME: home}}
        values["postgres"]["nodeSelector"] = {HOSTNAME: home}
        release.install(kube, values)
        away = next(node for node in nodes if node != home)
        made = cls(kube, {part: image.name for part, image in images.items()}, home, away)
        made.remove_namespace()
        kube.kubectl("create", "namespace", NAMESPACE)
        return made

    def remove_namespace(self) -> None:
        """Removes the namespace, and waits for its end."""
        path = f"/api/v1/namespaces/{NAMESPACE}"
        self.kube.delete(path)
        explain = lambda: explain_namespace(self.kube, NAMESPACE)  # noqa: E731
        wait_until(f"end of the namespace {NAMESPACE}", SECONDS, lambda: self.kube.get(path) is None, explain=explain)

    def apply(self, *documents: JsonObject) -> None:
        """`kubectl apply` in the namespace."""
        listing = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kube.kubectl("-n", NAMESPACE, "apply", "--filename", "-", stdin=json.dumps(listing))

    def declare(self) -> None:
        """The group: its active robot on the node that may be cut off, its passive one at home."""
        head = {"apiVersion": "robotgroups.dev/v1alpha1", "kind": "RobotGroup", "metadata": {"name": GROUP}}
        spec = {"active": [pinned(PRIMARY, self.away)], "passive": [pinned(STANDBY, self.home)], "maxTokens": 8000}
        self.apply(head | {"spec": spec})

    # -- looking -----------------------------------------------------------------------------------------------------

    def settled(self) -> JsonObject:
        """Waits until the group can lose its active robot: all pods as new, one active, one warm; its status.

        A pod whose container was started again is replaced: the kubelet's back-off grows with every start.
        """
        wait_until("robots with pods as new", SECONDS, self._all_new, explain=self._why)
        return self.group.wait("with a warm standby", _is_whole)

    def _all_new(self) -> bool:
        pods = self.kube.pods(NAMESPACE, f"robotgroups.dev/group={GROUP}")
        for pod in pods:
            if any(container["restartCount"] for container in pod["status"].get("containerStatuses", [])):
                self.kube.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}", grace=0)
                return False
        new = [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        return len(new) == len(pods) == 2  # noqa: PLR2004

    def _why(self) -> str:
        return explain_group(self.kube, NAMESPACE, GROUP)

    def victim(self, robot: str) -> Victim:
        """A robot's container."""
        return self.victim_in(self.group.pod(robot)["metadata"]["name"], "robot")

    def victim_in(self, pod: str, container: str) -> Victim:
        """A container of a pod of the namespace."""
        running = state.running()
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}"
        found = self.kube.get(path)
        if found is None:
            raise ClusterError(f"there is no pod {NAMESPACE}/{pod}")
        status = next(c for c in found["status"]["containerStatuses"] if c["name"] == container)
        identity = status["containerID"].removeprefix("containerd://")
        node = found["spec"]["nodeName"]
        return Victim(pod, path, node, identity, containers.main_process(running, node, identity))

    def address(self, service: str) -> str:
        """The URL of a Service's own address."""
        return f"http://{self._cluster_ip(NAMESPACE, service)}"

    def token(self) -> str:
        """The group's token."""
        return self._secret(NAMESPACE, f"{GROUP}-robotgroups", "token")

    def dsn(self) -> str:
        """Postgres, as the operator's login."""
        return make_conninfo(
            "",
            hostaddr=self._cluster_ip(release.NAMESPACE, f"{release.NAME}-postgres"),
            port=5432,
            user="robotgroups_operator",
            password=self._secret(release.NAMESPACE, f"{release.NAME}-postgres", "password"),
            dbname="robotgroups",
        )

    def namespace_uid(self) -> str:
        """The UID under which Postgres knows the namespace's groups."""
        return str(self._get(f"/api/v1/namespaces/{NAMESPACE}")["metadata"]["uid"])

    def _cluster_ip(self, namespace: str, service: str) -> str:
        return str(self._get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]["clusterIP"])

    def _secret(self, namespace: str, name: str, key: str) -> str:
        found = self._get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return base64.b64decode(found["data"][key]).decode()

    def _get(self, path: str) -> JsonObject:
        found = self.kube.get(path)
        if found is None:
            raise ClusterError(f"there is no {path}")
        return found


def _is_whole(status: JsonObject) -> bool:
    return (
        status.get("phase") == "Ready"
        and len(status.get("active", [])) == len(status.get("passive", [])) == 1
        and not status.get("failed")
        and condition(status, "FailoverReady")["status"] == "True"
    )


@dataclass(frozen=True)
class Clients:
    """The driver's process, in the network of the node ``home``."""

    child: Child

    async def ask(self, operation: str, **arguments: object) -> Any:
        """Sends a command and returns its result. ClusterError when it failed."""
        answer = json.loads(await self.child.ask(json.dumps({"op": operation, **arguments})))
        if "error" in answer:
            raise ClusterError(f"the clients could not {operation}: {answer['error']}")
        return answer["result"]


@asynccontextmanager
async def clients(scene: Scene, arguments: Sequence[str] = ()) -> AsyncIterator[Clients]:
    """Starts the driver."""
    holder = state.running().holders[scene.home]
    within = ["nsenter", "--target", str(holder.pid), "--net", "--"]
    async with children("benchmarks.failover.driver", [list(arguments)], within=within) as (child,):
        yield Clients(child)
