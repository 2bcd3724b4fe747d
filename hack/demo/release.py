"""The Helm release robotgroups: installed, upgraded, looked after."""

import json
from collections.abc import Mapping
from pathlib import Path

from demo.diagnosis import explain_namespace, refuse_hopeless
from demo.kube import JsonObject, Kube, wait_until
from images.record import Image

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "robotgroups"
NAME = "robotgroups"
NAMESPACE = "robotgroups-system"


def values_of(images: Mapping[str, Image]) -> JsonObject:
    """The chart's values that name the images that were built."""
    by_part: dict[str, JsonObject] = {
        part: {"repository": image.repository, "tag": image.tag} for part, image in images.items()
    }
    local = {"robotLocal": by_part["robot-local"]} if "robot-local" in by_part else {}
    return {
        "image": {"operator": by_part["operator"], "robot": by_part["robot"], **local},
        "postgres": {"image": by_part["postgres"]},
    }


def install(kube: Kube, values: JsonObject, *, seconds: float = 240) -> int:
    """`helm upgrade --install`, waits for operator and Postgres, and returns the revision of the release."""
    repair(kube)
    arguments = ["upgrade", "--install", NAME, str(CHART), "--namespace", NAMESPACE, "--create-namespace"]
    arguments += ["--values", "-", "--output", "json"]
    revision = int(json.loads(kube.helm(*arguments, stdin=json.dumps(values)))["version"])
    # `helm --wait` would say nothing of a pod that cannot start.
    wait_until(
        "operator and Postgres are up",
        seconds,
        lambda: _rolled_out(kube),
        explain=lambda: explain_namespace(kube, NAMESPACE),
    )
    return revision


def _rolled_out(kube: Kube) -> bool:
    """Whether every Deployment and StatefulSet of the release has its pods; ClusterError when one cannot start."""
    for kind in ("deployments", "statefulsets"):
        for found in kube.listing(f"/apis/apps/v1/namespaces/{NAMESPACE}/{kind}", f"app.kubernetes.io/instance={NAME}"):
            status, wanted = found.get("status", {}), found["spec"]["replicas"]
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            if status.get("observedGeneration") != found["metadata"]["generation"] or counts != [wanted] * 3:
                refuse_hopeless(kube, NAMESPACE)
                return False
    return True


def repair(kube: Kube) -> None:
    """Undoes an installation or upgrade that was broken off: Helm refuses to touch such a release."""
    state = status(kube)
    if state in {"pending-install", "uninstalling"}:
        kube.helm("uninstall", NAME, "--namespace", NAMESPACE, "--wait")
    elif state in {"pending-upgrade", "pending-rollback"}:
        kube.helm("rollback", NAME, "--namespace", NAMESPACE)


def status(kube: Kube) -> str | None:
    """Helm's word for the state of the release; None when there is none."""
    listed = json.loads(
        kube.helm("list", "--all", "--namespace", NAMESPACE, "--filter", f"^{NAME}$", "--output", "json")
    )
    return str(listed[0]["status"]) if listed else None


def uninstall(kube: Kube) -> None:
    """`helm uninstall`: the resource RobotGroup and the volume stay."""
    kube.helm("uninstall", NAME, "--namespace", NAMESPACE, "--wait", "--timeout", "2m")
