"""What the figures were measured on: enough to judge them, nothing that identifies the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from statistics import median

LIBRARIES = ("psycopg", "langgraph-checkpoint-postgres", "mem0ai", "uvloop")
PAGE = b"\0" * 8192
SYNCS = 200


def facts(settings: Mapping[str, str]) -> dict[str, object]:
    """CPU, memory, disk, versions and Postgres' settings, as JSON takes them."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "fdatasync_ms": fdatasync_ms(),
        "postgres": dict(settings),
        "libraries": {name: metadata.version(name) for name in LIBRARIES if _installed(name)},
        "commit": _commit(),
    }


def fdatasync_ms() -> float:
    """Median milliseconds to write 8 KiB and fdatasync them where the server's data are: the floor of every commit."""
    with tempfile.TemporaryFile() as file:
        took = []
        for _ in range(SYNCS):
            started = time.perf_counter()
            file.seek(0)
            file.write(PAGE)
            file.flush()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    return round(median(took), 3)


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines() if Path(path).exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else "unknown"
