"""The local cluster, through its own command: hack/local-cluster/cluster."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from clusters.interface import Cluster
from images.record import Builder, Image
from localcluster import state
from localcluster.console import ClusterError
from localcluster.settings import SOURCE, Places, cache


class LocalCluster(Cluster):
    """Nodes are network namespaces of this machine."""

    kind = "local"
    builder = Builder.BUILDAH

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @property
    @override
    def kubeconfig(self) -> Path:
        return state.running().places.kubeconfig

    @property
    @override
    def tools(self) -> Path:
        found = state.read()  # it may have been started with another cache
        return (found.places if found else Places(cache())).bin

    @override
    def describe(self) -> str:
        return f"the local cluster of hack/local-cluster ({self._reason})"

    @override
    def up(self) -> bool:
        found = state.read()
        was_down = found is None or not found.whole
        nodes = str(found.nodes) if found and not was_down else "2"
        self._command("up", nodes)
        return was_down

    @override
    def down(self) -> None:
        self._command("down")

    @override
    def load(self, images: Sequence[Image]) -> None:
        archives = [image.archive for image in images if image.archive]
        if len(archives) != len(images):
            raise ClusterError("the local cluster loads archives: run `make images` with CLUSTER=local")
        self._command("load", *archives)

    @override
    def send_signal(self, namespace: str, pod: str, container: str, number: signal.Signals) -> None:
        self._command("signal", namespace, pod, container, number.name.removeprefix("SIG"))

    @override
    def cut(self, node: str) -> None:
        self._command("cut", node)

    @override
    def heal(self, node: str) -> None:
        self._command("heal", node)

    def _command(self, *arguments: str) -> None:
        # Its progress is for the person at the terminal; what it prints as a result is not needed here.
        done = subprocess.run(
            [str(SOURCE / "cluster"), *arguments],
            check=False,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHON": sys.executable},
        )
        if done.returncode:
            raise ClusterError(f"`hack/local-cluster/cluster {' '.join(arguments)}` failed: see above")
