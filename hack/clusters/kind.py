"""kind: nodes are Docker containers."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from clusters import tools
from clusters.containers import find
from clusters.interface import Cluster
from images.record import Builder, Image
from localcluster.commands import run
from localcluster.console import ClusterError, say, step
from localcluster.settings import cache

NAME = "robotgroups"
CONFIG = Path(__file__).with_name("kind-config.yaml")


class KindCluster(Cluster):
    """A control plane and two workers."""

    kind = "kind"
    builder = Builder.DOCKER

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @staticmethod
    def path() -> Path:
        """Where its kubeconfig is kept."""
        return cache() / "kind" / "kubeconfig"

    @property
    @override
    def kubeconfig(self) -> Path:
        if not self._exists():
            raise ClusterError(f"no kind cluster {NAME} is up: run `make cluster-up`")
        return self.path()

    @cached_property
    @override
    def tools(self) -> Path | None:
        return tools.provide("kind", "kubectl", "helm")

    @override
    def describe(self) -> str:
        return f"the kind cluster {NAME} ({self._reason})"

    @override
    def up(self) -> bool:
        if self._exists():
            self._kind("export", "kubeconfig", "--name", NAME, "--kubeconfig", str(self.path()))
            say(f"the kind cluster {NAME} is up already")
            return False
        with step(f"create the kind cluster {NAME}", "3 min"):
            self.path().parent.mkdir(parents=True, exist_ok=True)
            self._kind(
                "create",
                "cluster",
                *("--name", NAME, "--config", str(CONFIG)),  # a release of kind names its node image by digest
                *("--kubeconfig", str(self.path()), "--wait", "180s"),
            )
        return True

    @override
    def down(self) -> None:
        if self._exists():
            self._kind("delete", "cluster", "--name", NAME, "--kubeconfig", str(self.path()))

    @override
    def load(self, images: Sequence[Image]) -> None:
        nodes = self._nodes()
        for image in images:
            without = [node for node in nodes if not self._has(node, image.name)]
            if without:
                with step(f"load {image.name} into {', '.join(without)}"):
                    self._kind("load", "docker-image", image.name, "--name", NAME, "--nodes", ",".join(without))

    @override
    def send_signal(self, namespace: str, pod: str, container: str, number: signal.Signals) -> None:
        found = find(self.environment(), namespace, pod, container)
        inspected = run("docker", "exec", found.node, "crictl", "inspect", found.container_id)
        pid = json.loads(inspected)["info"]["pid"]
        run("docker", "exec", found.node, "kill", f"-{number.name.removeprefix('SIG')}", str(pid))

    @override
    def cut(self, node: str) -> None:
        run("docker", "network", "disconnect", "kind", node)

    @override
    def heal(self, node: str) -> None:
        run("docker", "network", "connect", "kind", node)

    def _exists(self) -> bool:
        return NAME in self._kind("get", "clusters").split()

    def _nodes(self) -> list[str]:
        return self._kind("get", "nodes", "--name", NAME).split()

    def _has(self, node: str, name: str) -> bool:
        listed = run("docker", "exec", node, "crictl", "images", "--output", "json")
        return any(name in image["repoTags"] for image in json.loads(listed)["images"])

    def _kind(self, *arguments: str) -> str:
        path = f"{self.tools}:{os.environ.get('PATH', '')}" if self.tools else os.environ.get("PATH", "")
        done = subprocess.run(
            ["kind", *arguments],
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            env=os.environ | {"PATH": path},
        )
        if done.returncode:
            raise ClusterError(f"kind {' '.join(arguments)}: exit {done.returncode}: see above")
        return done.stdout
