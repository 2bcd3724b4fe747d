"""Nodes: cut off the network; without a kubelet."""

import signal

from typing_extensions import override

from localcluster import machine, network
from localcluster.processes import command_line
from tests.chaos.faults.base import LEASE_S, Effect, Fault, RobotFault


class NodeCut(Fault):
    """The cable of the node without Postgres and operator is pulled, until its robots have been replaced."""

    kind = "node cut"
    slow = True
    limit_s = 180.0

    @property
    @override
    def hold_s(self) -> float:
        return LEASE_S + self.between(3.0, 10.0)

    @override
    def aim(self) -> Effect:
        away = self.ground.stage.away
        there = [pod for pod in self.ground.pods() if pod["spec"].get("nodeName") == away]
        robots = sorted(pod["metadata"]["labels"]["robotgroups.dev/robot"] for pod in there)
        return Effect(f"{away} with {', '.join(robots) or 'nobody'} for {self.hold_s:.1f} s", failing=tuple(robots))

    @override
    def inject(self) -> None:
        network.set_link(self.ground.machine(self.ground.stage.away), up=False)

    @override
    def heal(self) -> None:
        network.set_link(self.ground.machine(self.ground.stage.away), up=True)


class KubeletKilled(RobotFault):
    """SIGKILL to a robot's kubelet, then to the robot: nobody restarts it until the kubelet is back."""

    kind = "kubelet killed, then a robot of its node"
    slow = True
    limit_s = 180.0

    node: str = ""
    _command: tuple[str, ...] = ()

    @property
    @override
    def hold_s(self) -> float:
        return self.between(5.0, 10.0)

    @override
    def inject(self) -> None:
        self.node = self.ground.pod(self.robot)["spec"]["nodeName"]
        robot, kubelet = self.ground.process(self.robot), self.ground.daemon(self.node, "kubelet")
        self._command = tuple(command_line(kubelet.pid))
        kubelet.send(signal.SIGKILL)
        robot.send(signal.SIGKILL)

    @override
    def heal(self) -> None:
        if self._command:
            machines = self.ground.machines
            command, self._command = self._command, ()
            machine.start_daemon(
                self.ground.machine(self.node), machines.holders[self.node], machines.places, "kubelet", *command
            )
