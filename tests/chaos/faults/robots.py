"""Robots: their process, container and pod killed; stopped for a while; out of memory; cut from Postgres."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from typing_extensions import override

from localcluster import cgroups
from localcluster.commands import wait_for
from localcluster.console import ClusterError
from localcluster.processes import Process, children, command_line
from localcluster.settings import NODE_CONTAINERD
from tests.chaos.faults.base import LEASE_S, Effect, RobotFault
from tests.chaos.netfilter import Rules

TABLE = "chaos"
POSTGRES_PORT = 5432
# Takes memory in a control group that it has joined, until it is killed or told to end.
HOG = """
import sys
open(sys.argv[1], "w").write(str(__import__("os").getpid()))
taken = [b"x" * (1 << 20) for _ in range(int(sys.argv[2]))]
sys.stdin.read()
"""
ROOM_BYTES, HOG_MIB = 8 << 20, 64
KUBELET_S = 60.0  # it looks every second, and the robot may drain


class RobotKilled(RobotFault):
    """SIGKILL to the robot's process."""

    kind = "robot SIGKILL"
    weight = 4.0

    @override
    def inject(self) -> None:
        self.ground.process(self.robot).send(signal.SIGKILL)


class ContainerKilled(RobotFault):
    """SIGKILL to everything in the container, by containerd."""

    kind = "container killed"
    weight = 2.0

    @override
    def inject(self) -> None:
        pod = self.ground.pod(self.robot)
        task = ["tasks", "kill", "--all", "--signal", "SIGKILL", self.ground.container_id(pod, "robot")]
        self.ground.on_machine(
            pod["spec"]["nodeName"], "ctr", "--address", NODE_CONTAINERD, "--namespace", "k8s.io", *task
        )


class SandboxKilled(RobotFault):
    """SIGKILL to the process that holds the pod's namespaces: the kubelet makes the pod anew, at another address."""

    kind = "pod's sandbox killed"

    @override
    def effect(self, detail: str) -> Effect:
        # the kubelet ends the robot with SIGTERM: it may be in time to hand over
        return Effect(detail, failing=(self.robot,), handing_over=(self.robot,))

    @override
    def inject(self) -> None:
        robot = self.ground.process(self.robot)
        network = os.readlink(f"/proc/{robot.pid}/ns/net")
        holder = self.ground.machines.holders[self.ground.pod(self.robot)["spec"]["nodeName"]]
        for pid in children(holder.pid):  # containerd's shims are adopted by the machine's first process
            for child in children(pid):
                if "/pause" in command_line(child)[:1] and os.readlink(f"/proc/{child}/ns/net") == network:
                    Process.of(child).send(signal.SIGKILL)
        # the kubelet notices after a second, and only then tells the robot to stop: until that, all looks well
        wait_for(f"the kubelet ends {self.robot}", KUBELET_S, lambda: not robot.alive)


class PodDeleted(RobotFault):
    """`kubectl delete pod`: a planned stop, the robot hands over."""

    kind = "pod deleted"
    weight = 2.5

    @override
    def effect(self, detail: str) -> Effect:
        return Effect(detail, handing_over=(self.robot,))

    @override
    def inject(self) -> None:
        pod = self.ground.pod(self.robot)["metadata"]["name"]
        self.ground.group.kube.kubectl("-n", self.ground.group.namespace, "delete", "pod", pod, "--wait=false")


class PodDeletedAtOnce(RobotFault):
    """`kubectl delete pod --force --grace-period=0`."""

    kind = "pod deleted by force"
    weight = 2.0

    @override
    def effect(self, detail: str) -> Effect:
        return Effect(detail, failing=(self.robot,), handing_over=(self.robot,))

    @override
    def inject(self) -> None:
        pod = self.ground.pod(self.robot)["metadata"]["name"]
        self.ground.group.kube.kubectl(
            *("-n", self.ground.group.namespace, "delete", "pod", pod, "--force", "--grace-period=0", "--wait=false")
        )


class StoppedBriefly(RobotFault):
    """SIGSTOP, and SIGCONT within the lease: that is no failure."""

    kind = "robot stopped for less than a lease"

    _process: Process | None = None

    @property
    @override
    def hold_s(self) -> float:
        return self.between(0.2, LEASE_S / 2)

    @override
    def effect(self, detail: str) -> Effect:
        return Effect(f"{detail} for {self.hold_s:.1f} s")

    @override
    def inject(self) -> None:
        self._process = self.ground.process(self.robot)
        self._process.send(signal.SIGSTOP)

    @override
    def heal(self) -> None:
        if self._process is not None:
            self._process.send(signal.SIGCONT)


