"""A node: containerd, kubelet and kube-proxy in a machine of their own."""

import json
from pathlib import Path

from localcluster import cgroups
from localcluster.commands import wait_for
from localcluster.control_plane import write_kubeconfig
from localcluster.images import load_into
from localcluster.machine import directory, execute, start_daemon
from localcluster.processes import Process
from localcluster.settings import (
    DNS_SERVICE,
    NODE_CONFIG,
    NODE_CONTAINERD,
    NODE_VOLUMES,
    PAUSE_IMAGE,
    PODS,
    VOLUMES_PER_NODE,
    Machine,
    Places,
)

CONTAINERD = f"""\
version = 2
[grpc]
  address = "{NODE_CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE runc may not lower a score, and dies: "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{NODE_CONFIG}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def _pod_network(node: Machine) -> dict[str, object]:
    # A link a pod, and no bridge: every packet passes the node's routing, where kube-proxy rewrites it. On a bridge the
    # answer of a pod on the same node would go around that.
    ranges = [[{"subnet": node.pods}]]
    pod_link = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [pod_link]}


def _kubelet(node: Machine, cgroup: str) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        # Reached only over the cluster's own bridge, by the API server, which has done the authorization.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{NODE_CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,  # an image that was loaded can be pulled from nowhere
        "nodeStatusUpdateFrequency": "2s",
        "nodeLeaseDurationSeconds": 10,
        "maxPods": 200,
    }


def start(node: Machine, holder: Process, places: Places, archives: list[Path]) -> None:
    """Starts the node's daemons; returns once the images that every node needs are in and kubelet runs."""
    inside = directory(node, places)
    settings = inside / NODE_CONFIG.lstrip("/")
    (settings / "cni").mkdir(parents=True)
    for number in range(1, VOLUMES_PER_NODE + 1):
        (inside / NODE_VOLUMES.lstrip("/") / f"volume{number}").mkdir(parents=True)
    (settings / "containerd.toml").write_text(CONTAINERD)
    (settings / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(node)))
    cgroup = cgroups.create_for_kubelet(node.name)
    (settings / "kubelet.yaml").write_text(json.dumps(_kubelet(node, cgroup)))
    for user in (node.name, "proxy"):
        write_kubeconfig(places, user, settings / f"{user}.kubeconfig")

    start_daemon(node, holder, places, "containerd", "containerd", f"--config={NODE_CONFIG}/containerd.toml")
    wait_for(f"start of containerd on {node.name}", 30, lambda: _containerd_answers(holder))
    load_into(node, holder, archives)
    start_daemon(
        node,
        holder,
        places,
        "kubelet",
        "kubelet",
        f"--config={NODE_CONFIG}/kubelet.yaml",
        f"--kubeconfig={NODE_CONFIG}/{node.name}.kubeconfig",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        "--cert-dir=/var/lib/kubelet/pki",
    )
    start_daemon(
        node,
        holder,
        places,
        "proxy",
        "kube-proxy",
        f"--kubeconfig={NODE_CONFIG}/proxy.kubeconfig",
        "--proxy-mode=nftables",
        f"--cluster-cidr={PODS}",
        f"--hostname-override={node.name}",
        "--conntrack-max-per-core=0",  # the machine's own limit holds: only the first namespace may change it
    )


def _containerd_answers(holder: Process) -> bool:
    return "Server:" in execute(holder, "ctr", "--address", NODE_CONTAINERD, "version", check=False)
