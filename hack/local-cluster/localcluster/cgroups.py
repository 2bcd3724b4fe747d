"""Control groups of the cluster: all below one name, in every hierarchy (version 1) or in the one (version 2)."""

import os
import time
from contextlib import suppress
from pathlib import Path

from localcluster.processes import Process
from localcluster.settings import CGROUP

ROOT = Path("/sys/fs/cgroup")
# A machine's pods count twice as much as its daemons, as kubelet and systemd have it on a node of two cores; and each
# machine as much as a core's worth of other processes here: what its daemons do must not be at its pods' expense alone.
DAEMONS_WEIGHT, PODS_WEIGHT, CLUSTER_WEIGHT = 100, 200, 900
SHARES_PER_WEIGHT = 1024 / 100


def unified() -> bool:
    """Whether the machine has cgroup version 2 only."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """Mount points of the hierarchies in which kubelets make groups."""
    if unified():
        return [ROOT]
    return sorted(path for path in ROOT.iterdir() if not path.is_symlink() and (path / "tasks").exists())


def tracking() -> Path:
    """The group below which every process of the cluster lives; what is in it is ours to end."""
    return (ROOT if unified() else ROOT / "pids") / CGROUP


def create_for_kubelet(machine: str) -> str:
    """Makes the root group of a node's kubelet in every hierarchy and returns its name as kubelet's cgroupRoot."""
    for hierarchy in hierarchies():
        group = hierarchy / CGROUP / machine
        group.mkdir(parents=True, exist_ok=True)
        if hierarchy.name == "cpuset":  # version 1: a new cpuset is empty, and nothing can run in it
            for level in (group.parent, group):
                for setting in ("cpuset.cpus", "cpuset.mems"):
                    (level / setting).write_text((hierarchy / setting).read_text())
    _delegate()
    _weigh(CGROUP, CLUSTER_WEIGHT)
    _weigh(f"{CGROUP}/{machine}", PODS_WEIGHT)
    return f"/{CGROUP}/{machine}"


def create_for_daemons(machine: str) -> list[Path]:
    """Makes the groups of a machine's own processes; returns the files that take pids."""
    name = f"{CGROUP}/{machine}-system"
    groups = [tracking().parent / name] if unified() else [ROOT / "pids" / name, ROOT / "cpu" / name]
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    _delegate()
    _weigh(name, DAEMONS_WEIGHT)
    return [group / "cgroup.procs" for group in groups]


def _delegate() -> None:
    """Version 2: lets the groups below have every controller."""
    if unified():
        controllers = " ".join(f"+{name}" for name in (ROOT / "cgroup.controllers").read_text().split())
        for level in (ROOT, ROOT / CGROUP):
            (level / "cgroup.subtree_control").write_text(controllers)


def _weigh(name: str, weight: int) -> None:
    """Sets what a group gets of a busy processor, in relation to its neighbours (default: 100)."""
    if unified():
        (ROOT / name / "cpu.weight").write_text(str(weight))
    else:
        (ROOT / "cpu" / name / "cpu.shares").write_text(str(round(weight * SHARES_PER_WEIGHT)))


def groups() -> list[Path]:
    """Every group of the cluster, children first. Groups that vanish meanwhile (pods end at any time) are left out."""
    return [
        Path(directory)
        for hierarchy in hierarchies()
        for directory, _children, _files in os.walk(hierarchy / CGROUP, topdown=False)
    ]


def members() -> list[Process]:
    """Every process that lives in one of the cluster's groups."""
    found = set()
    for group in groups():
        with suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    found.add(Process.of(int(pid)))
    return sorted(found, key=lambda process: process.pid)


def remove(*, grace: float) -> list[Path]:
    """Removes the groups (the kernel may need a moment after the last process); returns those that remain."""
    deadline = time.monotonic() + grace
    while remaining := groups():
        for group in remaining:
            with suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return groups()
