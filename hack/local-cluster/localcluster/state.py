"""The record of the cluster that runs on this machine, and the lock that lets one command at a time change it."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from localcluster.console import ClusterError, say
from localcluster.processes import Process
from localcluster.settings import LOCK, STATE, Machine, Places, machines

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class State:
    """What was started, when the machine was last booted, and whether it has come up."""

    cache: str
    nodes: int
    boot: str
    ready: bool
    holders: dict[str, Process]  # the first process of each machine

    @classmethod
    def fresh(cls, cache: Path, nodes: int) -> "State":
        """The record of a cluster of which nothing runs yet."""
        return cls(str(cache), nodes, BOOT_ID.read_text().strip(), ready=False, holders={})

    @property
    def places(self) -> Places:
        """Where this cluster keeps its files."""
        return Places(Path(self.cache))

    @property
    def machines(self) -> list[Machine]:
        """The machines that it has or was about to have."""
        return machines(self.nodes)

    @property
    def node_machines(self) -> list[Machine]:
        """The machines that run pods."""
        return [machine for machine in self.machines if machine.pods]

    @property
    def whole(self) -> bool:
        """Whether it came up and every machine still runs."""
        return self.ready and not self.dead

    @property
    def dead(self) -> list[str]:
        """Machines whose first process is gone."""
        if self.boot != BOOT_ID.read_text().strip():
            return [machine.name for machine in self.machines]
        alive = {name for name, holder in self.holders.items() if holder.alive}
        return [machine.name for machine in self.machines if machine.name not in alive]

    def living_holders(self) -> list[Process]:
        """First processes that still run (none of another boot: pids mean nothing there)."""
        if self.boot != BOOT_ID.read_text().strip():
            return []
        return [holder for holder in self.holders.values() if holder.alive]

    def with_holder(self, machine: Machine, holder: Process) -> "State":
        """The record with one more machine running."""
        return replace(self, holders=self.holders | {machine.name: holder})


def write(state: State) -> None:
    """Records the state, atomically."""
    new = STATE.with_suffix(".new")
    new.write_text(json.dumps(asdict(state), indent=2) + "\n")
    new.replace(STATE)


def read() -> State | None:
    """The recorded cluster; None when there is none."""
    try:
        raw = json.loads(STATE.read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ClusterError(f"{STATE} is damaged ({error}): run `cluster down`") from error
    holders = {name: Process(**holder) for name, holder in raw.pop("holders").items()}
    return State(**raw, holders=holders)


def running() -> State:
    """The cluster that is up; a ClusterError when there is none."""
    state = read()
    if state is None or not state.ready:
        raise ClusterError("no local cluster is up: run `make cluster-up`")
    if state.dead:
        raise ClusterError(f"the local cluster is broken (gone: {', '.join(state.dead)}): run `make cluster-up`")
    return state


@contextmanager
def locked(path: Path = LOCK) -> Iterator[None]:
    """Holds the lock file; says so when another command has it, and waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"    waiting for another command that holds {path}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
