"""The command line of the local cluster."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from localcluster import binaries, containers, images, leftovers, lifecycle, network, state
from localcluster.api import Api
from localcluster.console import ClusterError, say
from localcluster.processes import Process, command_line, namespace_pids, pids
from localcluster.settings import Places, cache, machines
from localcluster.state import State

DAEMONS = {*binaries.COMPONENTS, "containerd"}
SIGNALS = {number.name.removeprefix("SIG"): number for number in signal.Signals}


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    root = argparse.ArgumentParser(prog="cluster", description="A real Kubernetes cluster on this machine.")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="build the programs into the cache")
    commands.add_parser("programs", help="build only the programs: needs neither root nor packages")
    starting = commands.add_parser("up", help="bring the cluster up, if it is not")
    starting.add_argument("nodes", type=int, nargs="?", default=2, metavar="NODES")
    commands.add_parser("down", help="end the cluster and remove everything of it")
    commands.add_parser("status", help="say what runs (exit 1 unless the cluster is whole)")
    commands.add_parser("leftovers", help="list what the cluster has on the machine (exit 1 if anything)")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    commands.add_parser("bin", help="print the directory that has kubectl and helm")
    loading = commands.add_parser("load", help="load image archives into the nodes that do not have them")
    loading.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE")
    commands.add_parser("kubectl", help="run kubectl against the cluster (all that follows is kubectl's)")
    for name, help_text in (("cut", "pull a node's network cable"), ("heal", "plug it in again")):
        commands.add_parser(name, help=help_text).add_argument("node")
    for name, help_text in (
        ("pid", "print the pid, on this machine, of a container's main process"),
        ("signal", "send it a signal"),
    ):
        sub = commands.add_parser(name, help=help_text)
        for argument in ("namespace", "pod", "container"):
            sub.add_argument(argument)
        if name == "signal":
            sub.add_argument("signal", choices=sorted(SIGNALS), metavar="SIGNAL", help="KILL, STOP, CONT, …")
    return root


def main() -> int:
    """Runs one command; a ClusterError is told in one line."""
    words = sys.argv[1:]
    kubectl_words = words[1:] if words[:1] == ["kubectl"] else []
    arguments = parser().parse_args(words[:1] if kubectl_words else words)
    arguments.kubectl_words = kubectl_words
    try:
        machines(getattr(arguments, "nodes", 1))
    except ValueError as error:
        say(f"cluster {arguments.command}: {error}")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        return _run(arguments)
    except ClusterError as error:
        say(f"cluster {arguments.command}: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"cluster {arguments.command}: interrupted")
        return 130


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(arguments: argparse.Namespace) -> int:
    places = Places(cache())
    match arguments.command:
        case "build":
            binaries.build(places)
        case "programs":
            binaries.programs(places)
        case "kubeconfig":
            print(state.running().places.kubeconfig)
        case "bin":
            found = state.read()
            print((found.places if found else places).bin)
        case "status" | "leftovers":
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader may leave early
            return _status() if arguments.command == "status" else _leftovers(places)
        case _ if os.geteuid() != 0:
            raise ClusterError("the local cluster needs root (namespaces, mounts, links): use sudo --preserve-env")
        case "up":
            print(lifecycle.up(places, arguments.nodes).places.kubeconfig)
        case "down":
            return _down(places)
        case _:
            return _on_running(state.running(), arguments)
    return 0


def _on_running(running: State, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "load":
            images.load(running, arguments.archives)
        case "kubectl":
            kubectl = running.places.bin / "kubectl"
            environment = os.environ | {"KUBECONFIG": str(running.places.kubeconfig)}
            os.execve(kubectl, ["kubectl", *arguments.kubectl_words], environment)  # noqa: S606 (no shell wanted)
        case "cut" | "heal":
            by_name = {machine.name: machine for machine in running.machines}
            if arguments.node not in by_name:
                raise ClusterError(f"no node {arguments.node}: there are {', '.join(by_name)}")
            network.set_link(by_name[arguments.node], up=arguments.command == "heal")
        case "pid":
            print(_main_process(running, arguments).pid)
        case "signal":
            _main_process(running, arguments).send(SIGNALS[arguments.signal])
    return 0


def _main_process(running: State, arguments: argparse.Namespace) -> Process:
    api = Api(running.places)
    node, container = containers.container_id(api, arguments.namespace, arguments.pod, arguments.container)
    return containers.main_process(running, node, container)


def _status() -> int:
    found = state.read()
    if found is None:
        print("down")
        return 1
    print(f"{'up' if found.whole else 'broken'}: {found.nodes} nodes, kubeconfig {found.places.kubeconfig}")
    for machine in found.machines:
        holder = found.holders.get(machine.name)
        if machine.name in found.dead or holder is None:
            print(f"  {machine.name}: gone")
            continue
        inside = [command_line(pid) for pid in pids() if _belongs(pid, holder)]
        programs = [os.path.basename(words[0]) for words in inside if words and words[0]]
        daemons = sorted(set(programs) & DAEMONS)
        link = "connected" if network.is_up(machine) else "cut off"
        what = f"{', '.join(daemons)}; {len(inside)} processes"
        print(f"  {machine.name}: {machine.address}, {link}, process {holder.pid}: {what}")
    return 0 if found.whole else 1


def _belongs(pid: int, holder: Process) -> bool:
    try:
        return (
            os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{holder.pid}/ns/pid")
            and len(namespace_pids(pid)) > 1
        )
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _leftovers(places: Places) -> int:
    found = state.read()
    things = leftovers.find(found.places if found else places, found)
    print("\n".join(things) or "nothing")
    return 1 if things else 0


def _down(places: Places) -> int:
    remaining = lifecycle.down(places)
    for thing in remaining:
        say(f"    still there: {thing}")
    if not remaining:
        say("checked: no process, mount, link, route, control group or file of the cluster is left")
    return 1 if remaining else 0


if __name__ == "__main__":
    sys.exit(main())
