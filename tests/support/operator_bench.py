"""A bench for the operator: it runs as a process, with the rights of the chart, against a real API server and Postgres.

Nothing runs pods there, so tests write pods and their status as a kubelet would, and play the robots by presence
sessions of their own on the real database.
"""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import yaml
from api_server import ApiServer
from programs import program

from robotgroups.errors import SchemaVersionError
from robotgroups.models import GroupKey, Role
from robotgroups.presence import PresenceSession
from robotgroups.store import Store
from robotgroups_operator.api import KubernetesApi
from robotgroups_operator.names import LABEL_GROUP, LABEL_ROBOT, Kind

T = TypeVar("T")
JsonObject = dict[str, Any]
ROOT = Path(__file__).parents[2]
IMAGE = "registry.example/robot:1"
LIMIT = 20.0
"""Seconds until a condition must have come about; usually it takes well under one."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def eventually(look: Callable[[], Awaitable[T | None]], limit: float = LIMIT) -> T:
    """What `look` returns, once it is true and raises no AssertionError; AssertionError at the limit."""
    deadline = time.monotonic() + limit
    while True:
        failure: AssertionError | None = None
        try:
            found = await look()
            if found:
                return found
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"still {found!r} after {limit} s")
        await asyncio.sleep(0.05)


async def open_migrated(dsn: str) -> Store:
    """The store, once the operator has migrated the database."""

    async def migrated() -> Store | None:
        try:
            return await Store.open(dsn)
        except SchemaVersionError:
            return None

    return await eventually(migrated)


def operator_kubeconfig(server: ApiServer, directory: Path) -> Path:
    """Access with the rights that the chart gives the operator, and no others."""
    namespace = "robotgroups-system"
    server.kubectl("create", "namespace", namespace, check=False)
    rendered = subprocess.run(
        [
            program("helm"), "template", "robotgroups", str(ROOT / "charts" / "robotgroups"), "-n", namespace,
            "--show-only", "templates/operator-rbac.yaml", "--kube-version", "1.35.0",
        ],
        check=True, capture_output=True, text=True, env=os.environ | {"HELM_CACHE_HOME": str(directory / "helm")},
    ).stdout  # fmt: skip
    server.kubectl("apply", "-f", "-", stdin=rendered)
    account = next(doc["metadata"]["name"] for doc in yaml.safe_load_all(rendered) if doc["kind"] == "ServiceAccount")
    token = server.kubectl("create", "token", account, "-n", namespace, "--duration=6h").stdout.strip()
    config = json.loads(server.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": token}}]
    path = directory / "operator.kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


class OperatorProcess:
    """The operator as a process of its own; its log is in `log`."""

    def __init__(self, kubeconfig: Path, dsn_file: Path, directory: Path, **environment: str) -> None:
        self._health = free_port()
        self.metrics = free_port()
        self.log = directory / f"operator-{self._health}.log"
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "ROBOTGROUPS_OPERATOR_DATABASE_DSN_FILE": str(dsn_file),
            "ROBOTGROUPS_OPERATOR_ROBOT_IMAGE": IMAGE,
            "ROBOTGROUPS_OPERATOR_RESYNC_SECONDS": "2",
            "ROBOTGROUPS_OPERATOR_UPKEEP_SECONDS": "1",
            "ROBOTGROUPS_OPERATOR_METRICS_PORT": str(self.metrics),
            "ROBOTGROUPS_OPERATOR_LIVENESS_PORT": str(self._health),
            "ROBOTGROUPS_OPERATOR_BIND_ADDRESS": "127.0.0.1",
            **{f"ROBOTGROUPS_OPERATOR_{name.upper()}": value for name, value in environment.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers its liveness probe."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "robotgroups_operator"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the operator did not start:\n{self.log.read_text()[-5000:]}")
            time.sleep(0.1)

    def healthy(self) -> bool:
        """Whether its liveness probe succeeds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def figures(self) -> dict[str, float]:
        """Its metrics, by their names with labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def stop(self) -> int:
        """SIGTERM; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def lines(self) -> list[JsonObject]:
        """Its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


class PlayedRobot:
    """A robot's presence: registers, beats, and may die. What it lacks is everything else of a robot."""

    def __init__(self, session: PresenceSession, name: str, dsn: str, group_id: int, incarnation: UUID) -> None:
        self._session = session
        self._dsn, self._group_id, self._incarnation = dsn, group_id, incarnation
        self.name = name
        self.warm = True
        self.role: Role | None = None
        self._task = asyncio.create_task(self._beat())

    @classmethod
    async def start(cls, dsn: str, group_id: int, name: str, ip: str) -> "PlayedRobot":
        """Registers as a new incarnation."""
        incarnation = uuid4()
        session = await PresenceSession.open(dsn, group_id, incarnation)
        await session.register(name, f"http://{ip}:8080", replace=False)
        return cls(session, name, dsn, group_id, incarnation)

    async def _beat(self) -> None:
        applied = 0
        while True:
            beat = await self._session.beat(self.name, applied=applied, warm=self.warm)
            applied, self.role = beat.revision, beat.role
            await asyncio.sleep(0.05)

    async def hang(self) -> None:
        """Stops beating, and keeps its session: a stopped process."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def hand_over(self) -> str | None:
        """Gives its role to a standby and ends, as a robot does that is told to stop; returns who took over."""
        async with await Store.open(self._dsn) as store:
            promoted = await store.hand_over(self._group_id, self.name, self._incarnation, "the robot was told to stop")
        await self.withdraw()
        return promoted

    async def die(self) -> None:
        """Ends as a killed process does: without a word."""
        await self.hang()
        await self._session.close()

    async def withdraw(self) -> None:
        """Ends cleanly."""
        await self.hang()
        await self._session.withdraw(self.name)
        await self._session.close()


class Bench:
    """One test's namespace, with what it needs to look and to act."""

    def __init__(self, api: KubernetesApi, namespace: str, server: ApiServer) -> None:
        self.api = api
        self.namespace = namespace
        self.server = server
        self.robots: list[PlayedRobot] = []
        self.pods: list[PlayedPod] = []
        self._address = 0

    async def apply(self, name: str, spec: JsonObject) -> JsonObject:
        """Creates or replaces a RobotGroup."""
        manifest = {
            "apiVersion": Kind.ROBOT_GROUP.value.api_version,
            "kind": "RobotGroup",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        found = await self.api.get(Kind.ROBOT_GROUP, self.namespace, name)
        if found is None:
            return await self.api.create(Kind.ROBOT_GROUP, manifest)
        return await self.api.patch(Kind.ROBOT_GROUP, self.namespace, name, {"spec": spec})

    async def annotate(self, name: str, **annotations: str | None) -> None:
        """Sets annotations of a RobotGroup, under robotgroups.dev/; None removes one."""
        named = {f"robotgroups.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        patch = {"metadata": {"annotations": named}}
        await self.api.patch(Kind.ROBOT_GROUP, self.namespace, name, patch)

    async def get(self, kind: Kind, name: str) -> JsonObject:
        """An object that must be there."""
        found = await self.api.get(kind, self.namespace, name)
        assert found is not None, f"no {kind.value.kind} {name}"
        return found

    async def status(self, group: str) -> JsonObject:
        """A group's status, empty when there is none yet."""
        status: JsonObject = (await self.get(Kind.ROBOT_GROUP, group)).get("status", {})
        return status

    async def condition(self, group: str, kind: str) -> JsonObject:
        """One condition of a group."""
        found = {c["type"]: c for c in (await self.status(group)).get("conditions", ())}
        assert kind in found, f"no condition {kind}"
        condition: JsonObject = found[kind]
        return condition

    async def until_condition(
        self, group: str, kind: str, status: str, reason: str, limit: float = LIMIT
    ) -> JsonObject:
        """Waits for a condition with this status and reason."""

        async def look() -> JsonObject:
            condition = await self.condition(group, kind)
            assert (condition["status"], condition["reason"]) == (status, reason)
            return condition

        return await eventually(look, limit)

    async def until_phase(self, group: str, phase: str, limit: float = LIMIT) -> JsonObject:
        """Waits for a phase; returns the status."""

        async def look() -> JsonObject:
            status = await self.status(group)
            assert status.get("phase") == phase, status.get("conditions")
            return status

        return await eventually(look, limit)

    async def until_children(self, group: str, robots: list[str]) -> None:
        """Waits until the group has exactly these robots' Deployments."""

        async def look() -> bool:
            listing = await self.api.list(Kind.DEPLOYMENT, self.namespace, labels=f"{LABEL_GROUP}={group}")
            assert {body["metadata"]["labels"][LABEL_ROBOT] for body in listing.items} == set(robots)
            return True

        await eventually(look)

    async def secret(self, group: str) -> dict[str, str]:
        """The decoded Secret of a group."""
        data = (await self.get(Kind.SECRET, f"{group}-robotgroups"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    async def key(self, group: str) -> GroupKey:
        """A group's key in Postgres."""
        cluster = await self.api.get(Kind.NAMESPACE, None, "kube-system")
        home = await self.api.get(Kind.NAMESPACE, None, self.namespace)
        assert cluster is not None
        assert home is not None
        return GroupKey(cluster["metadata"]["uid"], home["metadata"]["uid"], group)

    async def events(self, reason: str) -> list[str]:
        """Messages of the Events with this reason."""
        listing = await self.api.list(Kind.EVENT, self.namespace)
        return [event["note"] for event in listing.items if event["reason"] == reason]

    async def start_pod(self, group: str, robot: str, *, ready: bool = True) -> "PlayedPod":
        """Makes the pod of a robot's Deployment, running on a node, as scheduler and kubelet would."""
        deployment = await self.get(Kind.DEPLOYMENT, f"{group}-{robot}")
        self._address += 1
        template = deployment["spec"]["template"]
        name = f"{group}-{robot}-{self._address}"
        await self.api.create(
            Kind.POD,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": template["metadata"] | {"name": name, "namespace": self.namespace},
                "spec": template["spec"] | {"nodeName": f"node{self._address}"},
            },
        )
        pod = PlayedPod(self, name, robot, f"10.0.0.{self._address}")
        self.pods.append(pod)
        await pod.run(ready=ready)
        return pod

    async def roll_out(self, group: str, robot: str) -> None:
        """Writes the status of a Deployment that has been rolled out, as its controller would."""
        generation = (await self.get(Kind.DEPLOYMENT, f"{group}-{robot}"))["metadata"]["generation"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        status = {"status": counts | {"observedGeneration": generation}}
        await self.api.patch(Kind.DEPLOYMENT, self.namespace, f"{group}-{robot}", status, subresource="status")

    async def start_robot(self, group: str, group_id: int, pod: "PlayedPod") -> PlayedRobot:
        """Starts the robot of a pod, with the login in the group's Secret."""
        dsn = (await self.secret(group))["dsn"]
        robot = await PlayedRobot.start(dsn, group_id, pod.robot, pod.ip)
        self.robots.append(robot)
        return robot

    async def close(self) -> None:
        """Ends the robots and everything in the namespace."""
        for robot in self.robots:
            await robot.die()
        groups = await self.api.list(Kind.ROBOT_GROUP, self.namespace)
        for body in groups.items:
            await self.api.delete(
                Kind.ROBOT_GROUP, self.namespace, body["metadata"]["name"], uid=body["metadata"]["uid"]
            )
        await self.api.close()


class PlayedPod:
    """A pod whose status the test writes."""

    def __init__(self, bench: Bench, name: str, robot: str, ip: str) -> None:
        self._bench = bench
        self.name, self.robot, self.ip = name, robot, ip
        self._containers = 0
        self._id = ""

    async def run(self, *, ready: bool = True) -> None:
        """Its container runs (again)."""
        self._containers += 1
        self._id = f"containerd://{self.name}-{self._containers}"
        await self._write("Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, ready=ready)

    async def end(self, code: int = 137) -> None:
        """Its container has ended."""
        state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "containerID": self._id}}
        await self._write("Running", state, ready=False)

    async def wait_for_image(self) -> None:
        """Its image cannot be had."""
        self._id = ""
        waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'}
        await self._write("Pending", {"waiting": waiting}, ready=False)

    async def loop(self) -> None:
        """Its container crashes again and again."""
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
        await self._write("Running", {"waiting": waiting}, ready=False)

    async def be_evicted(self) -> None:
        """The kubelet has ended it for want of memory."""
        await self._write("Failed", {}, ready=False, reason="Evicted", message="The node was low on resource: memory")

    async def have_no_node(self) -> None:
        """No node takes it."""
        message = "0/2 nodes are available: 2 Insufficient cpu"
        scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        await self._write("Pending", {}, ready=False, conditions=[scheduled], containerStatuses=[])

    async def lose_node(self) -> None:
        """Its node is not heard of: the controller of nodes says that it is not ready; its process may run."""
        conditions = [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]
        running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        await self._write("Running", running, ready=False, conditions=conditions)

    async def be_taken_away(self, reason: str) -> None:
        """Somebody is about to delete it: DeletionByTaintManager, EvictionByEvictionAPI, PreemptionByScheduler, …"""
        target = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        conditions = [{"type": "Ready", "status": "True"}, target]
        await self._write(
            "Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, ready=True, conditions=conditions
        )

    async def delete(self, *, grace: int) -> None:
        """Asks for its deletion; with a grace period it stays, terminating, as no kubelet ends it."""
        self._bench.server.kubectl(
            "delete", "pod", self.name, "-n", self._bench.namespace, f"--grace-period={grace}", "--wait=false",
            *(["--force"] if grace == 0 else []),
        )  # fmt: skip

    async def labels(self) -> dict[str, str]:
        """Its labels now."""
        labels: dict[str, str] = (await self._bench.get(Kind.POD, self.name))["metadata"]["labels"]
        return labels

    async def _write(self, phase: str, state: JsonObject, *, ready: bool, **more: Any) -> None:
        truth = "True" if ready else "False"
        container = {
            "name": "robot",
            "image": IMAGE,
            "imageID": "",
            "restartCount": max(self._containers - 1, 0),
            "ready": ready,
            "containerID": self._id,
            "state": state,
        }
        status = {
            "phase": phase,
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "conditions": [{"type": "Ready", "status": truth}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [container],
        } | more
        await self._bench.api.patch(
            Kind.POD, self._bench.namespace, self.name, {"status": status}, subresource="status"
        )
