"""Names that the parts of the system share: labels, kinds, names of a group's children."""

from dataclasses import dataclass
from enum import Enum

DOMAIN = "robotgroups.dev"
MANAGER = "robotgroups-operator"

LABEL_GROUP = f"{DOMAIN}/group"
LABEL_ROBOT = f"{DOMAIN}/robot"
LABEL_ROLE = f"{DOMAIN}/role"
LABEL_SERVING = f"{DOMAIN}/serving"
LABEL_GENERATED = f"{DOMAIN}/generated"

ANNOTATION_ROTATE = f"{DOMAIN}/rotate-credentials"
"""Of a RobotGroup: another text than before asks for a new login. Of its Secret: the text that it answers."""
ANNOTATION_SWITCHOVER = f"{DOMAIN}/switchover"
"""Of a RobotGroup: the robot that is to be active; another text than before asks for a switchover."""
ANNOTATION_LOGIN = f"{DOMAIN}/login"
"""Of a pod: the number of the login that it was started with; none is the first."""
FIRST_LOGIN = "1"
ANNOTATION_TEMPLATE = f"{DOMAIN}/template"
"""Of a Deployment: a digest of the template that was applied. By it a field that is wanted no more is noticed."""

CONTAINER = "robot"
PORT_NAME = "http"
DOORBELL_PORT = 8079  # what a robot takes when nothing else is said
DOORBELL_PORT_NAME = "doorbell"
LINK_PORT = 8078  # likewise
LINK_PORT_NAME = "link"
PORT = 8080
SECRETS_PATH = "/var/run/secrets/robotgroups"


@dataclass(frozen=True)
class Resource:
    """Where the API server keeps a kind of object."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL's path of the collection (without a name), of one object, or of its subresource."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        parts = [root + self.api_version]
        if namespace is not None:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        parts.extend(part for part in (name, subresource) if part)
        return "/".join(parts)


class Kind(Enum):
    """The kinds of objects that the operator reads or writes."""

    ROBOT_GROUP = Resource(f"{DOMAIN}/v1alpha1", "RobotGroup", "robotgroups")
    POD = Resource("v1", "Pod", "pods")
    DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
    SERVICE = Resource("v1", "Service", "services")
    SERVICE_ACCOUNT = Resource("v1", "ServiceAccount", "serviceaccounts")
    SECRET = Resource("v1", "Secret", "secrets")
    NAMESPACE = Resource("v1", "Namespace", "namespaces")
    EVENT = Resource("events.k8s.io/v1", "Event", "events")


CHILDREN = (Kind.SERVICE_ACCOUNT, Kind.SERVICE, Kind.DEPLOYMENT)
"""Kinds of children that are watched, in the order of making. A group's Secret is read by name, never listed."""


def secret_name(group: str) -> str:
    """Name of the Secret with the group's `dsn` and `token`."""
    return f"{group}-robotgroups"


def deployment_name(group: str, robot: str) -> str:
    """Name of the Deployment of one robot."""
    return f"{group}-{robot}"


def worker_name(index: int) -> str:
    """Name of a robot that `spec.replicas` generates."""
    return f"worker-{index}"


def common_labels(group: str) -> dict[str, str]:
    """Labels of every child of a group."""
    return {
        "app.kubernetes.io/name": "robotgroups-robot",
        "app.kubernetes.io/instance": group,
        "app.kubernetes.io/component": "robot",
        "app.kubernetes.io/managed-by": MANAGER,
        LABEL_GROUP: group,
    }
