"""When is the group well again? And what is done so that the next fault finds it so."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from on_cluster import POSTGRES, last_words

from demo import release
from demo.diagnosis import explain_group
from demo.kube import JsonObject
from localcluster.console import ClusterError, say
from tests.chaos.ground import OPERATOR_DEPLOYMENT, POSTGRES_SET, Ground, ask

EVERY_S, TELL_S, METRICS_APART_S = 0.2, 10.0, 3.0
OK = 200


def troubles(ground: Ground, token: str, served_at: Callable[[], float], since: float) -> list[str]:
    """What is not as it should be; nothing: the group is Ready. A write was acknowledged by the Service after `since`.

    Everything is asked anew: a status may be of before the fault. ClusterError while the API server is away.
    """
    robots: dict[str, str] = {}
    found = []
    for pod in ground.pods():
        name = pod["metadata"]["labels"]["robotgroups.dev/robot"]
        if "deletionTimestamp" in pod["metadata"]:
            found.append(f"{pod['metadata']['name']} is about to end")
        else:
            robots[name] = pod["status"].get("podIP", "")
    declared = ground.group.read()
    wanted = {robot["name"] for robot in (*declared["spec"]["active"], *declared["spec"]["passive"])}
    found += [f"{name} has no pod" for name in sorted(wanted - robots.keys())]
    found += _robots(ground, token, robots, declared.get("status") or {})
    found += _parts(ground)
    if served_at() <= since:
        found.append("the Service has acknowledged nothing since")
    return found


def _robots(ground: Ground, token: str, robots: dict[str, str], declared: JsonObject) -> list[str]:
    found = []
    status: JsonObject = {}
    for name, address in sorted(robots.items()):
        if not address:
            found.append(f"{name} has no address")
            continue
        code, answer = ask(f"http://{address}:8080/readyz")
        if code != OK:
            found.append(f"{name} is not ready: {answer.get('detail') if isinstance(answer, dict) else 'no answer'}")
            continue
        code, answer = ask(f"http://{address}:8080/v1/status", token)
        status = answer if code == OK else status
    if not status:
        return [*found, "no robot tells the group's status"]
    if status["failed"]:
        found.append(f"failed: {', '.join(status['failed'])}")
    if len(status["active"]) != ground.active:
        found.append(f"active: {', '.join(status['active']) or 'nobody'}")
    if declared.get("phase") != "Ready" or declared.get("epoch") != status["epoch"]:
        found.append(f"the resource says {declared.get('phase')} in epoch {declared.get('epoch')} of {status['epoch']}")
    return found


def _parts(ground: Ground) -> list[str]:
    """Postgres, the operator and the nodes."""
    kube, found = ground.group.kube, []
    for name, path in (("Postgres", POSTGRES_SET), ("the operator", OPERATOR_DEPLOYMENT)):
        status = (kube.get(path) or {}).get("status", {})
        if (status.get("readyReplicas"), status.get("replicas")) != (1, 1):
            found.append(f"{name} is not ready")
    for node in kube.listing("/api/v1/nodes"):
        conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
        if conditions.get("Ready") != "True":
            found.append(f"{node['metadata']['name']} is not ready")
    return found


def wait(
    ground: Ground, token: str, served_at: Callable[[], float], since: float, limit_s: float
) -> tuple[float | None, list[str]]:
    """Waits until the group is well: when it was so, and None with its troubles after `limit_s` seconds."""
    end, told = time.monotonic() + limit_s, time.monotonic() + TELL_S
    while True:
        try:
            found = troubles(ground, token, served_at, since)
        except ClusterError as error:
            found = [str(error)]
        now = time.monotonic()
        if found and now > told:
            say(f"        not yet: {'; '.join(found)[:300]}")
            told += TELL_S
        if not found:
            return now, []
        if now > end:
            return None, found
        time.sleep(EVERY_S)


@dataclass(frozen=True)
class UsedUp:
    """A pod with a container that was restarted: the next time the kubelet would wait. `robot` may be empty."""

    namespace: str
    name: str
    robot: str


def used_up(ground: Ground) -> list[list[UsedUp]]:
    """Pods that are to be made anew, in batches: active robots and Postgres each alone, what nobody misses together."""
    roles = ground.roles()
    pods = [*ground.pods(), *ground.operator_pods(), ground.postgres_pod()]
    found = [
        UsedUp(
            pod["metadata"]["namespace"],
            pod["metadata"]["name"],
            pod["metadata"]["labels"].get("robotgroups.dev/robot", ""),
        )
        for pod in pods
        if any(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
    ]
    alone = [pod for pod in found if roles.get(pod.robot) == "active" or pod.name == POSTGRES]
    together = [pod for pod in found if pod not in alone]
    return [batch for batch in (together, *([pod] for pod in alone)) if batch]


def diagnosis(ground: Ground) -> str:
    """Everything that may tell why a group is stuck: its status, last words, and what the operator counts."""
    kube, group = ground.group.kube, ground.group
    parts = [explain_group(kube, group.namespace, group.name)]
    parts += [last_words(kube, namespace) for namespace in (group.namespace, release.NAMESPACE)]
    for pod in ground.operator_pods():
        for _ in range(2):  # does it go on?
            parts.append(f"--- metrics of {pod['metadata']['name']}\n{_metrics(pod['status'].get('podIP', ''))}")
            time.sleep(METRICS_APART_S)
    return "\n".join(parts)


def _metrics(address: str) -> str:
    try:
        text = httpx.get(f"http://{address}:8080/metrics", timeout=METRICS_APART_S, trust_env=False).text
    except httpx.TransportError as error:
        return str(error)
    wanted = [line for line in text.splitlines() if line.startswith("robotgroups_") and "_bucket" not in line]
    return "\n".join(wanted)


def repair(ground: Ground) -> None:
    """What a person would try: every robot's pod, the operator and Postgres are made anew."""
    kube = ground.group.kube
    for pod in (*ground.pods(), *ground.operator_pods(), ground.postgres_pod()):
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        kube.delete(path, grace=0)
