"""The wire between the machines: one bridge on the host, a link for each machine."""

import json
from contextlib import suppress
from ipaddress import ip_network

from localcluster.commands import run
from localcluster.console import ClusterError
from localcluster.settings import BRIDGE, GATEWAY, MACHINES, SERVICES, Machine, networks


def create_bridge() -> None:
    """Makes the bridge that the machines are plugged into; the host has an address on it."""
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def plug_in(machine: Machine, pid: int) -> None:
    """Gives the network namespace of process `pid` an eth0 on the bridge."""
    run("ip", "link", "add", machine.link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    run("ip", "link", "set", machine.link, "master", BRIDGE, "up")


def add_host_routes(machines: list[Machine]) -> None:
    """Lets the host reach pods on their node, and Services through the first node's kube-proxy."""
    for machine in machines:
        if machine.pods:
            run("ip", "route", "add", machine.pods, "via", machine.address)
    run("ip", "route", "add", SERVICES, "via", machines[1].address)


def set_link(machine: Machine, *, up: bool) -> None:
    """Cuts a machine off, or heals it: what it sends and is sent vanishes without an answer, as with a pulled cable."""
    run("ip", "link", "set", machine.link, "up" if up else "down")


def links() -> list[str]:
    """The bridge, and whatever is plugged into it."""
    found = json.loads(run("ip", "-json", "link", "show") or "[]")
    return [str(link["ifname"]) for link in found if link["ifname"] == BRIDGE or link.get("master") == BRIDGE]


def is_up(machine: Machine) -> bool:
    """Whether the machine's link is up."""
    found = json.loads(run("ip", "-json", "link", "show", "dev", machine.link, check=False) or "[]")
    return bool(found) and "UP" in found[0]["flags"]


def routes() -> list[str]:
    """Routes of the host into the cluster's networks."""
    ours = [ip_network(network) for network in networks()]
    found = json.loads(run("ip", "-json", "-4", "route", "show") or "[]")
    return [
        f"{route['dst']} dev {route['dev']}"
        for route in found
        if route["dst"] != "default" and any(ip_network(route["dst"]).overlaps(network) for network in ours)
    ]


def refuse_collision() -> None:
    """Raises if the machine already routes our addresses elsewhere (a VPN, another cluster)."""
    if taken := routes():
        raise ClusterError(
            f"the local cluster's addresses ({MACHINES}, {SERVICES}) are in use on this machine: {', '.join(taken)}; "
            "remove these routes, or name another cluster with CLUSTER=existing and KUBECONFIG"
        )


def remove() -> None:
    """Removes the links and the bridge; routes over them go with them."""
    for link in sorted(links(), key=lambda name: name == BRIDGE):  # the bridge last
        with suppress(ClusterError):  # a machine's end may vanish with its namespace while we look
            run("ip", "link", "delete", link)
