"""The record of the images that were built last: build/images.json, for Helm, the demo and the tests."""

import json
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from images.content import ROOT

RECORD = ROOT / "build" / "images.json"


class Builder(Enum):
    """What builds images."""

    DOCKER = "docker"
    BUILDAH = "buildah"


@dataclass(frozen=True)
class Image:
    """A built image. `archive` is None where it is in Docker's store; sizes are bytes."""

    part: str
    repository: str
    tag: str
    archive: str | None
    compressed_bytes: int | None

    @property
    def name(self) -> str:
        """The name that pods use."""
        return f"{self.repository}:{self.tag}"


def write(images: list[Image], path: Path = RECORD) -> None:
    """Writes the record."""
    path.parent.mkdir(exist_ok=True)
    document = {image.part: asdict(image) | {"name": image.name} for image in images}
    path.write_text(json.dumps(document, indent=2) + "\n")


def read(path: Path = RECORD) -> dict[str, Image]:
    """The images by part (robot, operator, postgres); FileNotFoundError before the first `make images`."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make images`")
    document = json.loads(path.read_text())
    for image in document.values():
        image.pop("name")
    return {part: Image(**image) for part, image in document.items()}
