"""A whole run: a group of its own, faults while it is written to and read, and the verdict."""

import json
import secrets
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from on_cluster import Stage

from demo import release
from demo.groups import Group
from demo.kube import JsonObject, wait_until
from localcluster import state
from localcluster.commands import run
from localcluster.console import ClusterError, say, step
from localcluster.settings import SERVICES
from tests.chaos import collecting
from tests.chaos.checker import Result, check
from tests.chaos.faults import clock
from tests.chaos.ground import Ground
from tests.chaos.history import Fault, History, Recorder
from tests.chaos.plan import Plan, Step
from tests.chaos.steps import Steps
from tests.chaos.targets import Targets
from tests.chaos.volume import SmallVolume
from tests.chaos.workload import Rates, Workload

GROUP = "chaos"
PASSIVE = 2
MAX_TOKENS = 3000  # full after some hundred memories: from then on everything that is remembered evicts something
FIRST_S, QUIET_BEFORE_S = 60, 2.0
DELETION_S = 120
HISTORY, TABLES, RESULT, DIAGNOSIS = "history.jsonl", "tables.json", "result.json", "diagnosis.txt"


@dataclass
class Run:
    """One run. `directory` gets the history, the tables and the result."""

    stage: Stage
    seed: int
    plan: Plan
    directory: Path
    until: float
    """No step begins later than this (monotonic seconds)."""
    fresh: bool = True
    """Make pods anew whose container was restarted: needed where it will be again."""
    rates: Rates = field(default_factory=Rates)
    volume: SmallVolume | None = None
    trouble: str = ""
    """What broke the run itself off, if anything did; what was recorded until then was checked."""

    def execute(self) -> tuple[Result, History]:
        """Does it all; after Ctrl-C, what was recorded is checked all the same."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in (HISTORY, TABLES, RESULT, DIAGNOSIS):
            (self.directory / name).unlink(missing_ok=True)  # of an earlier run
        with services_by(self.stage.home), _namespace(self.stage) as namespace:
            recorder = Recorder(self.directory / HISTORY)
            try:
                began = time.monotonic()
                ground = Ground.of(self.stage, self._group(namespace), self.plan.active, self.volume)
                recorder.add(_start(began, tuple(ground.roles())))
                return self._on(ground, recorder), recorder.history
            finally:
                recorder.close()

    def _group(self, namespace: str) -> Group:
        robots = [{"name": f"robot-{number}"} for number in range(1, self.plan.active + PASSIVE + 1)]
        spec: JsonObject = {
            "active": robots[: self.plan.active],
            "passive": robots[self.plan.active :],
            "maxTokens": MAX_TOKENS,
        }
        if self.plan.has(clock.ClockOff.kind):
            spec["template"] = {"env": clock.ENVIRONMENT}
        with step(f"a group of {self.plan.active} active and {PASSIVE} passive robots in {namespace}"):
            group = self.stage.apply(namespace, GROUP, spec)
            group.wait_ready()
        return group

    def _on(self, ground: Ground, recorder: Recorder) -> Result:
        token, targets = ground.token(), Targets(self.stage.kube, ground.group.namespace, GROUP)
        robots = sorted(ground.roles())
        workload = Workload(targets, token, robots, recorder, seed=self.seed, rates=self.rates)
        targets.start()
        workload.start()
        try:
            try:
                wait_until("the first acknowledgement", FIRST_S, lambda: workload.served_at or None)
                time.sleep(QUIET_BEFORE_S)
                steps = Steps(ground, token, recorder, lambda: workload.served_at, self._diagnose)
                self._steps(steps, workload)
            except KeyboardInterrupt:
                say("interrupted: what was recorded is checked")
            except Exception as error:  # noqa: BLE001  whatever it is, an hour's history is worth checking
                self.trouble = f"{type(error).__name__}: {error}"
                self._diagnose("".join(traceback.format_exception(error)))
                say(f"the run is broken off: {self.trouble}")
            workload.quiet()
            return self._verdict(ground, token, workload, recorder.history)
        finally:
            workload.stop()
            targets.stop()

    def _steps(self, steps: Steps, workload: Workload) -> None:
        begin, done = time.monotonic(), 0
        total = sum(len(each.choices) for each in self.plan.steps)
        waiting = deque(self.plan.steps)
        while waiting:
            workload.raise_error()
            elapsed = time.monotonic() - begin
            if time.monotonic() > self.until:
                say(f"==> {done} of {total} faults in {elapsed:.0f} s: the time is up")
                return
            each = waiting.popleft()
            done += len(each.choices)
            say(f"==> {done}/{total} after {elapsed:.0f} s, {workload.acknowledged} acknowledged")
            well = steps.run(each)
            well = (well and (not self.fresh or steps.freshen())) or steps.repair()
            if not well:
                say("    the group does not recover: no more faults")
                return
            # what hit nothing is no fault: it is done again, alone
            waiting.extend(Step((replace(choice, delay=0.0),), each.pause) for choice in steps.missed)
            done -= len(steps.missed)
            steps.missed.clear()
            time.sleep(each.pause)

    def _verdict(self, ground: Ground, token: str, workload: Workload, history: History) -> Result:
        with step("wait until all is quiet, read the tables, check"):
            try:
                revision = collecting.wait_still(ground, workload.settled)
                wait_until(
                    f"the feed at revision {revision}", 60, lambda: workload.revision >= revision, explain=lambda: ""
                )
            except ClusterError as error:
                say(f"    {error}")  # the checker tells what is missing
            tables = collecting.collect(ground, token)
            tables.write(self.directory / TABLES)
            result = check(history, tables, self.seed)
        (self.directory / RESULT).write_text(json.dumps(result.as_json(), indent=2) + "\n")
        return result

    def _diagnose(self, words: str) -> None:
        with (self.directory / DIAGNOSIS).open("a") as file:
            file.write(f"==== {time.strftime('%H:%M:%S')}\n{words}\n")


def _start(began: float, robots: tuple[str, ...]) -> Fault:
    """While the group comes up, a robot that takes too long may be replaced."""
    now = time.monotonic()
    return Fault(0, "the group's start", "", robots, robots, began, now, now, time.time() - now, upkeep=True)


@contextmanager
def _namespace(stage: Stage) -> Iterator[str]:
    """A namespace of the run's own, gone afterwards."""
    name = f"chaos-{secrets.token_hex(3)}"
    path = f"/api/v1/namespaces/{name}"
    stage.kube.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        stage.kube.delete(path)
        wait_until(f"end of namespace {name}", DELETION_S, lambda: stage.kube.get(path) is None)


@contextmanager
def small_volume(stage: Stage, *, wanted: bool) -> Iterator[SmallVolume | None]:
    """Postgres' data on a small file system for the time of a run, if that is wanted."""
    if not wanted:
        yield None
        return
    volume = SmallVolume.of(stage.kube)
    try:
        volume.swap_in()
        yield volume
    finally:
        volume.swap_out()


@contextmanager
def services_by(node: str) -> Iterator[None]:
    """This machine reaches Services through a node that no fault cuts off; afterwards as before."""
    machines = state.running().node_machines
    by = next(found.address for found in machines if found.name == node)
    run("ip", "route", "replace", SERVICES, "via", by)
    try:
        yield
    finally:
        run("ip", "route", "replace", SERVICES, "via", machines[0].address)


@contextmanager
def installed(stage: Stage, values: JsonObject) -> Iterator[None]:
    """The release; uninstalled afterwards, unless it was there before."""
    was_there = release.status(stage.kube) is not None
    release.install(stage.kube, values)
    try:
        yield
    finally:
        if not was_there:
            release.uninstall(stage.kube)
