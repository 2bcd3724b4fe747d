"""What the faults act on: a group on the local cluster, its processes on this machine, Postgres, the operator."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from on_cluster import OPERATOR, POSTGRES, Stage

from demo import release
from demo.groups import Group
from demo.kube import JsonObject
from localcluster import containers, machine, state
from localcluster.console import ClusterError
from localcluster.processes import Process, command_line, namespace_pids, pids
from localcluster.settings import Machine
from localcluster.state import State
from tests.chaos.database import Database
from tests.chaos.volume import SmallVolume

ANSWER_S, PATIENCE_S = 2.0, 60.0
OPERATOR_LABELS = f"app.kubernetes.io/name=robotgroups-operator,app.kubernetes.io/instance={release.NAME}"
POSTGRES_SET = f"/apis/apps/v1/namespaces/{release.NAMESPACE}/statefulsets/{release.NAME}-postgres"
OPERATOR_DEPLOYMENT = OPERATOR


@dataclass(frozen=True)
class Ground:
    """The stage, the group on it, and the machines below. Its methods raise ClusterError."""

    stage: Stage
    group: Group
    active: int
    machines: State
    database: Database
    group_id: int
    """In Postgres."""
    volume: SmallVolume | None = None

    @classmethod
    def of(cls, stage: Stage, group: Group, active: int, volume: SmallVolume | None = None) -> "Ground":
        """A group with so many active robots on the local cluster, which is up."""
        database = Database.of(stage.kube)
        query = "SELECT id FROM robotgroups.groups WHERE namespace_uid = %s AND name = %s"
        found = database.rows(query, stage.namespace_uid(group.namespace), group.name, patience_s=PATIENCE_S)
        return cls(stage, group, active, state.running(), database, int(found[0]["id"]), volume)

    # -- the group ---------------------------------------------------------------------------------------------------

    def token(self) -> str:
        """The group's token for the HTTP API."""
        path = f"/api/v1/namespaces/{self.group.namespace}/secrets/{self.group.name}-robotgroups"
        secret = self.group.kube.get(path)
        if secret is None:
            raise ClusterError(f"{path} is not there")
        return base64.b64decode(secret["data"]["token"]).decode()

    def pods(self) -> list[JsonObject]:
        """The robots' pods, those too that are about to end."""
        return self.group.kube.pods(self.group.namespace, f"robotgroups.dev/group={self.group.name}")

    def pod(self, robot: str) -> JsonObject:
        """A robot's pod."""
        return self.group.pod(robot)

    def roles(self) -> dict[str, str]:
        """Each robot's role, as Postgres has it."""
        found = self.rows("SELECT name, role FROM robotgroups.robots WHERE group_id = %s", self.group_id)
        return {row["name"]: row["role"] for row in found}

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """The rows of a query; Postgres has a minute to come back."""
        return self.database.rows(query, *values, patience_s=PATIENCE_S)

    # -- processes ---------------------------------------------------------------------------------------------------

    def process(self, robot: str) -> Process:
        """The main process of a robot's container."""
        return self.main_process(self.pod(robot), "robot")

    def main_process(self, pod: JsonObject, container: str) -> Process:
        """The main process of a container, on this machine."""
        return containers.main_process(self.machines, pod["spec"]["nodeName"], self.container_id(pod, container))

    @staticmethod
    def container_id(pod: JsonObject, container: str) -> str:
        """containerd's id of a running container."""
        for status in pod["status"].get("containerStatuses", []):
            if status["name"] == container and "running" in status["state"]:
                return str(status["containerID"]).removeprefix("containerd://")
        raise ClusterError(f"container {container} of pod {pod['metadata']['name']} does not run")

    def daemon(self, machine_name: str, program: str) -> Process:
        """A daemon of a machine, such as kubelet on node1."""
        space = os.readlink(f"/proc/{self.machines.holders[machine_name].pid}/ns/pid")
        for pid in pids():
            words = command_line(pid)
            if words and os.path.basename(words[0]) == program and len(namespace_pids(pid)) > 1:
                try:
                    if os.readlink(f"/proc/{pid}/ns/pid") == space:
                        return Process.of(pid)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has just ended
        raise ClusterError(f"{machine_name} runs no {program}")

    def machine(self, name: str) -> Machine:
        """A machine of the cluster by name."""
        return next(found for found in self.machines.machines if found.name == name)

    def on_machine(self, name: str, *command: str) -> str:
        """Runs a program inside a machine."""
        return machine.execute(self.machines.holders[name], *command)

    # -- Postgres and operator ---------------------------------------------------------------------------------------

    def postgres_pod(self) -> JsonObject:
        """Postgres' pod."""
        found = self.group.kube.get(f"/api/v1/namespaces/{release.NAMESPACE}/pods/{POSTGRES}")
        if found is None:
            raise ClusterError(f"pod {release.NAMESPACE}/{POSTGRES} is not there")
        return found

    def operator_pods(self) -> list[JsonObject]:
        """The operators' pods."""
        return self.group.kube.pods(release.NAMESPACE, OPERATOR_LABELS)

    def small_volume(self) -> SmallVolume:
        """The small file system of Postgres' data."""
        if self.volume is None:
            raise ClusterError("Postgres' data are not on a small file system in this run")
        return self.volume

    def psql(self, statement: str) -> str:
        """What psql prints, run in Postgres' own pod as the superuser."""
        command = ["exec", POSTGRES, "-c", "postgres", "--", "psql", "-h", "/var/run/postgresql", "-U", "postgres"]
        return self.group.kube.kubectl(
            "-n", release.NAMESPACE, *command, "-d", "robotgroups", "-v", "ON_ERROR_STOP=1", "-Atc", statement
        )

    def service_address(self, namespace: str, name: str) -> str:
        """A Service's cluster IP."""
        found = self.group.kube.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        if found is None:
            raise ClusterError(f"there is no Service {namespace}/{name}")
        return str(found["spec"]["clusterIP"])

    def postgres_addresses(self) -> list[str]:
        """The address of Postgres' Service, and of its pod."""
        service = self.service_address(release.NAMESPACE, f"{release.NAME}-postgres")
        found = [service, self.postgres_pod()["status"].get("podIP", "")]
        return [address for address in found if address not in ("", "None")]


def ask(url: str, token: str = "") -> tuple[int, Any]:
    """One GET over a connection of its own: status and JSON; (0, None) without an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(url, headers=headers, timeout=ANSWER_S, trust_env=False)
        return answer.status_code, answer.json()
    except (httpx.TransportError, ValueError):
        return 0, None


def chosen(candidates: Sequence[str], which: float) -> str:
    """One of them, by a number from 0.0 to 1.0."""
    ordered = sorted(candidates)
    return ordered[min(int(which * len(ordered)), len(ordered) - 1)]
