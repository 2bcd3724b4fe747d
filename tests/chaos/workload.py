"""Writers and readers of a run, in a thread and an event loop of their own."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from robotgroups.cancelling import cancelled
from tests.chaos.history import SERVICE, Recorder
from tests.chaos.readers import Readers
from tests.chaos.targets import Targets
from tests.chaos.writers import Writers

LOOK_S = 0.1


@dataclass(frozen=True)
class Rates:
    """How many a second: `service` by all `writers` together, `direct`, `reads` and `caches` at every robot."""

    service: float = 48.0
    writers: int = 8
    direct: float = 6.0
    reads: float = 3.0
    caches: float = 0.5


class Workload:
    """Runs from `start` to `stop`. Everything goes to the recorder."""

    def __init__(
        self, targets: Targets, token: str, robots: Sequence[str], recorder: Recorder, *, seed: int, rates: Rates
    ) -> None:
        self._targets = targets
        self._robots = tuple(robots)
        self._seed = seed
        self._rates = rates
        self._quiet, self._over = threading.Event(), threading.Event()
        self._writers = Writers(targets, token, recorder, seed, self._quiet.is_set)
        self._readers = Readers(token, recorder, self._writers.acknowledged, self._quiet.is_set)
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workload", daemon=True)
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def quiet(self) -> None:
        """No more writes and reads; what is under way ends, the feed is read on."""
        self._quiet.set()

    def stop(self) -> None:
        """End. Raises what broke the workload itself, if anything did."""
        self._quiet.set()
        self._over.set()
        self._thread.join()
        self.raise_error()

    def raise_error(self) -> None:
        """Raises what broke the workload itself, if anything did."""
        if self._error is not None:
            raise self._error

    @property
    def acknowledged(self) -> int:
        """How many tries were acknowledged so far."""
        return self._writers.count

    def settled(self) -> bool:
        """Whether the last try has ended."""
        return self._settled.is_set()

    @property
    def served_at(self) -> float:
        """When the Service acknowledged a write last (monotonic seconds)."""
        return self._writers.served_at

    @property
    def revision(self) -> int:
        """The last revision of the feed that was read."""
        return self._readers.revision

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._everybody())
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that runs the faults
            self._error = error

    async def _everybody(self) -> None:
        rates, writers, readers = self._rates, self._writers, self._readers
        feed = asyncio.create_task(readers.feed(self._targets.service))
        async with asyncio.TaskGroup() as tasks:
            for number in range(rates.writers):
                tasks.create_task(writers.through_the_service(number, rates.service / rates.writers))
            tasks.create_task(readers.memories(SERVICE, lambda: self._targets.service, rates.reads, self._seed))
            for robot in self._robots:
                address = self._targets.of(robot)
                tasks.create_task(writers.directly(robot, rates.direct))
                tasks.create_task(readers.memories(robot, address, rates.reads, self._seed))
                tasks.create_task(readers.caches(robot, address, rates.caches))
        self._settled.set()
        while not self._over.is_set():
            await asyncio.sleep(LOOK_S)
        await cancelled([feed])