class StoppedBeyondLease(StoppedBriefly):
    """SIGSTOP, and SIGCONT when it has been replaced: it must not believe that it is active."""

    kind = "robot stopped beyond its lease"
    slow = True

    @property
    @override
    def hold_s(self) -> float:
        return LEASE_S + self.between(2.0, 5.0)

    @override
    def effect(self, detail: str) -> Effect:
        return Effect(f"{detail} for {self.hold_s:.1f} s", failing=(self.robot,))


class OutOfMemory(RobotFault):
    """The container's memory is squeezed and taken by another process in its control group: the kernel kills."""

    kind = "robot out of memory"

    @override
    def inject(self) -> None:
        process = self.ground.process(self.robot)
        group = memory_group(process.pid)
        used, limit = ("memory.current", "memory.max") if cgroups.unified() else USED_AND_LIMIT
        # the kernel chooses whom to kill by this score: the robot, not the one that takes the memory
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
        (group / limit).write_text(str(int((group / used).read_text()) + ROOM_BYTES))
        hog = subprocess.Popen(
            [sys.executable, "-c", HOG, str(group / "cgroup.procs"), str(HOG_MIB)], stdin=subprocess.PIPE
        )
        try:
            self.wait_for_the_end_of(process)
        finally:
            hog.kill()
            hog.communicate()

    @staticmethod
    def wait_for_the_end_of(process: Process) -> None:
        """Raises ClusterError when the kernel does not kill it within ten seconds."""
        wait_for("the robot's end by lack of memory", 10, lambda: not process.alive, every=0.02)


class CutFromPostgres(RobotFault):
    """Packets between one robot and Postgres vanish for a moment: no failure."""

    kind = "robot cut from Postgres for a moment"

    _rules: Rules | None = None

    @property
    @override
    def hold_s(self) -> float:
        return self.between(0.2, 0.8)  # TCP waits twice as long at each try: a longer cut may outlast the lease

    @override
    def effect(self, detail: str) -> Effect:
        return Effect(f"{detail} for {self.hold_s:.1f} s, {self.direction}")

    @property
    def direction(self) -> str:
        """Which packets vanish."""
        return ("both ways", "to Postgres", "from Postgres")[int(self.choice.which * 1000) % 3]

    @override
    def inject(self) -> None:
        addresses = ", ".join(self.ground.postgres_addresses())
        rules = {
            "output": f"ip daddr {{ {addresses} }} tcp dport {POSTGRES_PORT} drop",
            "input": f"ip saddr {{ {addresses} }} tcp sport {POSTGRES_PORT} drop",
        }
        left_out = {"to Postgres": "input", "from Postgres": "output"}.get(self.direction)
        chains = [
            f"chain {hook} {{ type filter hook {hook} priority 0; {rule}; }}"
            for hook, rule in rules.items()
            if hook != left_out
        ]
        self._rules = Rules(self.ground.process(self.robot), TABLE)
        self._rules.put(*chains)

    @override
    def heal(self) -> None:
        if self._rules is not None:
            self._rules.remove()


class CutFromPostgresBeyondLease(CutFromPostgres):
    """The same, until the robot has been replaced; it goes on being asked by clients all the time."""

    kind = "robot cut from Postgres beyond its lease"
    slow = True

    @property
    @override
    def hold_s(self) -> float:
        return LEASE_S + self.between(2.0, 5.0)

    @override
    def effect(self, detail: str) -> Effect:
        return Effect(f"{detail} for {self.hold_s:.1f} s, {self.direction}", failing=(self.robot,))


USED_AND_LIMIT = ("memory.usage_in_bytes", "memory.limit_in_bytes")


def memory_group(pid: int) -> Path:
    """The control group that limits a process's memory."""
    controller = "" if cgroups.unified() else "memory"
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == controller:
            return (cgroups.ROOT if cgroups.unified() else cgroups.ROOT / "memory") / path.lstrip("/")
    raise ClusterError(f"process {pid} is in no memory control group")
