"""Which cluster: a pure decision, and the gathering of what it needs."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from clusters.existing import ExistingCluster
from clusters.interface import Cluster
from clusters.kind import KindCluster
from clusters.local import LocalCluster
from images.record import Builder
from localcluster.console import ClusterError
from localcluster.settings import Places, cache


class Kind(Enum):
    """The kinds of clusters, by the value of CLUSTER."""

    EXISTING = "existing"
    KIND = "kind"
    LOCAL = "local"


@dataclass(frozen=True)
class Choice:
    """A kind of cluster and the reason for it."""

    kind: Kind
    reason: str


@dataclass(frozen=True)
class Surroundings:
    """What the decision depends on. Empty strings: not set."""

    cluster: str
    kubeconfig: str
    local_kubeconfig: str
    kind_kubeconfig: str
    docker: bool


def decide(seen: Surroundings) -> Choice:
    """CLUSTER, else what KUBECONFIG names, else kind where Docker runs, else local; ValueError for a bad CLUSTER."""
    if seen.cluster:
        try:
            return Choice(Kind(seen.cluster), f"CLUSTER={seen.cluster}")
        except ValueError:
            known = ", ".join(kind.value for kind in Kind)
            raise ValueError(f"CLUSTER={seen.cluster!r} is none of {known}") from None
    if seen.kubeconfig == seen.local_kubeconfig != "":
        return Choice(Kind.LOCAL, "KUBECONFIG names the local cluster")
    if seen.kubeconfig == seen.kind_kubeconfig != "":
        return Choice(Kind.KIND, "KUBECONFIG names the project's kind cluster")
    if seen.kubeconfig:
        return Choice(Kind.EXISTING, f"KUBECONFIG={seen.kubeconfig}")
    if seen.docker:
        return Choice(Kind.KIND, "Docker runs here")
    return Choice(Kind.LOCAL, "no Docker runs here, and neither CLUSTER nor KUBECONFIG names a cluster")


def look() -> Surroundings:
    """What this machine and the environment say."""
    return Surroundings(
        cluster=os.environ.get("CLUSTER", ""),
        kubeconfig=os.environ.get("KUBECONFIG", ""),
        local_kubeconfig=str(Places(cache()).kubeconfig),
        kind_kubeconfig=str(KindCluster.path()),
        docker=docker_runs(),
    )


def docker_runs() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def choose() -> Cluster:
    """The cluster to use; ClusterError when CLUSTER or KUBECONFIG is wrong."""
    seen = look()
    try:
        choice = decide(seen)
    except ValueError as error:
        raise ClusterError(str(error)) from error
    match choice.kind:
        case Kind.LOCAL:
            return LocalCluster(choice.reason)
        case Kind.KIND:
            return KindCluster(choice.reason)
        case Kind.EXISTING:
            kubeconfig = Path(seen.kubeconfig) if seen.kubeconfig else Path.home() / ".kube" / "config"
            return ExistingCluster(choice.reason, kubeconfig, Builder.DOCKER if seen.docker else Builder.BUILDAH)
