"""One trial: the active robot is struck, and each phase is timed from then on one clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.failover.faults import FAULTS, Fault
from benchmarks.failover.scene import GROUP, Clients, Scene, Victim
from benchmarks.failover.watching import StatusWatch
from demo.kube import wait_until
from localcluster.console import ClusterError

PLAIN = ("plain", "kept")  # requests in one try: with these it counts that none fails
PHASES = ("promoted", "direct", "service", "status")
LOOK_EVERY_S = 0.05
LIMIT_S = 90.0
GONE_S = 60.0
AFTER_S = 1.0  # of requests after a planned switchover
PLANNED = next(fault for fault in FAULTS if fault.name == "planned")


@dataclass(frozen=True)
class Trial:
    """What one trial saw. ``ms``: by phase, from the strike; ``errors``: of each probe.

    ``promoted`` is when Postgres committed the new roles, ``announced`` when a listener elsewhere had heard of them.
    """

    fault: str
    ms: dict[str, float]
    errors: dict[str, list[str]]
    detected_by: str
    reason: str

    def line(self) -> str:
        """For the person who watches."""
        phases = ", ".join(f"{phase} {self.ms[phase]:.0f}" for phase in PHASES)
        failed = sum(len(errors) for errors in self.errors.values())
        return f"{self.fault}: {phases} ms; {failed} errors; {self.detected_by}: {self.reason}"


@dataclass
class Strike:
    """The moment of a strike, on the monotonic clock (ns) and on the wall's (s)."""

    do: Callable[[], object]
    at: int = 0
    wall: float = 0.0

    def __call__(self) -> None:
        """Does it."""
        self.wall, self.at = time.time(), time.monotonic_ns()
        self.do()


async def run(scene: Scene, clients: Clients, watch: StatusWatch, fault: Fault) -> Trial:
    """One trial, from a group that can lose its active robot to one that can again. ClusterError when it gets stuck."""
    status = await asyncio.to_thread(scene.settled)
    if fault.away and (await asyncio.to_thread(scene.victim, status["active"][0])).node != scene.away:
        await _struck(scene, clients, watch, PLANNED)
        await asyncio.to_thread(scene.settled)
    return await _struck(scene, clients, watch, fault)


async def _struck(scene: Scene, clients: Clients, watch: StatusWatch, fault: Fault) -> Trial:
    status = await asyncio.to_thread(scene.group.status)
    robot, standby = status["active"][0], status["passive"][0]
    victim = await asyncio.to_thread(scene.victim, robot)
    service = scene.address(GROUP)
    probes = {"direct": ("plain", scene.group.url(standby)), "service": ("client", service)}
    if fault.planned:
        probes |= {name: (name, service) for name in PLAIN}
    last = await clients.ask("start", token=scene.token(), probes=probes, robot=robot)
    watch.forget()
    strike = Strike(fault.strike(scene, robot, victim))
    try:
        with victim.end() as end:
            striking = asyncio.create_task(asyncio.to_thread(strike))
            ended = await asyncio.to_thread(end) if fault.deadly else None
            seen = await _observed(clients, last, striking)
            await striking
        shown = await asyncio.to_thread(watch.first, seen["row"]["epoch"], standby)
        if fault.planned:
            await _until_over(scene, fault, victim)
    finally:
        await asyncio.to_thread(fault.repair, scene, victim)
        errors = await clients.ask("stop")
    row = seen["row"]
    if row["target"] != standby:
        raise ClusterError(f"{fault.name}: {row['target']} was promoted, not {standby}")
    moments = {"ended": ended, "announced": seen["announced"], "status": shown} | {
        name: at for name, at in seen["first"].items() if name not in PLAIN
    }
    ms = {phase: (at - strike.at) / 1e6 for phase, at in moments.items() if at is not None}
    ms["promoted"] = (row["committed_at"] - strike.wall) * 1000
    return Trial(fault.name, ms, errors, row["detected_by"], row["reason"])


async def _observed(clients: Clients, last: int, striking: asyncio.Task[None]) -> dict[str, Any]:
    """The failover as the clients saw it, once all of them have been answered after it. An error of the strike."""
    seen: dict[str, Any] | None = None
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if striking.done():
            striking.result()
        seen = await clients.ask("seen", after=last)
        if seen is not None and None not in (seen["announced"], *seen["first"].values()):
            return seen
        await asyncio.sleep(LOOK_EVERY_S)
    raise ClusterError(f"no failover was over within {LIMIT_S:.0f} s; seen: {seen}")


async def _until_over(scene: Scene, fault: Fault, victim: Victim) -> None:
    """Requests go on until everything planned is over: a deleted pod answers until it is gone."""
    if fault.name == "pod_delete":
        await asyncio.to_thread(
            wait_until, f"end of pod {victim.pod}", GONE_S, lambda: scene.kube.get(victim.path) is None
        )
    await asyncio.sleep(AFTER_S)
