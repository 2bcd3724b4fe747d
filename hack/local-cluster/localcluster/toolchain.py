"""The Go toolchain: the machine's, if it is recent enough, else a pinned one from the Go module proxy."""

import hashlib
import os
import re
import shutil
import urllib.request
import zipfile
from pathlib import Path

from localcluster.commands import run
from localcluster.console import ClusterError, step
from localcluster.settings import GO_TOOLCHAIN, GO_TOOLCHAIN_SHA256, MINIMUM_GO, goarch


def go(cache: Path) -> Path:
    """A Go new enough to build the cluster; fetches it into the cache where the machine has none."""
    installed = shutil.which("go")
    if installed and _version(Path(installed)) >= MINIMUM_GO:
        return Path(installed)
    home = cache / f"go-{GO_TOOLCHAIN}"
    binary = home / "bin" / "go"
    if not binary.exists():
        with step(f"fetch the Go toolchain {GO_TOOLCHAIN}", "1 min"):
            _fetch(home)
    return binary


def _version(binary: Path) -> tuple[int, int]:
    found = re.search(r"go(\d+)\.(\d+)", run(binary, "version", env={"GOTOOLCHAIN": "local"}))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _proxy() -> str:
    """The module proxy: GOPROXY's first, as set or as an older Go has it. Raises ClusterError where neither is."""
    installed = shutil.which("go")
    entries = os.environ.get("GOPROXY") or (run(installed, "env", "GOPROXY").strip() if installed else "")
    for entry in re.split("[,|]", entries):
        if entry.startswith("http"):
            return entry.rstrip("/")
    wanted = ".".join(map(str, MINIMUM_GO))
    raise ClusterError(f"Go {wanted} is needed to build the cluster: install it, or set GOPROXY to fetch it from there")


def _fetch(home: Path) -> None:
    arch = goarch()
    proxy = _proxy()
    name = f"golang.org/toolchain@v0.0.1-go{GO_TOOLCHAIN}.linux-{arch}"
    url = f"{proxy}/golang.org/toolchain/@v/v0.0.1-go{GO_TOOLCHAIN}.linux-{arch}.zip"
    home.parent.mkdir(parents=True, exist_ok=True)
    archive = home.with_suffix(".zip")
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=60) as answer, archive.open("wb") as file:  # noqa: S310 (https, pinned)
        while block := answer.read(1 << 20):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != GO_TOOLCHAIN_SHA256[arch]:
        archive.unlink()
        raise ClusterError(f"{url} has SHA-256 {digest.hexdigest()}, not the pinned {GO_TOOLCHAIN_SHA256[arch]}")
    unpacked = home.with_suffix(".unpacking")
    shutil.rmtree(unpacked, ignore_errors=True)
    with zipfile.ZipFile(archive) as content:
        content.extractall(unpacked)
    for program in [*(unpacked / name / "bin").iterdir(), *(unpacked / name / "pkg" / "tool").rglob("*")]:
        program.chmod(0o755)  # archives of the module proxy carry no modes
    (unpacked / name).rename(home)
    shutil.rmtree(unpacked)
    archive.unlink()
