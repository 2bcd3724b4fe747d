"""Builds the cluster's programs and the two images that every node needs, once per version, into the cache."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localcluster import packages, toolchain
from localcluster.commands import run
from localcluster.console import step
from localcluster.settings import COREDNS, COREDNS_IMAGE, HELM, KUBERNETES, PAUSE_IMAGE, SOURCE, Places
from localcluster.state import locked

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)
VERSION_FLAGS = " ".join(
    f"-X {package}.gitVersion={KUBERNETES}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
)


def archives(places: Places) -> list[Path]:
    """The archives of the images that every node needs."""
    return [places.bin / "pause.tar", places.bin / "coredns.tar"]


def buildah(cache: Path) -> list[str]:
    """buildah with a store of its own in the cache, so that the machine's stays as it is."""
    return ["buildah", "--root", str(cache / "buildah" / "storage"), "--runroot", str(cache / "buildah" / "run")]


def build(places: Places) -> None:
    """Builds what the cluster needs and does not have yet."""
    packages.install()
    programs(places)
    _missing(
        places,
        Product("pause.tar", "image of pause", "5 s", _pause_image),
        Product("coredns.tar", "image of CoreDNS", "5 s", _coredns_image),
    )


def programs(places: Places) -> None:
    """Builds the programs alone: no root and no packages are needed, only Go (fetched where it is missing)."""
    _missing(
        places,
        Product("pause", "pause", "1 min", _pause),
        Product("kube", f"etcd and Kubernetes {KUBERNETES}", "5 min on 2 cores", _kube),
        Product("helm", f"Helm {HELM}", "2 min", _helm),
        Product("coredns", f"CoreDNS {COREDNS}", "2 min", _coredns),
    )
    for component in COMPONENTS:
        link = places.bin / component
        if not link.is_symlink():
            link.symlink_to("kube")


@dataclass(frozen=True)
class Product:
    """A file of the cache, what to call it, how long it takes the first time, and what makes it."""

    file: str
    what: str
    first_time: str
    make: Callable[[Places, Path], None]


def _missing(places: Places, *products: Product) -> None:
    """Makes what is missing; a lock keeps two builds apart, and a broken-off one leaves no half-written file."""
    if all((places.bin / product.file).exists() for product in products):
        return
    places.bin.mkdir(parents=True, exist_ok=True)
    with locked(places.cache / "local-cluster" / "build.lock"):
        for product in products:
            path = places.bin / product.file
            if not path.exists():
                with step(f"build {product.what}", product.first_time):
                    _whole(path, product.make, places)


def _whole(path: Path, make: Callable[[Places, Path], None], places: Places) -> None:
    with tempfile.TemporaryDirectory(dir=places.bin, prefix=".building-") as work:
        product = Path(work) / path.name
        make(places, product)
        product.rename(path)


def _go(places: Places, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
    tool = toolchain.go(places.cache)
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": os.environ.get("GOFLAGS", "-buildvcs=false")}
    run(tool, *arguments, cwd=SOURCE / "kube", env=settings | (env or {}))


def _pause(places: Places, product: Path) -> None:
    _go(places, "build", "-trimpath", "-ldflags=-s -w", "-o", product, "./pause")


def _kube(places: Places, product: Path) -> None:
    _go(places, "build", "-trimpath", f"-ldflags=-s -w {VERSION_FLAGS}", "-o", product, ".")


def kubectl_alone(places: Places, product: Path) -> None:
    """Builds kubectl by itself, for a cluster that has no use for the rest."""
    _go(places, "build", "-trimpath", f"-ldflags=-s -w {VERSION_FLAGS}", "-o", product, "./kubectl")


def _coredns(places: Places, product: Path) -> None:
    go_install(places, f"github.com/coredns/coredns@{COREDNS}", product)


def _helm(places: Places, product: Path) -> None:
    go_install(places, f"helm.sh/helm/v3/cmd/helm@{HELM}", product)


def go_install(places: Places, package: str, product: Path) -> None:
    """Builds a program (its last path element, at a pinned version) into the directory of `product`."""
    _go(places, "install", "-ldflags=-s -w", package, env={"GOBIN": str(product.parent)})


def _pause_image(places: Places, product: Path) -> None:
    _image(places, "pause", PAUSE_IMAGE, product)


def _coredns_image(places: Places, product: Path) -> None:
    _image(places, "coredns", COREDNS_IMAGE, product)


def _image(places: Places, program: str, name: str, product: Path) -> None:
    tool = buildah(places.cache)
    with tempfile.TemporaryDirectory() as context:
        shutil.copy(places.bin / program, context)
        recipe = Path(context) / "Dockerfile"
        recipe.write_text(f'FROM scratch\nCOPY {program} /{program}\nENTRYPOINT ["/{program}"]\n')
        run(*tool, "bud", "--quiet", "--isolation", "chroot", "--file", recipe, "--tag", name, context)
    run(*tool, "push", "--quiet", "--disable-compression", name, f"oci-archive:{product}:{name}")
