"""Processes known by pid *and* start time, so that a reused pid is never mistaken for one of ours."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of this boot: `started` is its start time in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this pid now; ProcessLookupError if there is none."""
        started = start_time(pid)
        if started is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, started)

    @property
    def alive(self) -> bool:
        """Whether it is still this process that has the pid."""
        return start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, to this very process or to none."""
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process started; None for no such process and for zombies."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may contain anything
    return None if fields[0] == "Z" else int(fields[19])


def children(pid: int) -> list[int]:
    """Pids of the children of a process's first thread."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def pids() -> list[int]:
    """Every pid of the machine."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def namespace_pids(pid: int) -> tuple[int, ...]:
    """A process's pid in each pid namespace from ours inwards; empty if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return tuple(int(number) for number in line.split()[1:])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return ()


def command_line(pid: int) -> list[str]:
    """A process's arguments; empty if it is gone or belongs to the kernel."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def end(processes: list[Process], *, grace: float) -> list[Process]:
    """Kills processes and waits up to `grace` seconds; returns those still alive."""
    for process in processes:
        process.send(signal.SIGKILL)
    deadline = time.monotonic() + grace
    alive = processes
    while alive and time.monotonic() < deadline:
        time.sleep(0.02)
        alive = [process for process in alive if process.alive]
    return alive
