"""What the local cluster consists of: pinned versions, addresses and places."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent

KUBERNETES = "v1.35.4"
COREDNS = "v1.15.0"
HELM = "v3.19.0"
MINIMUM_GO = (1, 26)
GO_TOOLCHAIN = "1.26.8"
# SHA-256 of golang.org/toolchain@v0.0.1-go<version>.linux-<arch>.zip as the Go module proxy serves it.
GO_TOOLCHAIN_SHA256 = {
    "amd64": "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
    "arm64": "02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99",
}
PAUSE_IMAGE = f"localhost/pause:{KUBERNETES}"
COREDNS_IMAGE = f"localhost/coredns:{COREDNS}"

# Clusters of one machine are told apart by a number; the second serves tests of the cluster itself.
INSTANCE = int(os.environ.get("ROBOTGROUPS_CLUSTER_INSTANCE", "0"))
MAXIMUM_INSTANCE = 7
SUFFIX = f"-{INSTANCE}" if INSTANCE else ""

# 198.18.0.0/15 is reserved for tests of networks (RFC 2544): it collides with nobody's, and nothing leaves the machine.
BRIDGE = f"robotgroups{INSTANCE}"
MACHINES = f"198.18.{INSTANCE}.0/24"
GATEWAY = f"198.18.{INSTANCE}.1"
API_SERVER = f"198.18.{INSTANCE}.2"
API_PORT = 6443
SERVICES = f"198.19.{16 * INSTANCE}.0/20"
DNS_SERVICE = f"198.19.{16 * INSTANCE}.10"
PODS = "198.19.128.0/17"
CONTROL_PLANE = "control-plane"
MAXIMUM_NODES = 9

CGROUP = f"robotgroups-local{SUFFIX}"
STORAGE_CLASS = "local"
VOLUMES_PER_NODE = 2
VOLUME_SIZE = "5Gi"
# Seen from inside a machine, whose /var and /run are its own.
NODE_BIN = "/run/robotgroups/bin"
NODE_CONFIG = "/var/lib/robotgroups"
NODE_VOLUMES = "/var/local/volumes"
NODE_CONTAINERD = "/run/containerd/containerd.sock"

# The record of what runs is where every user of the machine finds it.
STATE = Path(f"/run/robotgroups-local-cluster{SUFFIX}.json")
LOCK = Path(f"/run/robotgroups-local-cluster{SUFFIX}.lock")


def goarch() -> str:
    """Go's name of this machine's architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def cache() -> Path:
    """Where everything that outlives the clone is kept: ROBOTGROUPS_CACHE, else the user's cache directory."""
    chosen = os.environ.get("ROBOTGROUPS_CACHE")
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robotgroups"


@dataclass(frozen=True)
class Places:
    """Directories of the local cluster below the cache."""

    cache: Path

    @property
    def bin(self) -> Path:
        """Binaries; the versions are in the name, so that a new pin makes a new directory."""
        return self.cache / "local-cluster" / f"bin-{KUBERNETES}-coredns-{COREDNS}-helm-{HELM}"

    @property
    def run(self) -> Path:
        """Everything of the running cluster: removed by `down`."""
        return self.cache / "local-cluster" / f"run{SUFFIX}"

    @property
    def logs(self) -> Path:
        """The daemons' logs."""
        return self.run / "log"

    @property
    def last_logs(self) -> Path:
        """Logs of the last cluster that did not come up."""
        return self.cache / "local-cluster" / f"last-failure{SUFFIX}"

    @property
    def pki(self) -> Path:
        """The API server's certificate, the key of service accounts, the tokens: the control plane's NODE_CONFIG."""
        return self.run / CONTROL_PLANE / NODE_CONFIG.lstrip("/")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.run / "kubeconfig"


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster: namespaces of its own behind a link to the bridge."""

    name: str
    address: str
    pods: str | None  # None: the control plane runs no pods

    @property
    def link(self) -> str:
        """The host's end of its link (at most 15 characters)."""
        return f"rg{INSTANCE or ''}-{self.name}"[:15]


def machines(nodes: int) -> list[Machine]:
    """The control plane and `nodes` nodes; ValueError for a number out of range."""
    if not 0 <= INSTANCE <= MAXIMUM_INSTANCE:
        raise ValueError(f"ROBOTGROUPS_CLUSTER_INSTANCE is 0 to {MAXIMUM_INSTANCE}, not {INSTANCE}")
    if not 1 <= nodes <= MAXIMUM_NODES:
        raise ValueError(f"a local cluster has 1 to {MAXIMUM_NODES} nodes, not {nodes}")
    control_plane = Machine(CONTROL_PLANE, API_SERVER, None)
    return [
        control_plane,
        *(_node(n) for n in range(1, nodes + 1)),
    ]


def _node(number: int) -> Machine:
    return Machine(f"node{number}", f"198.18.{INSTANCE}.{10 + number}", f"198.19.{128 + 10 * INSTANCE + number}.0/24")


def networks() -> list[str]:
    """Every network of this cluster, with room for all the nodes that it may have."""
    return [MACHINES, SERVICES, *(str(machine.pods) for machine in machines(MAXIMUM_NODES) if machine.pods)]
