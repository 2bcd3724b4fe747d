"""How a group is reached and what its pods may do: Service, ServiceAccount, Secret."""

import base64
from dataclasses import dataclass, field

from robotgroups_operator.manifests.identity import Identity, Manifest, manifest
from robotgroups_operator.names import (
    ANNOTATION_ROTATE,
    LABEL_GROUP,
    LABEL_SERVING,
    PORT_NAME,
    Kind,
    secret_name,
)

CA_KEY = "ca.crt"


@dataclass(frozen=True)
class Credentials:
    """What a group's Secret holds. Neither is ever printed."""

    dsn: str = field(repr=False)
    """How robots reach Postgres, as the group's own login."""
    token: str = field(repr=False)
    """The bearer token that guards the robots' API."""
    ca: str | None = field(default=None, repr=False)
    """The certificates that Postgres' own is checked against (PEM); None when its DSN needs none."""
    rotation: str | None = None
    """The request that they were made for, as the group's annotation had it; None: none."""


def service(identity: Identity) -> Manifest:
    """The Service of a group: every ready robot that serves."""
    return manifest(Kind.SERVICE, identity, identity.name) | {
        "spec": {
            "type": "ClusterIP",
            "selector": {LABEL_GROUP: identity.name, LABEL_SERVING: "true"},
            "ports": [{"name": PORT_NAME, "port": 80, "protocol": "TCP", "targetPort": PORT_NAME}],
        }
    }


def service_account(identity: Identity) -> Manifest:
    """The robots' ServiceAccount: it may do nothing, and its token is not mounted."""
    return manifest(Kind.SERVICE_ACCOUNT, identity, identity.name) | {"automountServiceAccountToken": False}


def secret(identity: Identity, credentials: Credentials) -> Manifest:
    """The Secret that the robots mount."""
    values = {"dsn": credentials.dsn, "token": credentials.token}
    if credentials.ca is not None:
        values[CA_KEY] = credentials.ca
    head = manifest(Kind.SECRET, identity, secret_name(identity.name))
    if credentials.rotation is not None:
        head["metadata"]["annotations"] = {ANNOTATION_ROTATE: credentials.rotation}
    return head | {
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def read_credentials(found: Manifest) -> Credentials | None:
    """The credentials in a group's Secret; None when one is missing or cannot be read."""
    data = found.get("data") or {}
    try:
        values = {key: base64.b64decode(data[key], validate=True).decode() for key in ("dsn", "token")}
    except (KeyError, ValueError, TypeError):
        return None
    rotation = (found["metadata"].get("annotations") or {}).get(ANNOTATION_ROTATE)
    return Credentials(**values, rotation=rotation) if all(values.values()) else None
