"""What tests and the demo may ask of a cluster."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from images.record import Builder, Image
from localcluster.console import ClusterError


class UnsupportedError(ClusterError):
    """This kind of cluster cannot do what was asked; the message says which can."""


class Cluster(ABC):
    """A Kubernetes cluster. Every method that fails raises ClusterError with what to do about it."""

    kind: str
    """existing, kind or local."""

    builder: Builder
    """What builds images for it."""

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; ClusterError while the cluster is not up."""

    @property
    @abstractmethod
    def tools(self) -> Path | None:
        """The directory of its kubectl and helm; None: they are on the path."""

    @abstractmethod
    def describe(self) -> str:
        """One line: which cluster it is, and why it was chosen."""

    @abstractmethod
    def up(self) -> bool:
        """Brings it up; returns whether it was down before (then whoever asked is the one to take it down)."""

    @abstractmethod
    def down(self) -> None:
        """Takes it down and leaves nothing of it."""

    @abstractmethod
    def load(self, images: Sequence[Image]) -> None:
        """Gives the images to the nodes that do not have them."""

    @abstractmethod
    def send_signal(self, namespace: str, pod: str, container: str, number: signal.Signals) -> None:
        """Sends a signal to a container's main process on its node, past the pod and the kubelet (SIGKILL, SIGSTOP)."""

    @abstractmethod
    def cut(self, node: str) -> None:
        """Cuts a node off the network, without a farewell."""

    @abstractmethod
    def heal(self, node: str) -> None:
        """Gives a node its network back."""

    def environment(self) -> dict[str, str]:
        """Our environment, with KUBECONFIG and a path on which kubectl and helm are found."""
        path = os.environ.get("PATH", "")
        if self.tools:
            path = f"{self.tools}:{path}"
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": path}
