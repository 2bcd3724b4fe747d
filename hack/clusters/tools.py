"""kubectl, helm and kind for clusters that bring none: those on the path, else pinned ones built into the cache."""

import shutil
from pathlib import Path

from localcluster.binaries import go_install, kubectl_alone
from localcluster.console import step
from localcluster.settings import HELM, Places, cache
from localcluster.state import locked

KIND = "v0.30.0"


def provide(*names: str) -> Path | None:
    """The directory with the tools that are not on the path; None when all of them are."""
    if all(shutil.which(name) for name in names):
        return None
    if all((Places(cache()).bin / name).exists() for name in names):
        return Places(cache()).bin  # the local cluster's
    directory = cache() / f"tools-helm-{HELM}-kind-{KIND}"
    with locked(cache() / "tools.lock"):
        for name in names:
            if not shutil.which(name) and not (directory / name).exists():
                with step(f"build {name}", "2 min"):
                    _build(name, directory)
    return directory


def _build(name: str, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    places = Places(cache())
    match name:
        case "kubectl":
            kubectl_alone(places, directory / name)
        case "helm":
            go_install(places, f"helm.sh/helm/v3/cmd/helm@{HELM}", directory / name)
        case "kind":
            go_install(places, f"sigs.k8s.io/kind@{KIND}", directory / name)
        case _:
            raise ValueError(f"no recipe for {name}")
