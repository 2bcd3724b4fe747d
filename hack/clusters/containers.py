"""Where a container runs, asked of any cluster."""

import json
from dataclasses import dataclass

from localcluster.commands import run
from localcluster.console import ClusterError


@dataclass(frozen=True)
class Container:
    """A running container: its node and its runtime's id."""

    node: str
    container_id: str


def find(environment: dict[str, str], namespace: str, pod: str, container: str) -> Container:
    """Asks the API server; ClusterError when the container does not run."""
    found = json.loads(run("kubectl", "-n", namespace, "get", "pod", pod, "-o", "json", env=environment))
    for status in found["status"].get("containerStatuses", []):
        if status["name"] == container and "running" in status["state"]:
            return Container(found["spec"]["nodeName"], status["containerID"].partition("://")[2])
    raise ClusterError(f"pod {namespace}/{pod} has no running container {container}")
