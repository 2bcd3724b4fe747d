"""What befalls the active robot, and how the scene is set right again afterwards."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.failover.scene import SECONDS, Scene, Victim
from demo.kube import wait_until
from localcluster import network, state
from localcluster.console import ClusterError
from localcluster.machine import execute
from localcluster.settings import NODE_CONTAINERD
from robotgroups import Client
from robotgroups.errors import RobotGroupsError

CTR = ("ctr", "--address", NODE_CONTAINERD, "--namespace", "k8s.io")


def sigkill(_: Scene, __: str, victim: Victim) -> Callable[[], object]:
    """SIGKILL to the robot's process."""
    return partial(victim.process.send, signal.SIGKILL)


def container(_: Scene, __: str, victim: Victim) -> Callable[[], object]:
    """The runtime is told to kill the container."""
    holder = state.running().holders[victim.node]
    return partial(execute, holder, *CTR, "tasks", "kill", "--signal", "SIGKILL", victim.container)


def pod_delete(scene: Scene, _: str, victim: Victim) -> Callable[[], object]:
    """The pod is deleted, as kubectl does it."""
    return partial(scene.kube.delete, victim.path)


def planned(scene: Scene, robot: str, _: Victim) -> Callable[[], object]:
    """The group is asked for a switchover."""
    client = Client(scene.group.url(robot), scene.token())

    def ask() -> None:
        with client:
            try:
                client.switchover(source=robot)
            except RobotGroupsError as error:
                raise ClusterError(f"the switchover was refused: {error}") from error

    return ask


def sigstop(_: Scene, __: str, victim: Victim) -> Callable[[], object]:
    """SIGSTOP to the robot's process: it stays, and says nothing any more."""
    return partial(victim.process.send, signal.SIGSTOP)


def node_cut(_: Scene, __: str, victim: Victim) -> Callable[[], object]:
    """The cable of its node is pulled."""
    return partial(_set_cable, victim.node, up=False)


def _set_cable(node: str, *, up: bool) -> None:
    network.set_link(next(machine for machine in state.running().machines if machine.name == node), up=up)


def remove_pod(scene: Scene, victim: Victim) -> None:
    """Its pod is replaced, so that the kubelet's back-off does not grow."""
    scene.kube.delete(victim.path, grace=0)


def heal(scene: Scene, victim: Victim) -> None:
    """The cable is plugged in again, and what ran there is replaced."""
    _set_cable(victim.node, up=True)
    path = f"/api/v1/nodes/{victim.node}"

    def ready() -> bool:
        found = scene.kube.get(path)
        return found is not None and any(
            c["type"] == "Ready" and c["status"] == "True" for c in found["status"]["conditions"]
        )

    wait_until(f"node {victim.node} is Ready again", SECONDS, ready)
    remove_pod(scene, victim)


def nothing(_: Scene, __: Victim) -> None:
    """The scene sets itself right."""


@dataclass(frozen=True)
class Fault:
    """``strike`` prepares it, given the scene, the robot and its container; to call what it returns does it."""

    name: str
    strike: Callable[[Scene, str, Victim], Callable[[], object]]
    repair: Callable[[Scene, Victim], None]
    slow: bool = False  # few trials
    away: bool = False  # the active robot has to be on the node that may be cut off
    planned: bool = False  # no request is to fail
    deadly: bool = False  # the process ends at once


FAULTS = (
    Fault("sigkill", sigkill, remove_pod, deadly=True),
    Fault("container", container, remove_pod, deadly=True),
    Fault("pod_delete", pod_delete, nothing, planned=True),
    Fault("planned", planned, nothing, planned=True),
    Fault("sigstop", sigstop, remove_pod, slow=True),
    Fault("node_cut", node_cut, heal, slow=True, away=True),
)
