"""bench-idle: what robots cost Postgres and the network while nothing happens, and whether a death is seen among many.

Groups of three robots, each hosted in another process (robots of many groups share a process, as in the SDK). One more
process hosts one active robot; it is killed again and again. No peer and no limit: nobody else does the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import uvloop

from benchmarks.doorbell_cost import shares_bytes
from benchmarks.harness import machine, options, postgres, report, wire
from benchmarks.harness.figures import percentile
from benchmarks.harness.processes import Child, children
from robotgroups import migrations
from robotgroups.models import Failover, GroupKey, GroupSettings
from robotgroups.presence import announced_revision, channel
from robotgroups.store import Store

SIZES = (3, 30, 300)
FIGURES = ("queries_per_s", "bytes_per_s", "promoted_p50_ms", "promoted_p99_ms")
KEYS = (*(f"robots{size}_{figure}" for size in SIZES for figure in FIGURES), "most_robots")
QUICK_SIZES = {3: 3, 30: 6, 300: 9}
MORE = (600, 900)
MOST_P99_MS = 100.0
OF_A_GROUP, OF_A_PROCESS = 3, 60
NAMES = ("active", "passive-1", "passive-2")
CONNECTIONS = 6000
SETTLE_S, WINDOW_S, QUICK_WINDOW_S = 10.0, 20.0, 1.0
TRIALS, QUICK_TRIALS = 30, 2
READY_S, PROMOTED_S = 300.0, 20.0
ROOM_BYTES = 20 * 2**20  # of the machine's memory for one robot more: its backends, and its part of a process
SPARE_BYTES = 2 * 2**30
COUNTERS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@dataclass(frozen=True)
class Crowd:
    """So many robots in a database, less the one that is to die: ``victim_group``'s, by the name ``NAMES[0]``."""

    dsn: str
    robots: int
    port: int
    store: Store
    victim_group: int
    hosts: Sequence[Child]

    async def ended(self) -> int:
        """How many robots have given up."""
        return sum([int(await host.ask("ended?")) for host in self.hosts])


