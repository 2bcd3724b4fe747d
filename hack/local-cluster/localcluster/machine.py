"""A machine of the cluster: a set of Linux namespaces held by one process.

Every process of a machine lives in its pid namespace and every mount in its mount namespace. Ending its first process
therefore ends the machine: the kernel kills what runs in it and drops its mounts and interfaces. Nothing has to be
found by name.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from localcluster import cgroups, network
from localcluster.commands import environment, run, wait_for
from localcluster.processes import Process, children
from localcluster.settings import GATEWAY, NODE_BIN, SOURCE, Machine, Places

MACHINE_PATH = f"{NODE_BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
# Enters control groups, the arguments before "--", then becomes the command after it.
JOIN_GROUPS = 'while [ "$1" != -- ]; do echo $$ >"$1" && shift || exit; done; shift; exec "$@"'


def boot(machine: Machine, places: Places) -> Process:
    """Makes the machine's namespaces and returns the process that holds them."""
    groups = [str(group) for group in cgroups.create_for_daemons(machine.name)]
    unshare = ["unshare", "--fork", "--pid", "--mount-proc", "--mount", "--net", "--uts", "--ipc"]
    starter = subprocess.Popen(
        ["sh", "-c", JOIN_GROUPS, "sh", *groups, "--", *unshare, str(places.bin / "pause")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(),
        cwd="/",
    )
    try:
        wait_for(f"start of machine {machine.name}", 10, lambda: _is_pause(starter.pid), every=0.01)
        holder = Process.of(children(starter.pid)[0])
    finally:
        starter.kill()  # it only waits for the holder, which lives on without it
        starter.wait()
    return holder


def _is_pause(starter: int) -> bool:
    found = children(starter)
    return bool(found) and os.path.basename(os.path.realpath(f"/proc/{found[0]}/exe")) == "pause"


def furnish(machine: Machine, holder: Process, places: Places, everyone: Sequence[Machine]) -> None:
    """Plugs the machine in and gives it its directories, address and routes to the pods of the others."""
    network.plug_in(machine, holder.pid)
    ways = [part for other in everyone if other.pods and other != machine for part in (other.pods, other.address)]
    setup = (SOURCE / "machine-setup.sh").read_text()
    arguments = [machine.name, machine.address, GATEWAY, str(directory(machine, places)), str(places.bin), *ways]
    run(*entering(holder), "sh", "-eus", *arguments, stdin=setup)


def directory(machine: Machine, places: Places) -> Path:
    """Where the host keeps the machine's files."""
    return places.run / machine.name


def entering(holder: Process) -> list[str]:
    """The command prefix that runs a program inside a machine."""
    return ["nsenter", "--target", str(holder.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--"]


def execute(holder: Process, *command: str, stdin: str | IO[bytes] | None = None, check: bool = True) -> str:
    """Runs a program inside a machine to its end and returns what it printed."""
    return run(*entering(holder), "env", f"PATH={MACHINE_PATH}", *command, stdin=stdin, check=check)


def start_daemon(machine: Machine, holder: Process, places: Places, name: str, *command: str) -> None:
    """Starts a program that stays, as a child of the machine's first process; its output goes to the logs."""
    inside = ["env", "-i", f"PATH={MACHINE_PATH}", "HOME=/root", *command]
    _start(machine, places, name, entering(holder), inside)


def start_daemon_on_host_files(machine: Machine, holder: Process, places: Places, name: str, *command: str) -> None:
    """Like start_daemon, but only in the machine's pid namespace: it ends with the machine, and sees host files."""
    _start(machine, places, name, ["nsenter", "--target", str(holder.pid), "--pid", "--"], list(command))


def _start(machine: Machine, places: Places, name: str, enter: list[str], command: list[str]) -> None:
    groups = [str(group) for group in cgroups.create_for_daemons(machine.name)]
    with (places.logs / f"{machine.name}-{name}.log").open("ab") as log:
        # setsid forks: the daemon loses its parent here, and the machine's first process adopts it.
        subprocess.run(
            ["sh", "-c", JOIN_GROUPS, "sh", *groups, "--", *enter, "setsid", "--fork", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=True,
            env=environment(),
            cwd="/",
        )
