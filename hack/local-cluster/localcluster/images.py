"""Images in the nodes' containerd."""

import json
import tarfile
from functools import partial
from pathlib import Path

from localcluster.commands import at_once
from localcluster.console import ClusterError, say, step
from localcluster.machine import execute
from localcluster.processes import Process
from localcluster.settings import NODE_CONTAINERD, Machine
from localcluster.state import State

CTR = ("ctr", "--address", NODE_CONTAINERD, "--namespace", "k8s.io", "images")


def names_in(archive: Path) -> set[str]:
    """The image names that an OCI or Docker archive carries; a ClusterError when it is neither."""
    try:
        with tarfile.open(archive) as tar:
            members = set(tar.getnames())
            if "index.json" in members and (index := tar.extractfile("index.json")):
                manifests = json.load(index)["manifests"]
                key = "org.opencontainers.image.ref.name"
                return {
                    manifest["annotations"][key] for manifest in manifests if key in manifest.get("annotations", {})
                }
            if "manifest.json" in members and (listing := tar.extractfile("manifest.json")):
                return {name for image in json.load(listing) for name in image["RepoTags"] or []}
    except (OSError, tarfile.TarError) as error:
        raise ClusterError(f"{archive} is no image archive: {error}") from error
    raise ClusterError(f"{archive} is neither an OCI nor a Docker image archive")


def names_on(holder: Process) -> set[str]:
    """The images that a node has."""
    return set(execute(holder, *CTR, "ls", "--quiet").split())


def load_into(node: Machine, holder: Process, archives: list[Path]) -> list[str]:
    """Imports the archives whose images the node does not have yet; returns the names imported."""
    present = names_on(holder)
    imported: list[str] = []
    for archive in archives:
        names = names_in(archive)
        if names <= present and names:
            continue
        with archive.open("rb") as content:
            execute(holder, *CTR, "import", "-", stdin=content)
        imported += sorted(names)
    if missing := set(imported) - names_on(holder):
        raise ClusterError(f"{node.name} does not have {', '.join(sorted(missing))} after the import")
    return imported


def load(state: State, archives: list[Path]) -> None:
    """Loads archives into every node, all nodes at once."""
    with step(f"load {len(archives)} image archives into {state.nodes} nodes", "10 s each"):
        nodes = state.node_machines
        loaded = at_once([partial(load_into, node, state.holders[node.name], archives) for node in nodes])
        for node, names in zip(nodes, loaded, strict=True):
            say(f"    {node.name}: {', '.join(names) or 'has them all'}")
