"""Why something does not come up: what conditions, pods, events and logs say."""

from demo.kube import JsonObject, Kube
from localcluster.console import ClusterError

LOG_LINES = 15
EVENTS = 8
HOPELESS = {"ErrImageNeverPull", "InvalidImageName", "ImagePullBackOff", "CreateContainerConfigError"}
CRASHES = 3


def explain_namespace(kube: Kube, namespace: str) -> str:
    """Every pod of the namespace that is not ready: its containers' state, last events and last log lines."""
    lines, pods = [], kube.pods(namespace)
    for pod in pods:
        if not is_ready(pod):
            lines += explain_pod(kube, pod)
    if not pods:
        return f"there is no pod in namespace {namespace}"
    return "\n".join(lines) or f"every pod in namespace {namespace} is ready"


def explain_group(kube: Kube, namespace: str, name: str) -> str:
    """A group's conditions, then its namespace."""
    group = kube.group(namespace, name)
    if group is None:
        return f"there is no RobotGroup {namespace}/{name}"
    status = group.get("status")
    if not status:
        return (
            "the operator has written no status: "
            "see `kubectl -n robotgroups-system logs deployment/robotgroups-operator`"
        )
    lines = [f"RobotGroup {name}: phase {status.get('phase')}"]
    lines += [
        f"  {condition['type']}={condition['status']}: {condition['reason']}: {condition['message']}"
        for condition in status.get("conditions", [])
    ]
    return "\n".join([*lines, explain_namespace(kube, namespace)])


def explain_pod(kube: Kube, pod: JsonObject) -> list[str]:
    """One pod."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    lines = [f"pod {namespace}/{name}: {pod['status'].get('phase')} on {pod['spec'].get('nodeName', 'no node yet')}"]
    lines += [f"  {c['type']}: {c['message']}" for c in pod["status"].get("conditions", []) if c.get("message")]
    for status in pod["status"].get("containerStatuses", []):
        lines.append(f"  container {status['name']}: {_state(status['state'])}, {status['restartCount']} restarts")
    lines += [f"  event {line}" for line in _events(kube, namespace, name)]
    for container in pod["spec"]["containers"]:
        lines += [f"  {container['name']}> {line}" for line in _log(kube, namespace, name, container["name"])]
    return lines


def refuse_hopeless(kube: Kube, namespace: str) -> None:
    """Raises ClusterError when a pod cannot start by itself any more: waiting longer is no use."""
    for pod in kube.pods(namespace):
        for status in pod["status"].get("containerStatuses", []):
            reason = status["state"].get("waiting", {}).get("reason")
            if reason in HOPELESS or (reason == "CrashLoopBackOff" and status["restartCount"] >= CRASHES):
                name = pod["metadata"]["name"]
                explained = "\n".join(explain_pod(kube, pod))
                raise ClusterError(f"pod {namespace}/{name} does not come up: {reason}\n{explained}")


def is_ready(pod: JsonObject) -> bool:
    """Whether the pod's Ready condition holds, or it has done its work."""
    if pod["status"].get("phase") == "Succeeded":
        return True
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def _state(state: JsonObject) -> str:
    ((kind, detail),) = state.items()
    words = [str(detail[key]) for key in ("reason", "exitCode", "message") if detail.get(key) is not None]
    return f"{kind} ({', '.join(words)})" if words else kind


def _events(kube: Kube, namespace: str, pod: str) -> list[str]:
    about = [
        e for e in kube.listing(f"/api/v1/namespaces/{namespace}/events") if e["involvedObject"].get("name") == pod
    ]
    about.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return [f"{event.get('reason')}: {(event.get('message') or '').strip()}" for event in about[-EVENTS:]]


def _log(kube: Kube, namespace: str, pod: str, container: str) -> list[str]:
    try:
        return kube.kubectl("-n", namespace, "logs", pod, "-c", container, f"--tail={LOG_LINES}").splitlines()
    except ClusterError as error:
        return [f"(no log: {str(error).rpartition(': ')[2]})"]
