"""Empties volumes whose claim was deleted and offers them again: the local cluster has a few, and no provisioner.

A daemon of its own (`python -m localcluster.volumes CACHE`), in the control plane's pid namespace.
"""

import shutil
import sys
import time
import urllib.error
from pathlib import Path
from typing import Any

from localcluster.api import Api
from localcluster.console import say
from localcluster.settings import NODE_VOLUMES, STORAGE_CLASS, Places

PATH = "/api/v1/persistentvolumes"


def released(volume: dict[str, Any]) -> bool:
    """Whether the volume is one of the cluster's and its claim is gone (Kubernetes waits for the pods before that)."""
    return (
        volume["spec"].get("storageClassName") == STORAGE_CLASS
        and volume["status"].get("phase") == "Released"
        and volume["spec"].get("claimRef") is not None  # without it, it was offered already
    )


def directory(volume: dict[str, Any], places: Places) -> Path:
    """Where the host keeps what is in the volume; ValueError for a path outside of the node's volumes."""
    node: str = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"][0]
    inside = Path(volume["spec"]["local"]["path"])
    if inside.parent != Path(NODE_VOLUMES) or "/" in node or node.startswith("."):
        raise ValueError(f"volume {volume['metadata']['name']} is at {inside} on {node}: not the cluster's to empty")
    return places.run / node / str(inside).lstrip("/")


def empty(path: Path) -> None:
    """Removes what is in a volume and gives the directory back to root."""
    shutil.rmtree(path)
    path.mkdir(mode=0o755)


def watch(api: Api, places: Places) -> None:
    """Handles volumes until the API server ends the watch."""
    for event in api.watch(PATH):
        if event["type"] not in {"ADDED", "MODIFIED"} or not released(event["object"]):
            continue
        name = event["object"]["metadata"]["name"]
        now = api.get(f"{PATH}/{name}")  # the event may be old, and the volume somebody's again
        if released(now):
            empty(directory(now, places))
            version = now["metadata"]["resourceVersion"]
            api.merge(f"{PATH}/{name}", {"metadata": {"resourceVersion": version}, "spec": {"claimRef": None}})
            say(f"{name}: emptied and available")


def main() -> None:
    """Watches for ever; the control plane's end ends it."""
    places = Places(Path(sys.argv[1]))
    while True:
        try:
            watch(Api(places), places)
        except (OSError, urllib.error.URLError) as error:
            say(f"watch ended: {error}")
        time.sleep(1)


if __name__ == "__main__":
    main()
