"""A robot whose wall clock is wrong. Its monotonic clock is right: nobody can change that of a process that runs.

The robots of a run that has this fault are told to preload libfaketime, which is not in their image: it comes into
their scratch directory with the fault, and is found at the restart.
"""

import signal
from http import HTTPStatus
from pathlib import Path

from typing_extensions import override

from demo.kube import JsonObject
from localcluster.commands import run
from localcluster.console import ClusterError, step
from localcluster.processes import Process
from tests.chaos.faults.base import RobotFault
from tests.chaos.ground import ask

PACKAGE = "libfaketime"
INSIDE, LIBRARY, FILE = "/tmp", "libfaketime.so.1", "clock"
SCRATCH = "volumes/kubernetes.io~empty-dir/robotgroups-tmp"
ENVIRONMENT: list[JsonObject] = [
    {"name": "LD_PRELOAD", "value": f"{INSIDE}/{LIBRARY}"},
    {"name": "FAKETIME_TIMESTAMP_FILE", "value": f"{INSIDE}/{FILE}"},
    {"name": "FAKETIME_CACHE_DURATION", "value": "1"},
    {"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"},
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
        (scratch / LIBRARY).write_bytes(library().read_bytes())
        sign = "+" if int(self.choice.which * 1000) % 2 else "-"
        (scratch / FILE).write_text(f"{sign}{OFF_S}\n")
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
        (self._scratch / FILE).write_text("+0\n")
        self._scratch = None


def library() -> Path:
    """Where the package has put it; ClusterError when it is not installed."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"))
    if not found:
        raise ClusterError(f"{LIBRARY} is not there: apt-get install {PACKAGE}")
    return found[0]


def install() -> None:
    """Installs the package, if it is not."""
    try:
        library()
    except ClusterError:
        with step(f"install Debian package: {PACKAGE}", "10 s"):
            run("apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE)
