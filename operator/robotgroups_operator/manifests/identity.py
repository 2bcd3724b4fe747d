"""Who a group is: what every manifest needs to know of it."""

from dataclasses import dataclass
from typing import Any

from robotgroups_operator.names import DOMAIN, Kind, common_labels
from robotgroups_operator.spec import GroupSpec

Manifest = dict[str, Any]


@dataclass(frozen=True)
class RobotDefaults:
    """What the operator was installed with, for robots whose template does not say."""

    image: str
    image_pull_policy: str
    log_level: str = "info"
    log_format: str = "json"
    local_model_image: str = ""
    """Of robots that embed by the local model; empty: the operator was installed without one."""


@dataclass(frozen=True)
class Identity:
    """A RobotGroup in its cluster."""

    cluster: str
    """UID of the namespace kube-system."""
    namespace: str
    namespace_uid: str
    name: str
    uid: str


@dataclass(frozen=True)
class Group:
    """A RobotGroup with what it is to be."""

    identity: Identity
    spec: GroupSpec
    defaults: RobotDefaults
    marks: tuple[tuple[str, str], ...] = ()
    """Annotations of every pod: a new one restarts the robots, one by one."""


def manifest(kind: Kind, identity: Identity, name: str, *, labels: dict[str, str] | None = None) -> Manifest:
    """The head of every child: type, name, labels, and the group as its controller."""
    return {
        "apiVersion": kind.value.api_version,
        "kind": kind.value.kind,
        "metadata": {
            "name": name,
            "namespace": identity.namespace,
            "labels": common_labels(identity.name) | (labels or {}),
            "ownerReferences": [
                {
                    "apiVersion": f"{DOMAIN}/v1alpha1",
                    "kind": Kind.ROBOT_GROUP.value.kind,
                    "name": identity.name,
                    "uid": identity.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }
