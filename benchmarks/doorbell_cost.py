"""What each kind of doorbell costs while nobody dies: backends and their memory, and what vacuum may not remove."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import DiagnosticField

from benchmarks.harness.postgres import Server

RING = "ring"
FIRST_KEY = 1_000_000
DEAD_ROWS = 1000
DEADLOCK = b"40P01"
NOT_REMOVED = re.compile(r"(\d+) are dead but not yet removable")


def shares_bytes(pids: Sequence[int]) -> int:
    """The processes' shares (Pss) of the machine's memory, in bytes: shared pages are counted in parts."""
    return sum(_share(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids)


def _share(rollup: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


class Ring:
    """Robots with a presence session each, and what their doorbells add to the server."""

    def __init__(self, server: Server, presence_dsn: str, doorbell_dsn: str, robots: int) -> None:
        self._server = server
        # by their name: who asks, or has just been asked, is none of theirs
        self._presence_dsn = make_conninfo(presence_dsn, application_name=RING)
        self._doorbell_dsn = make_conninfo(doorbell_dsn, application_name=RING)
        self._robots = robots

    def costs(self) -> dict[str, dict[str, float]]:
        """Backends, bytes of backends and sockets for each robot, by kind of doorbell."""
        with ExitStack() as stack:
            for number in range(self._robots):
                connection = stack.enter_context(psycopg.connect(self._presence_dsn, autocommit=True))
                connection.execute("SELECT pg_advisory_lock(%s)", (FIRST_KEY + number,))
            return {kind: self._added(rings) for kind, rings in {"tcp": self._tcp, "lock": self._locks}.items()}

    def _added(self, rings: Callable[[], AbstractContextManager[None]]) -> dict[str, float]:
        before, sockets = self._backends(), _sockets()
        bytes_before = shares_bytes(before)
        with rings():
            after = self._backends()
            return {
                "backends": (len(after) - len(before)) / self._robots,
                "backend_kb": (shares_bytes(after) - bytes_before) / self._robots / 1000,
                "sockets": (_sockets() - sockets) / self._robots,
            }

    @contextmanager
    def _tcp(self) -> Iterator[None]:
        """Everybody listens, and is connected to by the one before."""
        with ExitStack() as stack:
            listening = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(self._robots)]
            for each in listening:
                stack.enter_context(socket.create_connection(each.getsockname()))
                stack.enter_context(each.accept()[0])
            yield

    @contextmanager
    def _locks(self) -> Iterator[None]:
        """Everybody holds a lock of its own in one session, and waits for the next one's in another."""
        with ExitStack() as stack:
            for number in range(self._robots):
                holder = stack.enter_context(psycopg.connect(self._doorbell_dsn, autocommit=True))
                holder.execute("SELECT pg_advisory_lock(%s)", (FIRST_KEY + number,))
            for number in range(self._robots):
                waiter = psycopg.connect(self._doorbell_dsn, autocommit=True)
                # it waits: to close it as a context manager does would wait too
                stack.callback(waiter.close)
                next_key = FIRST_KEY + (number + 1) % self._robots
                waiter.pgconn.send_query(f"SELECT pg_advisory_lock({next_key})".encode())
            until_waiting(self._server.superuser(self._doorbell_dsn), self._robots)
            yield

    def _backends(self) -> list[int]:
        """The pids of the backends that serve the ring."""
        asked = make_conninfo(self._server.superuser(self._presence_dsn), application_name="")
        with psycopg.connect(asked) as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", (RING,))
            return [pid for (pid,) in rows.fetchall()]


def _sockets() -> int:
    links = (os.readlink(entry.path) if entry.is_symlink() else "" for entry in os.scandir("/proc/self/fd"))
    return sum(link.startswith("socket:") for link in links)


def until_waiting(dsn: str, sessions: int) -> None:
    """Returns when so many sessions of this database wait for an advisory lock."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        waiting = 0
        while waiting < sessions:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                "WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted"
            ).fetchone()
            assert row is not None
            waiting = row[0]


def kept_from_vacuum(memory_dsn: str, waiter_dsn: str | None) -> float:
    """Of 1000 rows deleted in one database, how many VACUUM must leave for a session that waits for a lock in another.

    Both may be the same. None: nobody waits.
    """
    key = FIRST_KEY - 1
    with psycopg.connect(memory_dsn, autocommit=True) as memory, ExitStack() as stack:
        memory.execute("CREATE TABLE doomed AS SELECT generate_series(1, %s::int)", (DEAD_ROWS,))
        stack.callback(memory.execute, "DROP TABLE doomed")
        if waiter_dsn is not None:
            holder = stack.enter_context(psycopg.connect(waiter_dsn, autocommit=True))
            holder.execute("SELECT pg_advisory_lock(%s)", (key,))
            waiter = psycopg.connect(waiter_dsn, autocommit=True)
            stack.callback(waiter.close)
            waiter.pgconn.send_query(f"SELECT pg_advisory_lock({key})".encode())
            until_waiting(waiter_dsn, 1)
        memory.execute("DELETE FROM doomed")
        notices: list[str] = []
        memory.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        memory.execute("VACUUM (VERBOSE) doomed")
        found = NOT_REMOVED.search("\n".join(notices))
        assert found is not None, notices
        return float(found[1])


def deadlocks(dsn: str) -> bool:
    """Whether two robots that hold and wait in one session each, in a ring, are a deadlock to Postgres."""
    made = [psycopg.connect(dsn, autocommit=True, options="-c statement_timeout=10s") for _ in range(2)]
    try:
        for number, connection in enumerate(made):
            connection.execute("SELECT pg_advisory_lock(%s)", (number,))
        for number, connection in enumerate(made):
            connection.pgconn.send_query(f"SELECT pg_advisory_lock({1 - number})".encode())
            until_waiting(dsn, number + 1)
        # the first one's patience (deadlock_timeout) ends first
        result = made[0].pgconn.get_result()
        assert result is not None
        return result.error_field(DiagnosticField.SQLSTATE) == DEADLOCK
    finally:
        for connection in made:
            connection.close()
