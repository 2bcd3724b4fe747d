"""The robot that dies in bench-doorbell: holds all by which others may learn of its death, until it is killed.

``python -m benchmarks.dying PRESENCE_DSN DOORBELL_DSN KEY MEGABYTES`` holds the advisory lock KEY in both databases,
another one in a second session of its presence, and the TCP connections of the two who come. The second session and the
first of those are guarded by a deathwatch. It says "ready", its port and the pids of the backends, guarded and not.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import psycopg

from robotgroups.deathwatch import Deathwatch

PAGE = 4096
LIMIT_S, POLL_S = 10.0, 0.001
HIGH = 200


def until_asleep(pid: int) -> None:
    """Waits until each of the process's two threads waits for something: a robot's has long done so when it dies."""
    deadline = time.monotonic() + LIMIT_S
    while sorted(path.read_text().partition(") ")[2][0] for path in Path(f"/proc/{pid}/task").glob("*/stat")) != [
        "S",
        "S",
    ]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the deathwatch (pid {pid}) does not come to rest")
        time.sleep(POLL_S)


def main(presence_dsn: str, doorbell_dsn: str, key: int, megabytes: int) -> None:
    """Never returns."""
    # the kernel takes a dead process's memory back before it closes its connections: let it have what a robot has
    ballast = bytearray(megabytes * 2**20)
    ballast[::PAGE] = b"\1" * len(ballast[::PAGE])
    with (
        psycopg.connect(presence_dsn, autocommit=True) as guarded,
        psycopg.connect(presence_dsn, autocommit=True) as presence,
        psycopg.connect(doorbell_dsn, autocommit=True) as doorbell,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        for connection in (presence, doorbell):
            connection.execute("SELECT pg_advisory_lock(%s)", (key,))
        guarded.execute("SELECT pg_advisory_lock(%s, 0)", (key,))
        pids = (session.info.backend_pid for session in (guarded, presence))
        deathwatch = Deathwatch()
        print("ready", listening.getsockname()[1], *pids, flush=True)
        # the kernel closes what a dead process had open from the highest number down: the pipe is to be first
        os.dup2(sys.stdout.fileno(), HIGH)
        os.close(sys.stdout.fileno())
        first, _ = listening.accept()
        other, _ = listening.accept()
        with first, other, deathwatch.guard(guarded.fileno()), deathwatch.guard(first.fileno()):
            until_asleep(deathwatch.pid)
            first.send(b".")
            signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
