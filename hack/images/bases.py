"""Base images without a registry: Debian trixie made by mmdebstrap from Debian's signed archive."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from localcluster.binaries import buildah
from localcluster.commands import run
from localcluster.console import step

SUITE = "trixie"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")


@dataclass(frozen=True)
class Base:
    """A base image: the packages that it has besides the essential ones."""

    name: str
    packages: tuple[str, ...]

    @property
    def image(self) -> str:
        """Its name in buildah's store; the tag is a hash of what it is made from."""
        made_from = "\0".join((SUITE, *self.packages, *LEFT_OUT))
        return f"localhost/robotgroups-base-{self.name}:{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"


BASES = {
    "python": Base("python", ("ca-certificates", "python3", "python3-venv")),
    "debian": Base("debian", ("ca-certificates",)),
}


def exists(cache: Path, image: str) -> bool:
    """Whether buildah's store has the image."""
    return bool(run(*buildah(cache), "images", "--quiet", "--noheading", image, check=False).strip())


def provide(base: Base, cache: Path) -> str:
    """Makes the base image unless it is there; returns its name."""
    if exists(cache, base.image):
        return base.image
    with step(f"make the base image {base.name} (Debian {SUITE})", "30 s"), tempfile.TemporaryDirectory() as work:
        tree = Path(work) / "base.tar"
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
        include = f"--include={','.join(base.packages)}"
        run("mmdebstrap", "--quiet", "--variant=minbase", include, *options, SUITE, tree)
        recipe = Path(work) / "Dockerfile"
        recipe.write_text("FROM scratch\nADD base.tar /\n")
        run(*buildah(cache), "bud", "--quiet", "--isolation", "chroot", "--file", recipe, "--tag", base.image, work)
    return base.image
