"""The Deployment of one robot."""

import hashlib
import json
from typing import Any

from robotgroups.embedding import EmbeddingProvider
from robotgroups_operator.api_keys import FILE, ApiKey, api_keys
from robotgroups_operator.manifests.identity import Group, Manifest, manifest
from robotgroups_operator.manifests.scheduling import default_affinity, spread, with_quick_eviction
from robotgroups_operator.names import (
    ANNOTATION_TEMPLATE,
    CONTAINER,
    DOORBELL_PORT,
    DOORBELL_PORT_NAME,
    LABEL_GENERATED,
    LABEL_GROUP,
    LABEL_ROBOT,
    LABEL_SERVING,
    LINK_PORT,
    LINK_PORT_NAME,
    PORT,
    PORT_NAME,
    SECRETS_PATH,
    Kind,
    common_labels,
    deployment_name,
    secret_name,
)
from robotgroups_operator.spec import Robot, Template, merge_by_name

SECRETS_VOLUME = "robotgroups-secrets"
SCRATCH_VOLUME = "robotgroups-tmp"
USER = 65532
DEFAULT_GRACE_SECONDS = 30
DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"memory": "512Mi"},
}
READ_BY_GROUP = 0o440


def robot_deployment(group: Group, robot: Robot) -> Manifest:
    """One pod: a new one starts only when the old one has ended (Recreate), so that two never claim one name."""
    identity = group.identity
    selector = {LABEL_GROUP: identity.name, LABEL_ROBOT: robot.name}
    template = _pod_template(group, robot)
    head = manifest(
        Kind.DEPLOYMENT, identity, deployment_name(identity.name, robot.name), labels={LABEL_ROBOT: robot.name}
    )
    head["metadata"]["annotations"] = {ANNOTATION_TEMPLATE: _digest(template)}
    return head | {
        "spec": {
            "replicas": 0 if group.spec.suspend else 1,
            "revisionHistoryLimit": 2,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": template,
        }
    }


def _digest(template: Manifest) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]


def _pod_template(group: Group, robot: Robot) -> Manifest:
    template = group.spec.template.overridden_by(robot.template)
    labels = {
        **(template.labels or {}),
        **common_labels(group.identity.name),
        LABEL_ROBOT: robot.name,
        LABEL_SERVING: "true",
    }
    if robot.name in {generated.name for generated in group.spec.generated}:
        labels[LABEL_GENERATED] = "true"
    metadata: Manifest = {"labels": labels}
    if annotations := {**(template.annotations or {}), **dict(group.marks)}:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": _pod_spec(group, robot, template)}


def _pod_spec(group: Group, robot: Robot, template: Template) -> Manifest:
    spec: Manifest = {
        "serviceAccountName": group.identity.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds or DEFAULT_GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": dict(template.affinity) if template.affinity else default_affinity(group.identity.name),
        "topologySpreadConstraints": spread(group.identity.name),
        "tolerations": with_quick_eviction(template.tolerations or ()),
        "containers": [
            _robot_container(group, robot, template),
            *(dict(extra) for extra in template.extra_containers or ()),
        ],
        "volumes": [
            {
                "name": SECRETS_VOLUME,
                "secret": {"secretName": secret_name(group.identity.name), "defaultMode": READ_BY_GROUP},
            },
            {"name": SCRATCH_VOLUME, "emptyDir": {}},
            *(_key_volume(key) for key in api_keys(group.spec.memory)),
            *(dict(volume) for volume in template.volumes or ()),
        ],
    }
    if template.image_pull_secrets:
        spec["imagePullSecrets"] = [dict(reference) for reference in template.image_pull_secrets]
    if template.node_selector:
        spec["nodeSelector"] = dict(template.node_selector)
    if template.priority_class_name:
        spec["priorityClassName"] = template.priority_class_name
    return spec


def _robot_container(group: Group, robot: Robot, template: Template) -> Manifest:
    return {
        "name": CONTAINER,
        "image": template.image or default_image(group),
        "imagePullPolicy": template.image_pull_policy or group.defaults.image_pull_policy,
        "ports": [
            {"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"},
            {"name": DOORBELL_PORT_NAME, "containerPort": DOORBELL_PORT, "protocol": "TCP"},
            {"name": LINK_PORT_NAME, "containerPort": LINK_PORT, "protocol": "TCP"},
        ],
        "env": _environment(group, robot, template),
        "resources": dict(template.resources) if template.resources else DEFAULT_RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": SECRETS_VOLUME, "mountPath": SECRETS_PATH, "readOnly": True},
            {"name": SCRATCH_VOLUME, "mountPath": "/tmp"},  # noqa: S108  the pod's own, with a read-only root
            *(
                {"name": key.volume, "mountPath": key.directory, "readOnly": True}
                for key in api_keys(group.spec.memory)
            ),
        ],
        # A robot answers in well under 3 s, but a cold node is slow: two minutes before it is restarted. Not /startupz:
        # a robot that waits for Postgres is not ready, but to restart it would only make it come later.
        "startupProbe": _probe("/healthz", period=1, failures=120),
        "readinessProbe": _probe("/readyz", period=1, failures=2),
        # Presence and heartbeat end a hung robot's duty within a lease; a restart is the last resort.
        "livenessProbe": _probe("/healthz", period=10, failures=3),
    }


def default_image(group: Group) -> str:
    """The image of robots whose template names none."""
    local = group.spec.memory.embedding.provider is EmbeddingProvider.LOCAL
    return (group.defaults.local_model_image if local else "") or group.defaults.image


def _key_volume(key: ApiKey) -> Manifest:
    """Optional: a robot without its model's key still remembers, recalls and takes over."""
    return {
        "name": key.volume,
        "secret": {
            "secretName": key.reference.name,
            "items": [{"key": key.reference.key, "path": FILE}],
            "optional": True,
            "defaultMode": READ_BY_GROUP,
        },
    }


def _key_variables(key: ApiKey) -> tuple[Manifest, ...]:
    """Where a key is, and which endpoint it is for: with another one the pods are made anew, and none has both."""
    return (
        {"name": key.variable, "value": f"{key.directory}/{FILE}"},
        {"name": key.place_variable, "value": key.base_url},
    )


def _environment(group: Group, robot: Robot, template: Template) -> list[Manifest]:
    identity, defaults = group.identity, group.defaults
    fixed: tuple[Manifest, ...] = (
        {"name": "ROBOTGROUPS_CLUSTER", "value": identity.cluster},
        {"name": "ROBOTGROUPS_NAMESPACE_UID", "value": identity.namespace_uid},
        {"name": "ROBOTGROUPS_GROUP", "value": identity.name},
        {"name": "ROBOTGROUPS_ROBOT", "value": robot.name},
        {"name": "ROBOTGROUPS_POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
        {"name": "ROBOTGROUPS_PORT", "value": str(PORT)},
        {"name": "ROBOTGROUPS_DSN_FILE", "value": f"{SECRETS_PATH}/dsn"},
        {"name": "ROBOTGROUPS_TOKEN_FILE", "value": f"{SECRETS_PATH}/token"},
        *(variable for key in api_keys(group.spec.memory) for variable in _key_variables(key)),
    )
    changeable: tuple[Manifest, ...] = (
        {"name": "ROBOTGROUPS_LOG_LEVEL", "value": defaults.log_level},
        {"name": "ROBOTGROUPS_LOG_FORMAT", "value": defaults.log_format},
    )
    return [dict(entry) for entry in fixed + merge_by_name(changeable, template.env or ())]


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
