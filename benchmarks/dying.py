"""The robot that dies in bench-doorbell: holds all by which others may learn of its death, until it is killed.

``python -m benchmarks.dying PRESENCE_DSN DOORBELL_DSN KEY MEGABYTES`` holds the advisory lock KEY in both databases,
and one TCP connection to whoever comes first. It says "ready", its port and the pid of the backend of its presence.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import psycopg

PAGE = 4096
HIGH = 200


def main(presence_dsn: str, doorbell_dsn: str, key: int, megabytes: int) -> None:
    """Never returns."""
    # the kernel takes a dead process's memory back before it closes its connections: let it have what a robot has
    ballast = bytearray(megabytes * 2**20)
    ballast[::PAGE] = b"\1" * len(ballast[::PAGE])
    with (
        psycopg.connect(presence_dsn, autocommit=True) as presence,
        psycopg.connect(doorbell_dsn, autocommit=True) as doorbell,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        for connection in (presence, doorbell):
            connection.execute("SELECT pg_advisory_lock(%s)", (key,))
        print("ready", listening.getsockname()[1], presence.info.backend_pid, flush=True)
        # the kernel closes what a dead process had open from the highest number down: the pipe is to be first
        os.dup2(sys.stdout.fileno(), HIGH)
        os.close(sys.stdout.fileno())
        held, _ = listening.accept()
        with held:
            signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
