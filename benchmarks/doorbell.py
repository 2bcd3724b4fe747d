"""bench-doorbell: how soon a neighbour's death is known, by a TCP connection and by waiting for its advisory lock.

Ours is a connection that a deathwatch ends; the peers are one that the kernel closes, and a session that waits for the
lock in a second database, where it pins no horizon of vacuum that matters. The limit is the first that the kernel
closes: a pipe with the highest number. In each trial a process that holds all of these and two presence locks, one in a
guarded session, is killed. ``proof`` is when ``pg_locks`` shows its lock no longer, for whoever asks from its ring on:
before that, ``declare_failed`` answers "alive".
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from benchmarks.doorbell_cost import Ring, deadlocks, kept_from_vacuum, until_waiting
from benchmarks.harness import machine, options, postgres, report
from benchmarks.harness.figures import Figures, percentile

KEYS = (
    "ring_p50_ms", "ring_p99_ms", "proof_p50_ms", "proof_p99_ms",
    "backends", "backend_kb", "sockets", "kept_from_vacuum_same", "kept_from_vacuum_other",
)  # fmt: skip
TCP, LOCK = "tcp", "lock"
TRIALS, QUICK_TRIALS, WARM_UP = 200, 5, 3
ROBOTS, QUICK_ROBOTS = 50, 5
BALLAST_MB = 64  # with what its libraries take, a robot's process
ASK_EVERY_S = 0.0005
HELD = (
    "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
    "WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.pid = %s AND l.granted)"
)


@dataclass(frozen=True)
class Dying:
    """The process that will be killed, and what it holds."""

    process: subprocess.Popen[str]
    port: int
    guarded_pid: int
    presence_pid: int


@contextmanager
def dying(presence_dsn: str, doorbell_dsn: str, key: int) -> Iterator[Dying]:
    """Starts it, and waits until it holds everything."""
    command = [sys.executable, "-m", "benchmarks.dying", presence_dsn, doorbell_dsn, str(key), str(BALLAST_MB)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            said = process.stdout.readline().split()
            if said[:1] != ["ready"]:
                raise RuntimeError(f"the process that is to die ended early: exit code {process.wait()}")
            yield Dying(process, *(int(word) for word in said[1:]))
        finally:
            process.kill()


class Watchers:
    """Four who wait for a death, each in a thread and on connections of its own; times are of the monotonic clock."""

    def __init__(self, presence_dsn: str, doorbell_dsn: str) -> None:
        self._presence_dsn = presence_dsn
        self._doorbell_dsn = doorbell_dsn
        self._threads = ThreadPoolExecutor(4)
        self._askers = [psycopg.connect(presence_dsn, autocommit=True) for _ in range(3)]
        self._waiter = psycopg.connect(doorbell_dsn, autocommit=True)

    def close(self) -> None:
        """Ends the connections."""
        self._threads.shutdown()
        for connection in (*self._askers, self._waiter):
            connection.close()

    def trial(self, key: int) -> dict[str, dict[str, float]]:
        """Kills one process: milliseconds from the kill until the ring and until the proof, by contender."""
        with (
            dying(self._presence_dsn, self._doorbell_dsn, key) as victim,
            socket.create_connection(("127.0.0.1", victim.port)) as guarded,
            socket.create_connection(("127.0.0.1", victim.port)) as connection,
        ):
            guarded.recv(1)  # both are held
            waiting = {
                "limit": self._threads.submit(self._pipe, victim),
                "ours": self._threads.submit(self._tcp, self._askers[2], guarded, victim.guarded_pid),
                TCP: self._threads.submit(self._tcp, self._askers[0], connection, victim.presence_pid),
                LOCK: self._threads.submit(self._lock, key, victim.presence_pid),
            }
            until_waiting(self._doorbell_dsn, 1)
            killed = time.monotonic_ns()
            os.kill(victim.process.pid, signal.SIGKILL)
            return {name: _since(killed, found) for name, found in waiting.items()}

    def _pipe(self, victim: Dying) -> tuple[int, ...]:
        assert victim.process.stdout is not None
        victim.process.stdout.read()
        return (time.monotonic_ns(),)

    def _tcp(self, asker: psycopg.Connection, connection: socket.socket, backend: int) -> tuple[int, ...]:
        with suppress(ConnectionResetError):  # a reset is an end as well
            connection.recv(1)
        rung = time.monotonic_ns()
        return rung, _proven(asker, backend)

    def _lock(self, key: int, backend: int) -> tuple[int, ...]:
        self._waiter.execute("SELECT pg_advisory_lock(%s)", (key,))
        rung = time.monotonic_ns()
        proven = _proven(self._askers[1], backend)
        self._waiter.execute("SELECT pg_advisory_unlock(%s)", (key,))
        return rung, proven


def _proven(connection: psycopg.Connection, backend: int) -> int:
    """When the backend's lock is gone, asked again and again as a robot does."""
    while True:
        row = connection.execute(HELD, (backend,)).fetchone()
        assert row is not None
        if not row[0]:
            return time.monotonic_ns()
        time.sleep(ASK_EVERY_S)


def _since(killed: int, found: Future[tuple[int, ...]]) -> dict[str, float]:
    return dict(zip(("ring_ms", "proof_ms"), ((at - killed) / 1e6 for at in found.result(60)), strict=False))


def summary(trials: Sequence[Mapping[str, Mapping[str, float]]], contender: str) -> dict[str, float]:
    """The percentiles over all trials."""
    figures = {}
    for kind in trials[0][contender]:
        took = [trial[contender][kind] for trial in trials]
        for percent in (50, 99):
            figures[f"{kind.removesuffix('_ms')}_p{percent}_ms"] = percentile(took, percent)
    return figures


def run(chosen: options.Options) -> None:
    """The trials, then the costs."""
    with postgres.server() as server:
        facts = machine.facts(server.settings())
        presence_dsn, doorbell_dsn = server.database("presence"), server.database("doorbells")
        report.say(f"{chosen.rounds} processes are killed")
        watchers = Watchers(server.superuser(presence_dsn), server.superuser(doorbell_dsn))
        try:
            trials = [watchers.trial(number) for number in range(WARM_UP + chosen.rounds)][WARM_UP:]
        finally:
            watchers.close()
        robots = QUICK_ROBOTS if chosen.quick else ROBOTS
        report.say(f"what {robots} robots cost at rest")
        costs = Ring(server, presence_dsn, doorbell_dsn, robots).costs()
        memory, doorbells = server.superuser(presence_dsn), server.superuser(doorbell_dsn)
        without = kept_from_vacuum(memory, None)
        held = {
            f"kept_from_vacuum_{where}": kept_from_vacuum(memory, dsn)
            for where, dsn in {"same": memory, "other": doorbells}.items()
        }
        facts["ring_of_one_session_each_deadlocks"] = deadlocks(doorbells)
    measured: dict[str, Figures] = {
        "ours": summary(trials, "ours") | costs["tcp"] | dict.fromkeys(held, without),
        "limit": summary(trials, "limit"),
        TCP: summary(trials, TCP) | costs["tcp"],
        LOCK: summary(trials, LOCK) | costs["lock"] | held,
    }
    details = {name: [trial[name] for trial in trials] for name in measured}
    report.publish(report.result("doorbell", KEYS, measured, (TCP, LOCK), facts), chosen, measured, details)


def main() -> None:
    """Reads the command line and runs."""
    run(options.parse("doorbell", __doc__ or "", rounds=TRIALS, quick_rounds=QUICK_TRIALS, fixed=(TCP, LOCK)))


if __name__ == "__main__":
    main()
