"""A RobotGroup on the cluster: applied, waited for, looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from demo.diagnosis import explain_group
from demo.kube import GROUPS, JsonObject, Kube, wait_until
from localcluster.console import ClusterError

SAMPLES = Path(__file__).resolve().parents[2] / "crds" / "samples"
READY_SECONDS = 120
StatusCheck = Callable[[JsonObject], bool]


@dataclass(frozen=True)
class Group:
    """One group, by namespace and name."""

    kube: Kube
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Its path in the API."""
        return f"{GROUPS}/namespaces/{self.namespace}/robotgroups/{self.name}"

    def read(self) -> JsonObject:
        """The resource; ClusterError when it is gone."""
        found = self.kube.get(self.path)
        if found is None:
            raise ClusterError(f"there is no RobotGroup {self.namespace}/{self.name}")
        return found

    def status(self) -> JsonObject:
        """Its status; empty before the operator has written any."""
        return dict(self.read().get("status") or {})

    def wait_ready(self, seconds: float = READY_SECONDS) -> JsonObject:
        """Waits until the operator has seen this generation and calls it Ready; the status."""
        return self.wait("Ready", lambda status: status.get("phase") == "Ready", seconds)

    def wait(self, what: str, holds: StatusCheck, seconds: float = READY_SECONDS) -> JsonObject:
        """Waits until the status of the present generation is as wanted; the status."""

        def probe() -> JsonObject | None:
            group = self.read()
            status = dict(group.get("status") or {})
            current = status.get("observedGeneration") == group["metadata"]["generation"]
            return status if current and holds(status) else None

        explain = lambda: explain_group(self.kube, self.namespace, self.name)  # noqa: E731
        return wait_until(f"RobotGroup {self.namespace}/{self.name} {what}", seconds, probe, explain=explain)

    def pod(self, robot: str) -> JsonObject:
        """A robot's pod."""
        return self.kube.robot_pod(self.namespace, self.name, robot)

    def url(self, robot: str) -> str:
        """The address of one robot's pod, past the Service."""
        address = str(self.pod(robot)["status"]["podIP"])
        return f"http://[{address}]:8080" if ":" in address else f"http://{address}:8080"


def seconds_to_ready(pod: JsonObject) -> float:
    """From the start of the robot's container to the pod's readiness, by the kubelet's whole seconds."""
    running = next(c for c in pod["status"]["containerStatuses"] if c["name"] == "robot")["state"]["running"]
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    started = datetime.fromisoformat(running["startedAt"])
    return (datetime.fromisoformat(ready["lastTransitionTime"]) - started).total_seconds()
