"""`python -m clusters`: the chosen cluster, for the Makefile."""

import argparse
import shlex
import sys
from pathlib import Path

from clusters.choice import choose
from clusters.interface import Cluster
from images import record
from localcluster.console import ClusterError, say


def main() -> int:
    """Runs one command on the chosen cluster."""
    parser = argparse.ArgumentParser(prog="clusters", description="The cluster that CLUSTER and KUBECONFIG choose.")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="bring it up")
    starting.add_argument("--started-file", type=Path, help="make this file if it was down before")
    commands.add_parser("down", help="take it down")
    commands.add_parser("load", help="load the images of the last `make images`")
    commands.add_parser("describe", help="print which it is")
    commands.add_parser("kind", help="print existing, kind or local")
    commands.add_parser("env", help="print the shell's export of KUBECONFIG and PATH")
    arguments = parser.parse_args()
    try:
        _run(choose(), arguments)
    except (ClusterError, FileNotFoundError) as error:
        say(f"cluster: {error}")
        return 1
    return 0


def _run(cluster: Cluster, arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "up":
            say(f"cluster: {cluster.describe()}")
            if cluster.up() and arguments.started_file:
                arguments.started_file.parent.mkdir(parents=True, exist_ok=True)
                arguments.started_file.touch()
        case "down":
            cluster.down()
        case "load":
            cluster.load(list(record.read().values()))
        case "describe":
            print(cluster.describe())
        case "kind":
            print(cluster.kind)
        case "env":
            for name in ("KUBECONFIG", "PATH"):
                print(f"export {name}={shlex.quote(cluster.environment()[name])}")


if __name__ == "__main__":
    sys.exit(main())
