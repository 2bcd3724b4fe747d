"""What a cluster needs besides its components: names (CoreDNS) and storage (local volumes)."""

from string import Template

from localcluster.api import Api
from localcluster.settings import (
    COREDNS_IMAGE,
    DNS_SERVICE,
    NODE_VOLUMES,
    SOURCE,
    STORAGE_CLASS,
    VOLUME_SIZE,
    VOLUMES_PER_NODE,
    Machine,
)


def install_dns(api: Api) -> None:
    """Applies CoreDNS, and the rights of kube-proxy."""
    manifest = Template((SOURCE / "manifests" / "coredns.yaml").read_text())
    api.apply(text=manifest.safe_substitute(COREDNS_IMAGE=COREDNS_IMAGE, DNS_SERVICE=DNS_SERVICE))


def dns_ready(api: Api, nodes: int) -> bool:
    """Whether every node has its DNS server."""
    status = api.get("/apis/apps/v1/namespaces/kube-system/daemonsets/coredns").get("status", {})
    return bool(status.get("numberReady", 0) >= nodes)


def install_storage(api: Api, nodes: list[Machine]) -> None:
    """Applies the default storage class, and the volumes that it hands out."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    volumes = [_volume(node.name, number) for node in nodes for number in range(1, VOLUMES_PER_NODE + 1)]
    api.apply(storage_class, *volumes)


def _volume(node: str, number: int) -> dict[str, object]:
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{node}-volume{number}"},
        "spec": {
            "capacity": {"storage": VOLUME_SIZE},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",  # volumes.py empties what is released
            "local": {"path": f"{NODE_VOLUMES}/volume{number}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }
