"""What processes send and receive by TCP, as the kernel counts it for each of their sockets (``ss``, iproute2)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

PID = re.compile(r"pid=(\d+)")
SENT, RECEIVED = re.compile(r"bytes_sent:(\d+)"), re.compile(r"bytes_received:(\d+)")


async def bytes_of(pids: Collection[int], port: int) -> tuple[int, int]:
    """What the processes' sockets have sent, and what they have received from a port: payload, since they were opened.

    What one of the processes sends to another is counted once, where it is sent.
    """
    command = ["ss", "--tcp", "--info", "--processes", "--numeric", "--no-header", "--oneline", "state", "established"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"ss failed with exit code {process.returncode}")
    sent = received = 0
    for line in out.decode().splitlines():
        owners = {int(pid) for pid in PID.findall(line)}  # a deathwatch's copies are the robots' sockets
        if owners.isdisjoint(pids):
            continue
        sent += _number(SENT, line)
        if line.split()[3].endswith(f":{port}"):
            received += _number(RECEIVED, line)
    return sent, received


def _number(pattern: re.Pattern[str], line: str) -> int:
    found = pattern.search(line)
    return int(found[1]) if found else 0  # a socket that has sent nothing says nothing of it
