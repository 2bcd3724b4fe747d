"""Running other programs."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from localcluster.console import ClusterError

_GIVEN_UP = threading.Event()
T = TypeVar("T")
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def environment() -> dict[str, str]:
    """Ours, with the administrator's programs on the path."""
    return os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{SEARCH_PATH}"}


def run(
    *command: str | Path,
    stdin: str | IO[bytes] | None = None,
    check: bool = True,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> str:
    """Runs a program to its end and returns what it printed; its failure is a ClusterError with its words."""
    arguments = [str(part) for part in command]
    text = stdin.encode() if isinstance(stdin, str) else None
    file = subprocess.DEVNULL if stdin is None or isinstance(stdin, str) else stdin
    done = subprocess.run(
        arguments,
        input=text,
        stdin=file if text is None else None,
        capture_output=True,
        check=False,
        cwd=cwd,
        env=environment() | (env or {}),
    )
    if check and done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ClusterError(f"{' '.join(arguments)[:300]}: exit {done.returncode}: {words[-2000:]}")
    return done.stdout.decode(errors="replace")


def wait_for(what: str, seconds: float, condition: Callable[[], bool], *, every: float = 0.1) -> None:
    """Waits until `condition` holds, at most `seconds`; a ClusterError names what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if _GIVEN_UP.is_set():
            raise ClusterError(f"gave up waiting for {what}")
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every)


def at_once(work: Sequence[Callable[[], T]]) -> list[T]:
    """Runs functions in threads and returns their results in order, or raises what the first of them raised.

    An interrupt of the main thread makes the others give up waiting, and is raised once they have ended: nothing
    may still be starting when the cleaning up begins.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, len(work)))
    try:
        futures = [pool.submit(function) for function in work]
        return [future.result() for future in futures]
    except BaseException:
        _GIVEN_UP.set()
        raise
    finally:
        pool.shutdown(wait=True)
