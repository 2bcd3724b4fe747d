"""Builds the images with Docker, or with buildah where there is no Docker."""

import json
import os
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

from images.bases import BASES, exists, provide
from images.content import RECIPES, ROOT, Recipe, tag
from images.record import Builder, Image
from localcluster import packages
from localcluster.binaries import buildah
from localcluster.commands import run
from localcluster.console import say, step
from localcluster.settings import cache
from localcluster.state import locked

KEPT_ARCHIVES = 3  # of each image, newest first


def build_all(builder: Builder, *, optional: bool) -> list[Image]:
    """Builds every image whose content has no image yet, the optional ones if asked to; returns them all."""
    recipes = [recipe for recipe in RECIPES if optional or not recipe.optional]
    built: dict[str, Image] = {}
    if builder is Builder.DOCKER:
        for recipe in recipes:
            built[recipe.part] = _with_docker(recipe, built.get(recipe.on))
        return list(built.values())
    packages.install()
    directory = cache() / "images"
    with locked(directory / "build.lock"):
        for recipe in recipes:
            built[recipe.part] = _with_buildah(recipe, built.get(recipe.on), directory)
    return list(built.values())


def _bases(base: str, on: Image | None) -> str:
    return base if on is None else f"{base}\0{on.name}"


def _on_argument(recipe: Recipe, on: Image | None) -> list[str]:
    return [] if on is None else ["--build-arg", f"{recipe.on.upper()}_IMAGE={on.name}"]


def _with_docker(recipe: Recipe, on: Image | None) -> Image:
    image = Image(recipe.part, recipe.repository, tag(recipe, _bases(recipe.public_base, on)), None, None)
    present = subprocess.run(["docker", "image", "inspect", image.name], capture_output=True, check=False)
    if present.returncode == 0:
        say(f"    {image.name} is built")
        return image
    with step(f"build {image.name} with Docker", "1 min"):
        subprocess.run(
            ["docker", "build", *_on_argument(recipe, on), "--file", recipe.dockerfile, "--tag", image.name, "."],
            cwd=ROOT,
            check=True,
            stdout=2,
        )
    return image


def _with_buildah(recipe: Recipe, on: Image | None, directory: Path) -> Image:
    base = BASES[recipe.base]
    image_tag = tag(recipe, _bases(base.image, on))
    archive = directory / f"{recipe.part}-{image_tag}.tar"
    image = Image(recipe.part, recipe.repository, image_tag, str(archive), None)
    if archive.exists():
        say(f"    {image.name} is built")
    else:
        provide(base, cache())
        if on is not None and not exists(cache(), on.name):
            run(*buildah(cache()), "pull", "--quiet", f"oci-archive:{on.archive}")
        with step(f"build {image.name} with buildah", "1 min"):
            _bud(recipe, base.image, image.name, on)
            unfinished = archive.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            store = buildah(cache())
            run(
                *store, "push", "--quiet", "--disable-compression", image.name, f"oci-archive:{unfinished}:{image.name}"
            )
            unfinished.rename(archive)
            _prune(recipe, directory, archive)
    size = compressed_bytes(archive, directory / "layer-sizes.json")
    return Image(recipe.part, recipe.repository, image_tag, str(archive), size)


def _bud(recipe: Recipe, base: str, name: str, on: Image | None) -> None:
    arguments = [
        "bud",
        *_on_argument(recipe, on),
        "--quiet",
        "--layers",
        "--isolation",
        "chroot",
        "--build-arg",
        f"BASE_IMAGE={base}",
    ]
    if recipe.uses_pip:  # it has to trust what this machine trusts, and to ask where it asks
        for settings in ("/etc/ssl/certs", "/etc/pip.conf"):
            if Path(settings).exists():
                arguments += ["--volume", f"{settings}:{settings}:ro"]
        for variable in ("PIP_CERT", "PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            if value := os.environ.get(variable):
                arguments += ["--build-arg", f"{variable}={value}"]
    run(*buildah(cache()), *arguments, "--file", ROOT / recipe.dockerfile, "--tag", name, ROOT)


def _prune(recipe: Recipe, directory: Path, newest: Path) -> None:
    digits = "?" * len(tag(recipe, ""))  # not those of another part that begins alike
    archives = sorted(
        directory.glob(f"{recipe.part}-{digits}.tar"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for old in archives[KEPT_ARCHIVES:]:
        if old != newest:
            old.unlink()
            name = f"{recipe.repository}:{old.stem.removeprefix(recipe.part + '-')}"
            if exists(cache(), name):
                run(*buildah(cache()), "rmi", name)


def compressed_bytes(archive: Path, known_sizes: Path) -> int:
    """The image's size as a registry would keep it: its layers, each through gzip at the usual level.

    `known_sizes` remembers layers by digest: measuring takes seconds, and most layers never change.
    """
    known: dict[str, int] = json.loads(known_sizes.read_text()) if known_sizes.exists() else {}
    total = 0
    with tarfile.open(archive) as tar:
        index = _document(tar, "index.json")
        manifest = _document(tar, _blob(index["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            digest = layer["digest"]
            if digest not in known:
                known[digest] = _gzipped(tar, _blob(digest))
            total += known[digest]
    new = known_sizes.with_suffix(".new")
    new.write_text(json.dumps(known, indent=2) + "\n")
    shutil.move(new, known_sizes)
    return total


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _document(tar: tarfile.TarFile, member: str) -> dict[str, list[dict[str, str]]]:
    content = tar.extractfile(member)
    assert content is not None, member
    document: dict[str, list[dict[str, str]]] = json.load(content)
    return document


def _gzipped(tar: tarfile.TarFile, member: str) -> int:
    content = tar.extractfile(member)
    assert content is not None, member
    packer = zlib.compressobj(level=6, wbits=31)
    size = 0
    while block := content.read(1 << 20):
        size += len(packer.compress(block))
    return size + len(packer.flush())
