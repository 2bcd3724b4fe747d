"""Runs in the client's pod, inside the cluster: commands as JSON lines on stdin, answers as JSON lines on stdout.

It is sent there as text by `demo.client`, so it imports the library alone. All its times are of one clock, this pod's
monotonic one. A command is {"id", "op", "url": of a robot (default: the group's Service), ...}; the answer has the id
and "result" or "error".
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from robotgroups import AsyncClient
from robotgroups.errors import RobotGroupsError

URL = os.environ["ROBOTGROUPS_URL"]
TOKEN = os.environ["ROBOTGROUPS_TOKEN"]


@dataclass
class Load:
    """Writers at a steady rate, until they are told to stop. `acknowledged`: (content, sent, answered) of each."""

    text: str
    rate: float
    most: int
    acknowledged: list[tuple[str, float, float]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    started: int = 0
    stopping: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def write(self, client: AsyncClient, begin: float) -> None:
        """One writer: a memory is tried until it is acknowledged."""
        while not self.stopping and self.started < self.most:
            self.started += 1
            number = self.started
            await asyncio.sleep(begin + number / self.rate - time.monotonic())
            content, sent = self.text.format(number), time.monotonic()
            try:
                await client.remember(content, key=uuid4().hex)
            except RobotGroupsError as error:
                self.refused.append(f"{content}: {type(error).__name__}: {error}")
            else:
                self.acknowledged.append((content, sent, time.monotonic()))

    def gaps(self) -> list[float]:
        """Seconds between one acknowledgement and the next."""
        times = [answered for _content, _sent, answered in self.acknowledged]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


class Driver:
    """The commands."""

    def __init__(self) -> None:
        self._clients: dict[str, AsyncClient] = {}
        self._loads: dict[str, Load] = {}
        self._watch: asyncio.Task[dict[str, Any]] | None = None
        self._watching = asyncio.Event()

    def client(self, url: str = URL) -> AsyncClient:
        """One long-lived client for each address."""
        if url not in self._clients:
            self._clients[url] = AsyncClient(url, TOKEN)
        return self._clients[url]

    async def remember(self, content: str, originator: str | None = None, url: str = URL) -> dict[str, Any]:
        """Remember."""
        return asdict(await self.client(url).remember(content, originator=originator))

    async def recall(self, query: str, limit: int = 1000, url: str = URL, strategy: str = "fulltext") -> list[str]:
        """Contents, best first."""
        found = await self.client(url).recall(query, limit=limit, strategy=strategy)
        return [memory.content for memory in found]

    async def status(self, url: str = URL) -> dict[str, Any]:
        """The group's status, with the robot that answered."""
        return dict(await self.client(url).status())

    async def working_memory(self, url: str = URL) -> dict[str, Any]:
        """Ids and contents of a robot's working memory, and its revision."""
        found = await _get(url, "/v1/working-memory")
        memories = {str(memory["id"]): memory["content"] for memory in found["memories"]}
        return {"revision": found["revision"], "memories": memories}

    async def clear(self) -> int:
        """Clear the working memory; how many there were."""
        return await self.client().clear_working_memory()

    async def failover(self, robot: str) -> dict[str, Any]:
        """Replace an active robot on request; who took over."""
        return asdict(await self.client().failover(robot))

    async def load_start(self, name: str, text: str, rate: float, most: int = 10**9, writers: int = 8) -> None:
        """Start to remember `text` with numbers, `rate` a second, through the Service."""
        load = self._loads[name] = Load(text, rate, most)
        begin = time.monotonic()
        load.tasks = [asyncio.create_task(load.write(self.client(), begin)) for _ in range(writers)]

    async def load_count(self, name: str) -> int:
        """How many were acknowledged so far."""
        return len(self._loads[name].acknowledged)

    async def load_stop(self, name: str) -> dict[str, Any]:
        """Let what is under way be acknowledged; then what was, and the longest gap between two acknowledgements."""
        load = self._loads.pop(name)
        load.stopping = True
        await asyncio.gather(*load.tasks)
        return {
            "acknowledged": [content for content, _sent, _answered in load.acknowledged],
            "refused": load.refused,
            "longest_gap_ms": max(load.gaps(), default=0.0) * 1000,
            "seconds": load.acknowledged[-1][2] - load.acknowledged[0][1] if load.acknowledged else 0.0,
        }

    async def watch_start(self, active: str, standbys: dict[str, str], load: str, query: str) -> None:
        """Open the event streams of the active robot and of the standbys (URLs), and wait for the failover."""
        self._watching = asyncio.Event()
        self._watch = asyncio.create_task(self._watch_failover(active, standbys, load, query))
        await self._watching.wait()

    async def watch_result(self, seconds: float) -> dict[str, Any]:
        """What the watch saw: who was promoted, how long after the death, and what recall missed right after."""
        if self._watch is None:
            raise RuntimeError("no watch was started")
        return await asyncio.wait_for(self._watch, seconds)

    async def _watch_failover(self, active: str, standbys: dict[str, str], load: str, query: str) -> dict[str, Any]:
        # The kernel closes the process's connections when it dies: the end of its stream is the moment of death.
        opened: list[asyncio.Event] = [asyncio.Event() for _ in range(1 + len(standbys))]
        death = asyncio.create_task(_stream_end(active, opened[0]))
        watchers = [
            asyncio.create_task(_promotion(name, url, ready))
            for (name, url), ready in zip(standbys.items(), opened[1:], strict=True)
        ]
        for ready in opened:
            await ready.wait()
        self._watching.set()
        done, others = await asyncio.wait(watchers, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        promoted, at = next(iter(done)).result()
        before = [content for content, _sent, _answered in self._loads[load].acknowledged]
        recalled = await self.recall(query)
        recall_ms = (time.monotonic() - at) * 1000
        died = await death
        return {
            "promoted": promoted,
            "promoted_ms": (at - died) * 1000,
            "acknowledged": len(before),
            "missing": sorted(set(before) - set(recalled)),
            "recalled": len(recalled),
            "recall_ms": recall_ms,
        }


async def _get(url: str, path: str) -> Any:
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10) as http:
        answer = await http.get(path)
        answer.raise_for_status()
        return answer.json()


