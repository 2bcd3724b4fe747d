"""A cluster that somebody else runs. It is never brought up or taken down, and its network is left alone."""

import json
import os
import secrets
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from clusters import tools
from clusters.containers import Container, find
from clusters.interface import Cluster, UnsupportedError
from images import record
from images.record import Builder, Image
from localcluster.commands import run, wait_for
from localcluster.console import ClusterError, say, step

# Runs on the node, seeing all of its processes: the main process of a container is the one whose parent is not in it.
SEND = """
import os, re, sys
wanted, number = sys.argv[1], int(sys.argv[2])
def fields(pid):
    with open(f"/proc/{pid}/cgroup") as groups, open(f"/proc/{pid}/status") as status:
        return wanted in groups.read(), int(re.search(r"^PPid:\\s+(\\d+)", status.read(), re.M)[1])
inside = {}
for entry in filter(str.isdigit, os.listdir("/proc")):
    try:
        member, parent = fields(entry)
    except OSError:
        continue
    if member:
        inside[int(entry)] = parent
main = [pid for pid, parent in inside.items() if parent not in inside]
if len(main) != 1:
    sys.exit(f"container {wanted} has {len(main)} main processes on this node")
os.kill(main[0], number)
print("sent")
"""


class ExistingCluster(Cluster):
    """Whatever KUBECONFIG names."""

    kind = "existing"

    def __init__(self, reason: str, kubeconfig: Path, builder: Builder) -> None:
        self._reason = reason
        self._kubeconfig = kubeconfig
        self.builder = builder

    @property
    @override
    def kubeconfig(self) -> Path:
        if not self._kubeconfig.exists():
            raise ClusterError(f"there is no kubeconfig {self._kubeconfig}: set KUBECONFIG")
        return self._kubeconfig

    @cached_property
    @override
    def tools(self) -> Path | None:
        return tools.provide("kubectl", "helm")

    @override
    def describe(self) -> str:
        return f"an existing cluster ({self._reason})"

    @override
    def up(self) -> bool:
        run("kubectl", "version", env=self.environment())
        return False

    @override
    def down(self) -> None:
        say("an existing cluster is left as it is: `helm uninstall` removes what was installed")

    @override
    def load(self, images: Sequence[Image]) -> None:
        registry = os.environ.get("REGISTRY", "").rstrip("/")
        if not registry:
            raise ClusterError(
                "an existing cluster pulls images: set REGISTRY to one that it can pull from and you can push to "
                "(REGISTRY=registry.example.com/team)"
            )
        pushed = []
        for image in images:
            repository = f"{registry}/{image.repository.partition('/')[2]}"
            with step(f"push {repository}:{image.tag}", "1 min"):
                self._push(image, f"{repository}:{image.tag}")
            pushed.append(replace(image, repository=repository))
        record.write(pushed)

    def _push(self, image: Image, target: str) -> None:
        if image.archive:
            run("buildah", "pull", "--quiet", f"oci-archive:{image.archive}")
            run("buildah", "push", "--quiet", image.name, f"docker://{target}")
        else:
            run("docker", "tag", image.name, target)
            run("docker", "push", "--quiet", target)

    @override
    def send_signal(self, namespace: str, pod: str, container: str, number: signal.Signals) -> None:
        """Starts a privileged pod on the node, which sees its processes, sends the signal from it and removes it."""
        found = find(self.environment(), namespace, pod, container)
        name = f"robotgroups-signal-{secrets.token_hex(4)}"
        say(f"    a privileged pod {name} on {found.node} sends {number.name} to {namespace}/{pod}/{container}")
        environment = self.environment()
        run("kubectl", "apply", "-f", "-", env=environment, stdin=json.dumps(self._sender(name, found, number)))
        try:
            wait_for(f"end of pod {name}", 60, lambda: self._phase(name) in {"Succeeded", "Failed"}, every=0.2)
            if self._phase(name) == "Failed":
                raise ClusterError(run("kubectl", "-n", "kube-system", "logs", name, env=environment).strip())
        finally:
            run("kubectl", "-n", "kube-system", "delete", "pod", name, "--wait=false", env=environment)

    def _phase(self, name: str) -> str:
        return run(
            *("kubectl", "-n", "kube-system", "get", "pod", name, "-o", "jsonpath={.status.phase}"),
            env=self.environment(),
        )

    @staticmethod
    def _sender(name: str, found: Container, number: signal.Signals) -> dict[str, object]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {
                "nodeName": found.node,
                "hostPID": True,
                "restartPolicy": "Never",
                "tolerations": [{"operator": "Exists"}],
                "containers": [
                    {
                        "name": "signal",
                        "image": record.read()["robot"].name,
                        "command": ["python3", "-c", SEND, found.container_id, str(int(number))],
                        "securityContext": {"privileged": True, "runAsUser": 0},
                    }
                ],
            },
        }

    @override
    def cut(self, node: str) -> None:
        raise UnsupportedError(f"{node} belongs to an existing cluster: only kind and local ones cut nodes off")

    @override
    def heal(self, node: str) -> None:
        raise UnsupportedError(f"{node} belongs to an existing cluster: only kind and local ones heal nodes")
