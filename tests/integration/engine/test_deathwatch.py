"""The deathwatch: connections that end with their owner, whatever keeps the kernel from closing them."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# It guards the connections that it accepts, until it reads a line; a child that outlives it holds copies of them.
OWNER = """
import os, socket, sys, threading
from contextlib import ExitStack
from robotgroups.deathwatch import Deathwatch

ready = threading.Event()

def heart():
    global deathwatch
    deathwatch = Deathwatch()
    ready.set()
    threading.Event().wait()

threading.Thread(target=heart, daemon=True).start()
ready.wait()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], deathwatch.pid, flush=True)
guarded, _ = server.accept()
other, _ = server.accept()
with ExitStack() as stack:
    stack.enter_context(deathwatch.guard(guarded.fileno()))
    keeper = os.fork()
    if keeper == 0:
        sys.stdin.close()
        threading.Event().wait()
    print(keeper, flush=True)
    what = sys.stdin.readline().strip()
    if what == "close":
        deathwatch.close()
        deathwatch.close()
if what == "exit":
    sys.exit(0)
print("left", flush=True)
threading.Event().wait()
"""
LIMIT_S = 20


class Owner:
    """A process with a guarded connection and another one, and a child that holds both as well."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        port, self.watcher = (int(word) for word in self.line().split())
        self.guarded, self.other = (socket.create_connection(("127.0.0.1", port), LIMIT_S) for _ in range(2))
        self.keeper = int(self.line())

    def line(self) -> str:
        """What it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def told(self, line: str) -> None:
        """Tells it to go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


@contextmanager
def killing(pid: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def owner() -> Iterator[Owner]:
    started = Owner()
    with killing(started.keeper), started.process, started.guarded, started.other:
        yield started
        started.process.kill()


def ended(connection: socket.socket) -> bool:
    """Whether it has ended: its next read tells so at once."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and connection.recv(1) == b""


def has_gone(pid: int) -> bool:
    """Whether the process has ended, within a limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], LIMIT_S)[0])
    finally:
        os.close(descriptor)


def test_a_guarded_connection_ends_with_its_owner(owner: Owner) -> None:
    """The kernel would not close it: the child still holds a copy, as the owner does while its memory is freed."""
    assert not ended(owner.guarded)
    owner.process.kill()
    assert owner.guarded.recv(1) == b"", "within the connection's time-out"
    assert not ended(owner.other), "what was not guarded is still held"
    assert has_gone(owner.watcher), "it has nothing more to do"


def test_what_is_guarded_no_more_is_left_alone(owner: Owner) -> None:
    owner.told("go on")
    assert owner.line() == "left\n"
    owner.process.kill()
    assert has_gone(owner.watcher)
    assert not ended(owner.guarded)


def test_a_stopped_owner_is_not_dead(owner: Owner) -> None:
    owner.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, owner.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert not ended(owner.guarded)
    owner.process.send_signal(signal.SIGCONT)
    owner.told("go on")
    assert owner.line() == "left\n"
    assert not ended(owner.guarded)


def test_an_owner_that_exits_leaves_nothing_behind(owner: Owner) -> None:
    owner.told("exit")
    assert owner.process.wait(LIMIT_S) == 0
    assert has_gone(owner.watcher)


def test_the_end_of_the_deathwatch_changes_nothing(owner: Owner) -> None:
    os.kill(owner.watcher, signal.SIGKILL)
    assert has_gone(owner.watcher)
    owner.told("go on")
    assert owner.line() == "left\n", "to give up the guard is no error either"
    assert not ended(owner.guarded)


def test_it_can_be_closed_twice(owner: Owner) -> None:
    owner.told("close")
    assert owner.line() == "left\n"
    assert has_gone(owner.watcher)
    assert not ended(owner.guarded)
