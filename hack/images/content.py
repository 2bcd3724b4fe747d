"""What goes into an image, and the tag that follows from it."""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Recipe:
    """An image of the project: its Dockerfile, its base, and the files that it is made of."""

    part: str
    dockerfile: str
    base: str
    public_base: str
    sources: tuple[str, ...]
    on: str = ""
    """The part whose image it adds to, if it does: its Dockerfile's argument <PART>_IMAGE."""
    optional: bool = False

    @property
    def uses_pip(self) -> bool:
        """Whether the build asks a package index; the others take from Debian's archive only."""
        return bool(self.sources)

    @property
    def repository(self) -> str:
        """The image's name without its tag."""
        return f"localhost/robotgroups-{self.part}"


RECIPES = (
    Recipe(
        part="robot",
        dockerfile="robot-image/Dockerfile",
        base="python",
        public_base="python:3.13-slim",
        sources=("memory/robotgroups", "robot-image/robotgroups_robot", "hack/locks/robot.txt", "hack/locks/build.txt"),
    ),
    Recipe(
        part="robot-local",
        dockerfile="robot-image/Dockerfile.local",
        base="python",
        public_base="python:3.13-slim",
        sources=("hack/locks/local-model.txt",),
        on="robot",
        optional=True,
    ),
    Recipe(
        part="operator",
        dockerfile="operator/Dockerfile",
        base="python",
        public_base="python:3.13-slim",
        sources=(
            "memory/robotgroups",
            "operator/robotgroups_operator",
            "hack/locks/operator.txt",
            "hack/locks/build.txt",
        ),
    ),
    Recipe(
        part="postgres",
        dockerfile="hack/images/postgres/Dockerfile",
        base="debian",
        public_base="debian:trixie-slim",
        sources=(),
    ),
)


def files(recipe: Recipe, root: Path = ROOT) -> list[Path]:
    """Every file that the image is made of, in a fixed order."""
    found = [root / recipe.dockerfile]
    for source in recipe.sources:
        path = root / source
        found += [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not _compiled(p))
    return found


def _compiled(path: Path) -> bool:
    return "__pycache__" in path.parts or path.suffix == ".pyc"


def packaging(root: Path = ROOT) -> str:
    """The part of pyproject.toml that reaches an image: a new setting of a linter makes no new image."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    return json.dumps([project["project"], project["build-system"], project["tool"]["hatch"]], sort_keys=True)


def tag(recipe: Recipe, base: str, root: Path = ROOT) -> str:
    """A short hash of all that goes into the image: pods roll when their image changed, and only then.

    `base` identifies the base image, and the one that it adds to.
    """
    digest = hashlib.sha256(base.encode())
    if recipe.uses_pip:
        digest.update(packaging(root).encode())
    for path in files(recipe, root):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(root)}\0{path.stat().st_mode & 0o111}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