@asynccontextmanager
async def crowd(server: postgres.Server, robots: int) -> AsyncIterator[Crowd]:
    """Groups of three in a database of their own, each robot of a group in another process."""
    dsn = server.database("idle")
    await migrations.migrate(dsn)
    async with await Store.open(dsn) as store:
        groups = []
        for number in range(robots // OF_A_GROUP):
            groups.append(await store.ensure_group(GroupKey("bench", "bench", f"group-{number}"), GroupSettings()))
            await store.reconcile_members(groups[-1], [NAMES[0]], list(NAMES[1:]))
        processes = max(OF_A_GROUP, -(-robots // OF_A_PROCESS))
        parts: list[list[tuple[int, str]]] = [[] for _ in range(processes)]
        for place, group in enumerate(groups):
            for number, name in enumerate(NAMES):
                if (place, number) != (0, 0):
                    parts[(OF_A_GROUP * place + number) % processes].append((group, name))
        arguments = [(dsn, json.dumps(part)) for part in parts if part]
        async with children("benchmarks.hosting", arguments, limit_s=READY_S) as hosts:
            yield Crowd(dsn, robots, server.running.port, store, groups[0], hosts)
    server.drop("idle")


@asynccontextmanager
async def victim(here: Crowd) -> AsyncIterator[Child]:
    """The process of one robot, which is the only active one of its group."""
    wanted = json.dumps([(here.victim_group, NAMES[0])])
    async with children("benchmarks.hosting", [(here.dsn, wanted)]) as (child,):
        while True:
            status = await here.store.status(here.victim_group)
            if NAMES[0] not in status.active:
                await here.store.promote(here.victim_group, NAMES[0])
            for other in (name for name in status.active if name != NAMES[0]):
                await here.store.demote(here.victim_group, other)
            if status.active == (NAMES[0],) and len(status.passive) == OF_A_GROUP - 1:
                break
            await asyncio.sleep(0.1)
        yield child


async def promotions(here: Crowd, trials: int) -> list[float | None]:
    """Kills the active robot's process: milliseconds until another one's promotion was announced; None: none was."""
    took = []
    async with await psycopg.AsyncConnection.connect(here.dsn, autocommit=True) as listener:
        await listener.execute(f"LISTEN {channel(here.victim_group)}".encode())
        for _ in range(trials):
            async with victim(here) as child:
                await asyncio.sleep(1.0)  # a heartbeat or two: its neighbours have to know it
                last = await _failover(here)
                async for _ in listener.notifies(timeout=0):
                    pass
                at = time.monotonic_ns()
                child.process.send_signal(signal.SIGKILL)
                took.append(await _promoted(here, listener, last, at))
    return took


async def _failover(here: Crowd) -> Failover | None:
    """The newest failover of the victim's group."""
    newest = await here.store.failovers(here.victim_group, 1)
    return newest[0] if newest else None


async def _promoted(here: Crowd, listener: psycopg.AsyncConnection, last: Failover | None, at: int) -> float | None:
    heard: list[tuple[int, int]] = []
    while time.monotonic_ns() - at < PROMOTED_S * 1e9:
        notes = listener.notifies(timeout=PROMOTED_S, stop_after=1)
        heard += [(time.monotonic_ns(), announced_revision(note.payload) or 0) async for note in notes]
        newest = await _failover(here)
        if newest is not None and newest != last:
            return next((moment - at) / 1e6 for moment, announced in heard if announced >= newest.revision)
    return None


async def idle_cost(here: Crowd, server: postgres.Server, seconds: float) -> dict[str, float]:
    """Of each robot: statements and bytes a second, memory of its backends; and cores that Postgres and hosts take."""
    superuser = server.superuser(here.dsn)
    async with victim(here) as child, await psycopg.AsyncConnection.connect(superuser, autocommit=True) as asking:
        everybody = {host.process.pid for host in (*here.hosts, child)}
        await asyncio.sleep(SETTLE_S if seconds > SETTLE_S else seconds)
        backends = [pid for (pid,) in await (await asking.execute(BACKENDS)).fetchall()]
        before = await _sample(asking, everybody, backends, here.port)
        await asyncio.sleep(seconds)
        after = await _sample(asking, everybody, backends, here.port)
        taken = shares_bytes(backends)
        took = after["at"] - before["at"]
        assert child.process.stdin is not None
        child.process.stdin.close()  # it takes leave: nothing is to be detected yet
        await child.process.wait()
        grown = {name: (after[name] - before[name]) / took for name in after}
        return {
            "queries_per_s": grown["commits"] / here.robots,
            "bytes_per_s": grown["bytes"] / here.robots,
            "backends": len(backends) / here.robots,
            "backend_mb": taken / here.robots / 1e6,
            "postgres_cores": grown["backend_s"],
            "hosts_cores": grown["host_s"],
        }


async def _sample(
    asking: psycopg.AsyncConnection, hosts: set[int], backends: Sequence[int], port: int
) -> dict[str, float]:
    row = await (await asking.execute(COUNTERS)).fetchone()
    assert row is not None
    return {
        "at": time.monotonic(),
        "commits": row[0],
        "bytes": sum(await wire.bytes_of(hosts, port)),
        "backend_s": sum(map(_processor_s, backends)),
        "host_s": sum(map(_processor_s, hosts)),
    }


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measured(server: postgres.Server, robots: int, chosen: options.Options) -> dict[str, float]:
    """Everything about so many robots."""
    report.say(f"{robots} robots")
    async with crowd(server, robots) as here:
        figures = await idle_cost(here, server, QUICK_WINDOW_S if chosen.quick else WINDOW_S)
        took = await promotions(here, chosen.rounds)
        good = [each for each in took if each is not None]
        figures |= {"unpromoted": len(took) - len(good), "ended": await here.ended()}
        figures["false_failovers"] = await _all_failovers(here) - len(good)
    if good:
        figures |= {f"promoted_p{percent}_ms": percentile(good, percent) for percent in (50, 99)}
    return figures


async def _all_failovers(here: Crowd) -> int:
    async with await psycopg.AsyncConnection.connect(here.dsn, autocommit=True) as connection:
        row = await (await connection.execute("SELECT count(*) FROM robotgroups.failovers")).fetchone()
        assert row is not None
        return int(row[0])


def holds(figures: Mapping[str, float]) -> bool:
    """Whether so many robots are carried: each death seen in time, and nobody taken for dead."""
    faults = figures["unpromoted"] + figures["ended"] + figures["false_failovers"]
    return not faults and figures["promoted_p99_ms"] <= MOST_P99_MS


def has_room(robots: int) -> bool:
    """Whether the machine's memory is enough for so many."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return available > robots * ROOM_BYTES + SPARE_BYTES


async def run(chosen: options.Options) -> None:
    """Few, many, and as many as are carried."""
    figures: dict[str, float] = {}
    most = 0
    with postgres.server(max_connections=str(CONNECTIONS)) as server:
        facts = machine.facts(server.settings())
        for size in (*SIZES, *(() if chosen.quick else MORE)):
            if size not in SIZES and (most == 0 or not has_room(size)):
                break
            robots = QUICK_SIZES.get(size, size) if chosen.quick else size
            found = await measured(server, robots, chosen)
            figures |= {f"robots{size}_{name}": value for name, value in found.items()}
            if holds(found):
                most = robots
            elif size not in SIZES:
                break
    figures["most_robots"] = most
    everything = {"ours": figures}
    report.publish(report.result("idle", KEYS, everything, (), facts), chosen, everything, {"ours": [figures]})


def main() -> None:
    """Reads the command line and runs."""
    uvloop.run(run(options.parse("idle", __doc__ or "", rounds=TRIALS, quick_rounds=QUICK_TRIALS, fixed=())))


if __name__ == "__main__":
    main()
