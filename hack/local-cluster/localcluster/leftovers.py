"""What a cluster has on the machine: the list that must be empty after `down`."""

from pathlib import Path

from localcluster import cgroups, network
from localcluster.processes import command_line
from localcluster.settings import CGROUP, STATE, Places
from localcluster.state import State


def find(places: Places, state: State | None) -> list[str]:
    """Everything that is there now, a line each: processes, mounts, links, routes, groups, files."""
    processes = {process.pid for process in cgroups.members()}
    if state:
        processes |= {holder.pid for holder in state.living_holders()}
    return [
        *(f"process {pid}: {' '.join(command_line(pid))[:100]}" for pid in sorted(processes)),
        *(f"mount {point}" for point in mounts(places.run)),
        *(f"link {link}" for link in network.links()),
        *(f"route {route}" for route in network.routes()),
        *(f"cgroup {group}" for group in cgroups.groups() if group.name == CGROUP),
        *(f"directory {path}" for path in [places.run] if path.exists()),
        *(f"file {path}" for path in [STATE] if path.exists()),
    ]


def mounts(below: Path) -> list[str]:
    """Mount points at or below a directory in the host's mount namespace, innermost first."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in _mountinfo()]
    return sorted((point for point in points if Path(point).is_relative_to(below)), key=len, reverse=True)


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()
