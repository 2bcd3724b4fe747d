"""bench-failover: from what befalls a group's active robot until another one serves, phase by phase, on a cluster.

The peers in the same run: a Deployment of one pod that the kubelet restarts, and two pods of which one leads by a lease
of Kubernetes (15/10/2 s). No limit: nothing else does the same. It needs the local cluster.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import asdict
from typing import Any

import psycopg

from benchmarks.failover import peers, soak, summary, trial
from benchmarks.failover.faults import FAULTS
from benchmarks.failover.scene import Clients, Scene, clients
from benchmarks.failover.watching import StatusWatch
from benchmarks.harness import machine, options, report
from benchmarks.harness.postgres import SHOWN
from localcluster.console import ClusterError

PEERS = (peers.LEASE, peers.KUBELET)
SOAK = "soak"
PARTS = (*(fault.name for fault in FAULTS), *PEERS, SOAK)
TRIALS, QUICK_TRIALS, SLOW_TRIALS = 50, 2, 10
INTERRUPTED = 130
SOAK_S, QUICK_SOAK_S = 600.0, 20.0


async def trials(scene: Scene, driver: Clients, chosen: options.Options) -> tuple[list[trial.Trial], int]:
    """All faults in turn, round after round, and how many trials got stuck."""
    done, stuck = [], 0
    with StatusWatch(scene.group) as watch:
        for number in range(chosen.rounds):
            for fault in FAULTS:
                if fault.name not in chosen.only or (fault.slow and number >= SLOW_TRIALS):
                    continue
                try:
                    done.append(await trial.run(scene, driver, watch, fault))
                except ClusterError as error:
                    stuck += 1
                    report.say(f"{fault.name} got stuck: {error}")
                else:
                    report.say(f"{number + 1} of {chosen.rounds}: {done[-1].line()}")
    return done, stuck


def postgres_settings(dsn: str) -> dict[str, str]:
    """What the chart's Postgres says of itself."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT name, current_setting(name) FROM unnest(%s::text[]) name", (list(SHOWN),))
        return dict(rows.fetchall())


async def run(chosen: options.Options) -> None:
    """The faults, the peers, the soak. After SIGTERM too the node is healed and the namespace removed."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    scene = await asyncio.to_thread(Scene.install)
    facts = machine.facts({})
    measured: dict[str, dict[str, float]] = {"ours": {}, **{name: {} for name in PEERS}}
    details: dict[str, list[Any]] = {}
    try:
        await asyncio.to_thread(scene.declare)
        await asyncio.to_thread(scene.settled)
        facts["postgres"] = await asyncio.to_thread(postgres_settings, scene.dsn())
        async with clients(scene) as driver:
            await driver.ask("open", dsn=scene.dsn(), namespace_uid=scene.namespace_uid(), name=scene.group.name)
            done, stuck = await trials(scene, driver, chosen)
            details["ours"] = [asdict(each) for each in done]
            measured["ours"] = summary.figures(done) | {"stuck": stuck}
            for name in (name for name in PEERS if name in chosen.only):
                took = await peers.outages(scene, driver, name, min(chosen.rounds, SLOW_TRIALS))
                details[name] = [{"outage_ms": each} for each in took]
                measured[name] = summary.outages(took)
            if SOAK in chosen.only:
                measured["ours"] |= await soak.soak(scene, driver, QUICK_SOAK_S if chosen.quick else SOAK_S)
    finally:
        await asyncio.to_thread(scene.remove_namespace)
    report.publish(report.result("failover", summary.KEYS, measured, PEERS, facts), chosen, measured, details)


def main() -> int:
    """Reads the command line and runs; 1: there is no such cluster, or no group comes up; 130: after Ctrl-C."""
    chosen = options.parse(
        "failover", __doc__ or "", rounds=TRIALS, quick_rounds=QUICK_TRIALS, fixed=PEERS, parts=PARTS
    )
    try:
        asyncio.run(run(chosen))
    except (ClusterError, FileNotFoundError) as error:
        report.say(f"bench-failover: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        report.say("interrupted: the release stays")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
