"""A robot whose wall clock is wrong. Its monotonic clock is right: nobody can change that of a process that runs.

The robots of a run that has this fault are told to preload a library (clock.c) that is not in their image: it comes
into their scratch directory with the fault, and is found at the restart.
"""

import shutil
import signal
import struct
import tempfile
from functools import cache
from http import HTTPStatus
from pathlib import Path

from typing_extensions import override

from demo.kube import JsonObject
from localcluster.commands import run
from localcluster.console import ClusterError, step
from localcluster.processes import Process
from tests.chaos.faults.base import RobotFault
from tests.chaos.ground import ask

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = ("gcc", "libc6-dev")
INSIDE, LIBRARY, FILE = "/tmp", "chaos-clock.so", "chaos-clock"
SCRATCH = "volumes/kubernetes.io~empty-dir/robotgroups-tmp"
ENVIRONMENT: list[JsonObject] = [
    {"name": "LD_PRELOAD", "value": f"{INSIDE}/{LIBRARY}"},
    {"name": "CHAOS_CLOCK", "value": f"{INSIDE}/{FILE}"},
]
OFF_S = 3600


class ClockOff(RobotFault):
    """The robot is killed, and comes back with a clock an hour off; then the clock jumps to the right time."""

    kind = "robot's clock an hour off"
    weight = 0.7

    _scratch: Path | None = None
    _old: Process

    @property
    @override
    def hold_s(self) -> float:
        return self.between(3.0, 6.0)

    @override
    def inject(self) -> None:
        pod = self.ground.pod(self.robot)
        self._old = self.ground.main_process(pod, "robot")
        kubelet = self.ground.machines.places.run / pod["spec"]["nodeName"] / "var/lib/kubelet/pods"
        scratch = kubelet / pod["metadata"]["uid"] / SCRATCH
        (scratch / LIBRARY).write_bytes(library())
        (scratch / FILE).write_bytes(_off(OFF_S if int(self.choice.which * 1000) % 2 else -OFF_S))
        self._scratch = scratch
        self._old.send(signal.SIGKILL)

    @override
    def heal(self) -> None:
        if self._scratch is None or not self._scratch.exists():  # it ended with its pod
            return
        process = self.ground.process(self.robot)
        if process == self._old or LIBRARY not in Path(f"/proc/{process.pid}/maps").read_text():
            raise ClusterError(f"{self.robot} has not come back with another clock")
        code, _answer = ask(f"http://{self.ground.pod(self.robot)['status']['podIP']}:8080/readyz")
        if code != HTTPStatus.OK:
            raise ClusterError(f"{self.robot} is not ready yet")
        with (self._scratch / FILE).open("r+b") as file:  # in place: the robot has it mapped
            file.write(_off(0))
        self._scratch = None


@cache
def library() -> bytes:
    """The library, compiled; ClusterError when that does not work."""
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / LIBRARY
        run("gcc", "-shared", "-fPIC", "-O2", "-o", made, SOURCE)
        return made.read_bytes()


def install() -> None:
    """Installs the compiler, if there is none."""
    if not shutil.which("gcc"):
        with step(f"install Debian packages: {' '.join(COMPILER)}", "30 s"):
            run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *COMPILER)


def _off(seconds: int) -> bytes:
    return struct.pack("<q", seconds)
