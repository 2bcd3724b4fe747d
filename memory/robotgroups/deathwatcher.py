"""The process of ``deathwatch``: waits for its owner's death, then ends the connections that it was given.

``python -I -S deathwatcher.py MEMORY COMMANDS``: the descriptors of the memory with the mutex that the owner holds,
and of the socket on which it sends "+ID" with a descriptor, or "-ID". It is to be small: it imports nothing of ours.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import select
import socket
import sys
import threading
from enum import Enum

MESSAGE = 64


class Taken(Enum):
    """What there was to do: one thing, nothing now, or nothing any more."""

    ONE, NONE, END = range(3)


class Held:
    """The connections that are to end with the owner."""

    def __init__(self, commands: socket.socket) -> None:
        self._commands = commands
        commands.setblocking(False)  # recv_fds of Python 3.11 ignores its flags
        self._connections: dict[bytes, socket.socket] = {}
        self._taking = threading.Lock()

    def follow(self) -> None:
        """Does what the owner asks, until it closes its side: then this process ends."""
        while True:
            select.select([self._commands], [], [])
            if self._take() is Taken.END:
                os._exit(0)

    def end(self) -> None:
        """Ends them all, after what the owner had asked for with its last breath."""
        while self._take() is Taken.ONE:
            pass
        for connection in self._connections.values():
            with contextlib.suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)

    def _take(self) -> Taken:
        """Does the next thing that was asked for."""
        with self._taking:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._commands, MESSAGE, 1)
            except BlockingIOError:
                return Taken.NONE
            name = message[1:]
            for descriptor in descriptors:
                self._connections[name] = socket.socket(fileno=descriptor)
            if message[:1] == b"-" and name in self._connections:
                self._connections.pop(name).close()
            return Taken.ONE if message else Taken.END


def main(memory: int, commands: int) -> None:
    """Ends this process when the owner is dead; with 1 when it cannot be waited for."""
    mutex = ctypes.c_char.from_buffer(mmap.mmap(memory, mmap.PAGESIZE))
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock.argtypes = [ctypes.c_void_p]
    held = Held(socket.socket(fileno=commands))
    threading.Thread(target=held.follow, daemon=True).start()
    ended = lock(ctypes.addressof(mutex))
    if ended != errno.EOWNERDEAD:
        sys.stderr.write(f"deathwatcher: the mutex of its owner cannot be waited for: {os.strerror(ended)}\n")
        os._exit(1)
    held.end()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
