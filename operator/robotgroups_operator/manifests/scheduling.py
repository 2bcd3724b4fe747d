"""Where robots run: those of one group prefer different nodes and zones, and leave a lost node soon."""

from typing import Any

from robotgroups_operator.names import LABEL_GROUP
from robotgroups_operator.spec import JsonObject

NODE = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
LOST_NODE_SECONDS = 30
LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def default_affinity(group: str) -> dict[str, Any]:
    """Prefer a node without another robot of the group; a group still fits on one node."""
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": {LABEL_GROUP: group}},
                        "topologyKey": NODE,
                    },
                }
            ]
        }
    }


def spread(group: str) -> list[dict[str, Any]]:
    """Spread the group's robots over zones and nodes when that is possible."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {LABEL_GROUP: group}},
        }
        for key in (ZONE, NODE)
    ]


def with_quick_eviction(tolerations: tuple[JsonObject, ...]) -> list[dict[str, Any]]:
    """Adds how long a robot stays on a lost node (Kubernetes' own default is 300 s), unless the template says."""
    said = {toleration.get("key") or "" for toleration in tolerations}  # no key: every taint
    quick = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}
        for key in LOST_NODE_TAINTS
        if not said & {key, ""}
    ]
    return [dict(toleration) for toleration in tolerations] + quick
