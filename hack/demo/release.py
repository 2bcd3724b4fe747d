"""The Helm release robotgroups: installed, upgraded, looked after."""

import json
from collections.abc import Mapping
from pathlib import Path

from demo.diagnosis import explain_namespace
from demo.kube import JsonObject, Kube
from images.record import Image
from localcluster.console import ClusterError

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "robotgroups"
NAME = "robotgroups"
NAMESPACE = "robotgroups-system"


def values_of(images: Mapping[str, Image]) -> JsonObject:
    """The chart's values that name the images that were built."""
    by_part: dict[str, JsonObject] = {
        part: {"repository": image.repository, "tag": image.tag} for part, image in images.items()
    }
    return {
        "image": {"operator": by_part["operator"], "robot": by_part["robot"]},
        "postgres": {"image": by_part["postgres"]},
    }


def install(kube: Kube, values: JsonObject, *, timeout: str = "4m") -> int:
    """`helm upgrade --install`, waits for operator and Postgres, and returns the revision of the release."""
    repair(kube)
    arguments = ["upgrade", "--install", NAME, str(CHART), "--namespace", NAMESPACE, "--create-namespace"]
    arguments += ["--values", "-", "--wait", "--timeout", timeout, "--output", "json"]
    try:
        answer = kube.helm(*arguments, stdin=json.dumps(values))
    except ClusterError as error:
        raise ClusterError(f"{error}\n{explain_namespace(kube, NAMESPACE)}") from error
    return int(json.loads(answer)["version"])


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
