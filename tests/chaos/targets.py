"""Where writers and readers go: the group's Service, and each robot's pod wherever it is now."""

import threading
from collections.abc import Callable

from demo.kube import Kube
from localcluster.console import ClusterError

REFRESH_S = 0.5


class Targets:
    """Addresses, looked up in the background; while the API server is away, they stay what they were."""

    def __init__(self, kube: Kube, namespace: str, group: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._group = group
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="targets", daemon=True)
        self.pods: dict[str, str] = {}
        service = kube.get(f"/api/v1/namespaces/{namespace}/services/{group}")
        if service is None:
            raise ClusterError(f"there is no Service {namespace}/{group}: is the RobotGroup Ready?")
        self.service = f"http://{service['spec']['clusterIP']}:80"
        self._look()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """No more looking."""
        self._stop.set()
        self._thread.join()

    def of(self, robot: str) -> Callable[[], str | None]:
        """A robot's address, whenever it is asked for."""
        return lambda: self.pods.get(robot)

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_S):
            try:
                self._look()
            except ClusterError:
                continue  # the API server is away: that may be the fault that is under way

    def _look(self) -> None:
        labels = f"robotgroups.dev/group={self._group}"
        for pod in self._kube.pods(self._namespace, labels):
            address = pod["status"].get("podIP")
            if address and "deletionTimestamp" not in pod["metadata"]:
                self.pods[pod["metadata"]["labels"]["robotgroups.dev/robot"]] = f"http://{address}:8080"
