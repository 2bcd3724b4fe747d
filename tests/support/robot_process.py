"""Real robots for tests: the console script `robotgroups-robot` as a process of its own, on the loopback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx

from robotgroups.models import GroupKey

PROGRAM = Path(sys.executable).with_name("robotgroups-robot")
LIMIT_S = 20


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def until(condition: Callable[[], Any], what: str, limit: float = LIMIT_S) -> Any:
    """Waits until the coroutine function `condition` returns something true, and returns that."""
    seen = None
    with contextlib.suppress(TimeoutError), anyio.fail_after(limit):
        while not (seen := await condition()):
            await anyio.sleep(0.02)
    assert seen, f"not within {limit} s: {what}"
    return seen


@dataclass
class RobotProcess:
    """One robot. Its environment is what the operator gives a pod."""

    name: str
    key: GroupKey
    dsn: str
    token: str
    directory: Path
    port: int = field(default_factory=free_port)
    drain_seconds: float = 0.3
    log_level: str = "debug"
    settings: dict[str, str] = field(default_factory=dict)  # more of its environment
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.log = self.directory / f"{self.name}.log"
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {self.token}"}, timeout=15
        )

    def environment(self) -> dict[str, str]:
        """The pod's environment; secrets are files, as they are mounted."""
        for name, value in (("dsn", self.dsn), ("token", self.token)):
            (self.directory / name).write_text(value)
        return {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "ROBOTGROUPS_CLUSTER": self.key.cluster,
            "ROBOTGROUPS_NAMESPACE_UID": self.key.namespace_uid,
            "ROBOTGROUPS_GROUP": self.key.name,
            "ROBOTGROUPS_ROBOT": self.name,
            "ROBOTGROUPS_POD_IP": "127.0.0.1",
            "ROBOTGROUPS_BIND": "127.0.0.1",
            "ROBOTGROUPS_PORT": str(self.port),
            "ROBOTGROUPS_DOORBELL_PORT": "0",
            "ROBOTGROUPS_LINK_PORT": "0",
            "ROBOTGROUPS_DSN_FILE": str(self.directory / "dsn"),
            "ROBOTGROUPS_TOKEN_FILE": str(self.directory / "token"),
            "ROBOTGROUPS_DRAIN_SECONDS": str(self.drain_seconds),
            "ROBOTGROUPS_LOG_LEVEL": self.log_level,
            **self.settings,
        }

    def start(self) -> None:
        """Starts the process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(PROGRAM)], env=self.environment(), stdout=log, stderr=log)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, limit: float = LIMIT_S) -> int:
        """Waits for its end; the exit code."""
        process = self.process
        assert process is not None

        async def over() -> bool:
            return process.poll() is not None

        await until(over, f"{self.name} ends\n{self.tail()}", limit)
        return process.returncode

    async def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self.signal(signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL

    async def probe(self, path: str) -> tuple[int, dict[str, Any]]:
        """What a probe answers: its status and document; 0 when nobody listens."""
        try:
            answer = await self.client.get(path, headers={"Authorization": ""})
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    async def ready(self, limit: float = LIMIT_S) -> dict[str, Any]:
        """Waits until it is ready; what it says of itself."""
        return await self.until_probe("/readyz", lambda status, _: status == 200, limit)

    async def until_probe(
        self, path: str, met: Callable[[int, dict[str, Any]], bool], limit: float = LIMIT_S
    ) -> dict[str, Any]:
        """Waits until a probe's answer meets a condition; the answer's document."""
        last: tuple[int, dict[str, Any]] = (0, {})

        async def asked() -> bool:
            nonlocal last
            last = await self.probe(path)
            return met(*last)

        try:
            await until(asked, path, limit)
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}; last {last}\n{self.tail()}") from error
        return last[1]

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def tail(self) -> str:
        """The end of its log as text."""
        return "\n".join(self.log.read_text().splitlines()[-30:]) if self.log.exists() else "(no log)"

    async def aclose(self) -> None:
        """Ends it, if it still runs, and its client."""
        await self.client.aclose()
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()


@contextlib.asynccontextmanager
async def robots(
    names: list[str], key: GroupKey, dsn: str, token: str, directory: Path
) -> AsyncIterator[dict[str, RobotProcess]]:
    """Robots of one group, not started; whatever runs at the end is killed."""
    made = {}
    try:
        for name in names:
            place = directory / name
            place.mkdir()
            made[name] = RobotProcess(name, key, dsn, token, place)
        yield made
    finally:
        for robot in made.values():
            await robot.aclose()
