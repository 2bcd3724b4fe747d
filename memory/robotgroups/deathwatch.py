"""Ends connections in the moment in which this process dies, by whatever signal.

The kernel closes what a process held only after it has taken its memory back: 0.1 ms for each megabyte, during which
nobody knows of the death. Before that it lets go of the robust mutexes of each thread (futex(2), FUTEX_OWNER_DIED). So
a small process of its own waits for one that a thread of ours holds, and shuts down the connections that it was given
copies of. See ADR 0017.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

PROGRAM = Path(__file__).with_name("deathwatcher.py")
ATTRIBUTES = 64  # bytes; a pthread_mutexattr_t has 4 or 8
END_LIMIT_S = 2.0
# Guards a connection, by its descriptor, while a context is entered.
Guard = Callable[[int], AbstractContextManager[None]]
_PTHREAD_PROCESS_SHARED = _PTHREAD_MUTEX_ROBUST = 1

logger = logging.getLogger(__name__)


class Deathwatch:
    """Watches over the thread that starts it: its end is taken for the end of the process.

    Raises OSError where there are no such mutexes (outside Linux), or no process can be started.
    """

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError("there is no memory to share with another process on this system")
        self._numbers = itertools.count()
        memory = os.memfd_create("deathwatch")
        try:
            os.ftruncate(memory, mmap.PAGESIZE)
            self._memory = mmap.mmap(memory, mmap.PAGESIZE)  # kept: the kernel looks for the mutex here
            _hold(self._memory)
            self._commands, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._commands.setblocking(False)
                arguments = [str(PROGRAM), str(memory), str(theirs.fileno())]
                self._process = subprocess.Popen(  # noqa: S603  our own program
                    [sys.executable, "-I", "-S", *arguments],
                    pass_fds=(memory, theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={},
                    start_new_session=True,  # Ctrl-C is the owner's to answer
                )
        finally:
            os.close(memory)

    @property
    def pid(self) -> int:
        """The process that waits."""
        return self._process.pid

    @contextmanager
    def guard(self, descriptor: int) -> Iterator[None]:
        """Within, this connection ends as soon as the thread does. Whoever closes it leaves this context, too."""
        name = str(next(self._numbers)).encode()
        self._send(b"+" + name, [descriptor])
        try:
            yield
        finally:
            self._send(b"-" + name, [])

    def close(self) -> None:
        """End the process that waits. Safe to call twice."""
        with contextlib.suppress(OSError):  # it is closed, or the other side is
            self._commands.shutdown(socket.SHUT_RDWR)  # forked children may have a copy
        self._commands.close()
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._commands, [message], descriptors)
        except OSError as error:  # deaths are noticed later, that is all; but it must not keep what is to be given up
            self._process.kill()
            ended = self._process.wait()
            logger.warning("the deathwatch (pid %d) did not listen: %s; exit code %s", self.pid, error, ended)


def unguarded(_: int) -> AbstractContextManager[None]:
    """Leave a connection to the kernel."""
    return nullcontext()


def _hold(memory: mmap.mmap) -> None:
    """Make a mutex that is shared and robust at the beginning of the memory, and lock it in this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    mutex = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    attributes = ctypes.create_string_buffer(ATTRIBUTES)
    for function, *arguments in (
        ("pthread_mutexattr_init", attributes),
        ("pthread_mutexattr_setpshared", attributes, _PTHREAD_PROCESS_SHARED),
        ("pthread_mutexattr_setrobust", attributes, _PTHREAD_MUTEX_ROBUST),
        ("pthread_mutex_init", mutex, attributes),
        ("pthread_mutex_lock", mutex),
    ):
        failed = getattr(libc, str(function))(*arguments)
        if failed:
            raise OSError(failed, f"{function}: {os.strerror(failed)}")
