"""One step of a plan: its faults injected and undone, the group waited for, all of it recorded."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from demo.kube import wait_until
from localcluster.console import ClusterError, say
from tests.chaos import recovery
from tests.chaos.faults import KINDS
from tests.chaos.faults.base import Effect, Fault
from tests.chaos.ground import Ground
from tests.chaos.history import Fault as Record
from tests.chaos.history import Recorder
from tests.chaos.plan import Choice, Step

FRESH_LIMIT_S, AIM_S, HEAL_S = 120.0, 30.0, 120.0


@dataclass
class _Injected:
    fault: Fault
    effect: Effect
    injected: float
    heal_at: float
    healed: float = 0.0
    upkeep: bool = False


@dataclass
class Steps:
    """Carries out steps on a ground. `served_at`: when the Service acknowledged last."""

    ground: Ground
    token: str
    recorder: Recorder
    served_at: Callable[[], float]
    stuck: Callable[[str], None]
    """Is told the diagnosis when the group does not recover."""
    number: int = field(default=0)
    missed: list[Choice] = field(default_factory=list)
    """Faults that found nothing to befall; whoever counts on them takes them out, and tries them again."""

    def run(self, step: Step) -> bool:
        """Whether the group was well again within the limit. An interrupt undoes what was done, and goes on."""
        with self._undone() as injected:
            self._inject(step, injected)
            self._heal(injected)
            limit = max((each.fault.limit_s for each in injected), default=0.0)
            since = max((each.healed for each in injected), default=time.monotonic())
            recovered, found = recovery.wait(self.ground, self.token, self.served_at, since, limit)
        return self._record(injected, recovered, found)

    @contextmanager
    def _undone(self) -> Iterator[list[_Injected]]:
        injected: list[_Injected] = []
        try:
            yield injected
        except BaseException:
            try:
                for each in injected:
                    if not each.healed:
                        _undo(each)
            finally:
                # of what was broken off the checker knows that it may have had its effect until the end
                self._write(injected, time.monotonic() + FRESH_LIMIT_S)
            raise

    def _inject(self, step: Step, injected: list[_Injected]) -> None:
        # all of them take aim first: the first fault may be one under which nobody tells who is active
        aimed = [self._aimed(KINDS[choice.kind](self.ground, choice)) for choice in step.choices]
        begin = time.monotonic()
        for choice, (fault, effect) in zip(step.choices, aimed, strict=True):
            self._heal_until(injected, begin + choice.delay)
            now = time.monotonic()
            injected.append(_Injected(fault, effect, now, now + fault.hold_s))
            try:
                fault.inject()
            except (ClusterError, ProcessLookupError, FileNotFoundError) as error:
                # mostly what it was aimed at is gone already, by the fault before it in the same step
                say(f"        {choice.kind}: not possible now: {error}")
                injected[-1].upkeep = True
                self.missed.append(choice)
            injected[-1].heal_at = time.monotonic() + fault.hold_s

    @staticmethod
    def _aimed(fault: Fault) -> tuple[Fault, Effect]:
        found: list[Effect] = []
        _until_it_works(f"the aim of {fault.kind}", AIM_S, lambda: found.append(fault.aim()))
        return fault, found[0]

    def _heal(self, injected: list[_Injected]) -> None:
        self._heal_until(injected, max((each.heal_at for each in injected), default=0.0))

    @staticmethod
    def _heal_until(injected: list[_Injected], time_s: float) -> None:
        for each in sorted((each for each in injected if not each.healed), key=lambda each: each.heal_at):
            if each.heal_at > time_s:
                break
            time.sleep(max(each.heal_at - time.monotonic(), 0))
            _undo(each)
        time.sleep(max(time_s - time.monotonic(), 0))

    def _record(self, injected: list[_Injected], recovered: float | None, found: list[str]) -> bool:
        self._write(injected, recovered)
        for each in injected:
            took = "stuck" if recovered is None else f"well {recovered - each.healed:.1f} s later"
            say(f"        {each.fault.kind}: {each.effect.detail}: {took}")
        if recovered is None:
            say("        " + "; ".join(found))
            self.stuck("\n".join([*found, recovery.diagnosis(self.ground)]))
        return recovered is not None

    def _write(self, injected: list[_Injected], recovered: float | None) -> None:
        for each in injected:
            self.number += 1
            self.recorder.add(
                Record(
                    self.number,
                    each.fault.kind,
                    each.effect.detail,
                    each.effect.failing,
                    each.effect.handing_over,
                    each.injected,
                    each.healed or each.injected,
                    recovered,
                    time.time() - time.monotonic(),
                    each.upkeep,
                )
            )

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def freshen(self) -> bool:
        """Pods whose container was restarted are made anew: the kubelet would wait longer each time."""
        for pods in recovery.used_up(self.ground):
            since = time.monotonic()
            for pod in pods:
                self.ground.group.kube.kubectl("-n", pod.namespace, "delete", "pod", pod.name, "--wait=false")
            healed = time.monotonic()
            recovered, found = recovery.wait(self.ground, self.token, self.served_at, healed, FRESH_LIMIT_S)
            robots = tuple(pod.robot for pod in pods if pod.robot)
            names = ", ".join(pod.name for pod in pods)
            self._note("fresh pod", names, since=since, healed=healed, recovered=recovered, handing_over=robots)
            if recovered is None:
                self.stuck("\n".join([*found, recovery.diagnosis(self.ground)]))
                return False
        return True

    def repair(self) -> bool:
        """Everything is made anew. Whether the group is well then."""
        since, everybody = time.monotonic(), tuple(self.ground.roles())
        recovery.repair(self.ground)
        recovered, _found = recovery.wait(self.ground, self.token, self.served_at, since, 2 * FRESH_LIMIT_S)
        self._note(
            "all pods anew",
            "",
            since=since,
            healed=since,
            recovered=recovered,
            handing_over=everybody,
            failing=everybody,
        )
        return recovered is not None

    def _note(
        self,
        kind: str,
        detail: str,
        *,
        since: float,
        healed: float,
        recovered: float | None,
        handing_over: tuple[str, ...],
        failing: tuple[str, ...] = (),
    ) -> None:
        self.number += 1
        wall = time.time() - time.monotonic()
        self.recorder.add(
            Record(self.number, kind, detail, failing, handing_over, since, healed, recovered, wall, upkeep=True)
        )


def _undo(each: _Injected) -> None:
    """Tries until it is done: what a fault has hit may hinder its undoing. Else the group will be found stuck."""
    try:
        _until_it_works(f"the end of {each.fault.kind}", HEAL_S, each.fault.heal)
    except ClusterError as error:
        say(f"        {error}")
    each.healed = time.monotonic()


def _until_it_works(what: str, seconds: float, call: Callable[[], None]) -> None:
    errors: list[str] = []

    def tried() -> bool:
        try:
            call()
        except (ClusterError, ProcessLookupError, FileNotFoundError) as error:
            errors.append(str(error))
            return False
        return True

    wait_until(what, seconds, tried, explain=lambda: errors[-1] if errors else "")
