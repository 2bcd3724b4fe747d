"""From a container's name to its process on this machine."""

from pathlib import Path
from urllib.parse import quote

from localcluster.api import Api
from localcluster.console import ClusterError
from localcluster.processes import Process, namespace_pids, pids
from localcluster.settings import CGROUP
from localcluster.state import State

TASKS = "run/containerd/io.containerd.runtime.v2.task/k8s.io"


def container_id(api: Api, namespace: str, pod: str, container: str) -> tuple[str, str]:
    """The node and the containerd id of a running container; a ClusterError names what is not there."""
    found = api.get(f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}")
    statuses = found["status"].get("containerStatuses", []) + found["status"].get("initContainerStatuses", [])
    for status in statuses:
        if status["name"] == container:
            if "running" not in status["state"]:
                raise ClusterError(f"container {container} of {namespace}/{pod} does not run: {status['state']}")
            return found["spec"]["nodeName"], status["containerID"].removeprefix("containerd://")
    known = ", ".join(status["name"] for status in statuses) or "none yet"
    raise ClusterError(f"pod {namespace}/{pod} has no container {container} (it has: {known})")


def main_process(state: State, node: str, container: str) -> Process:
    """The main process of a container, seen from this machine."""
    holder = state.holders[node]
    record = Path(f"/proc/{holder.pid}/root/{TASKS}/{container}/init.pid")
    try:
        on_node = int(record.read_text())
    except FileNotFoundError as error:
        raise ClusterError(f"{node} runs no container {container}") from error
    for pid in pids():
        if namespace_pids(pid)[1:2] == (on_node,) and _is_in(pid, container):
            return Process.of(pid)
    raise ClusterError(f"the main process of container {container} on {node} has ended")


def _is_in(pid: int, container: str) -> bool:
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(f"/{CGROUP}/" in line and line.endswith(container) for line in groups.splitlines())