async def _stream_end(url: str, opened: asyncio.Event) -> float:
    """When the connection of a robot's event stream ended."""
    try:
        async for _line in _stream(url, opened):
            pass
    except httpx.HTTPError:
        return time.monotonic()
    return time.monotonic()


async def _promotion(name: str, url: str, opened: asyncio.Event) -> tuple[str, float]:
    """Waits for the role event by which this standby is active; its name, and when the event came."""
    async for line in _stream(url, opened):
        if line.startswith("data:"):
            change = json.loads(line.removeprefix("data:"))
            if change["kind"] == "role" and change["payload"]["roles"].get(name, {}).get("role") == "active":
                return name, time.monotonic()
    raise ConnectionError(f"the event stream of {name} ended")


async def _stream(url: str, opened: asyncio.Event) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(timeout=httpx.Timeout(10, read=None)) as http,
        http.stream("GET", f"{url}/v1/events", headers=headers) as answer,
    ):
        answer.raise_for_status()
        opened.set()
        async for line in answer.aiter_lines():
            yield line


async def answer(command: Callable[..., Awaitable[Any]], number: int, arguments: dict[str, Any]) -> None:
    """Runs one command and writes its answer."""
    reply: dict[str, Any] = {"id": number}
    try:
        reply["result"] = await command(**arguments)
    except Exception as error:  # noqa: BLE001  it goes to the host, which raises it there
        reply["error"] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serves commands until stdin ends."""
    driver, running = Driver(), set()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        number, operation = command.pop("id"), command.pop("op")
        task = asyncio.create_task(answer(getattr(driver, operation), number, command))
        running.add(task)
        task.add_done_callback(running.discard)


if __name__ == "__main__":
    asyncio.run(main())
