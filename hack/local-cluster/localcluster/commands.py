"""Running other programs."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from localcluster.console import ClusterError

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
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every)
