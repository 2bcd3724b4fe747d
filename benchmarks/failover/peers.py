"""The peers: one pod that the kubelet restarts, and two of which one leads by a lease of Kubernetes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.failover.scene import NAMESPACE, SECONDS, Clients, Scene
from benchmarks.harness.report import say
from demo.diagnosis import explain_namespace, is_ready
from demo.kube import JsonObject, wait_until
from localcluster.console import ClusterError

CODE = Path(__file__).with_name("candidate.py").read_text()
KUBELET, LEASE = "kubelet", "lease"
PORT = 8080


def manifests(name: str, image: str, replicas: int) -> list[JsonObject]:
    """A Deployment and its Service; with more than one replica, they have a lease, and the right to it."""
    led = replicas > 1
    labels = {"app.kubernetes.io/name": name}
    environment = [{"name": "LEASE", "value": name}, {"name": "NAMESPACE", "value": NAMESPACE}] if led else []
    spec = {
        "serviceAccountName": name if led else "default",
        "automountServiceAccountToken": led,
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "peer",
                "image": image,
                "command": ["python3", "-c", CODE],
                "env": environment,
                "ports": [{"containerPort": PORT}],
                "readinessProbe": {"httpGet": {"path": "/alive", "port": PORT}, "periodSeconds": 1},
            }
        ],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]},
    }
    return [service, *(_rights(name) if led else []), deployment]


def _rights(name: str) -> list[JsonObject]:
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": name}, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
        },
    ]


async def outages(scene: Scene, clients: Clients, name: str, trials: int) -> list[float]:
    """Milliseconds from SIGKILL until the Service answers again, trial by trial; the peer is removed afterwards."""
    replicas, part = {KUBELET: (1, "robot"), LEASE: (2, "operator")}[name]
    documents = manifests(name, scene.images[part], replicas)
    await asyncio.to_thread(scene.apply, *documents)
    who: Callable[[], str] = {KUBELET: lambda: _pods(scene, KUBELET)[0], LEASE: lambda: _holder(scene)}[name]
    took = []
    try:
        for number in range(trials):
            await asyncio.to_thread(_ready, scene, name, replicas)
            await clients.ask("visit", url=scene.address(name))
            pod = await asyncio.to_thread(who)
            took.append(await _outage(scene, clients, pod))
            await clients.ask("leave")
            say(f"{name} {number + 1} of {trials}: {took[-1]:.0f} ms")
            scene.kube.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}", grace=0)
    finally:
        for kind in ("deployment", "service"):
            await asyncio.to_thread(scene.kube.kubectl, "-n", NAMESPACE, "delete", kind, name, "--wait=false")
    return took


async def _outage(scene: Scene, clients: Clients, pod: str) -> float:
    victim = await asyncio.to_thread(scene.victim_in, pod, "peer")
    with victim.end() as end:
        at = time.monotonic_ns()
        victim.process.send(signal.SIGKILL)
        ended = await asyncio.to_thread(end)
    if ended is None:
        raise ClusterError(f"the process of pod {pod} did not end by SIGKILL")
    answered: int = await clients.ask("answered", after=ended)
    return (answered - at) / 1e6


def _pods(scene: Scene, name: str) -> list[str]:
    found = scene.kube.pods(NAMESPACE, f"app.kubernetes.io/name={name}")
    return [pod["metadata"]["name"] for pod in found if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]


def _ready(scene: Scene, name: str, replicas: int) -> None:
    def probe() -> bool:
        everybody = scene.kube.pods(NAMESPACE, f"app.kubernetes.io/name={name}")
        return len(everybody) == replicas == len(_pods(scene, name))

    wait_until(f"{replicas} pods of {name}", SECONDS, probe, explain=lambda: explain_namespace(scene.kube, NAMESPACE))


def _holder(scene: Scene) -> str:
    """The pod that leads."""
    found = scene.kube.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{LEASE}")
    assert found is not None
    return str(found["spec"]["holderIdentity"]).partition("_")[0]
