"""Who writes while a robot dies: plain requests at a steady rate, and a client that tries again."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from uuid import uuid4

from benchmarks.failover.http import Connection
from robotgroups import AsyncClient
from robotgroups.errors import RobotGroupsError

UNANSWERED = 16


@dataclass(frozen=True)
class Write:
    """One write: sent and answered on the monotonic clock (ns); its revision if it was acknowledged, else the error."""

    sent: int
    answered: int
    revision: int | None
    error: str = ""


@dataclass
class Probe:
    """A writer to one address, until it is told to stop."""

    url: str
    token: str
    every_s: float
    writes: list[Write] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNANSWERED))
    stopping: bool = False

    async def until(self, acknowledged: int) -> None:
        """Waits until so many writes were acknowledged."""
        while sum(write.revision is not None for write in self.writes) < acknowledged:
            self.news.clear()
            await self.news.wait()

    def note(self, write: Write) -> None:
        """One write is over."""
        self.writes.append(write)
        self.news.set()

    def errors(self) -> list[str]:
        """What went wrong, write by write."""
        return [write.error for write in self.writes if write.revision is None]

    def first_after(self, revision: int) -> int | None:
        """When (ns) a write was acknowledged first that came after this revision of the group."""
        answered = [w.answered for w in self.writes if w.revision is not None and w.revision > revision]
        return min(answered, default=None)

    async def run(self) -> None:
        """Writes until it is told to stop; what is under way then is waited for."""
        raise NotImplementedError


class PlainRequests(Probe):
    """A write at every tick, each in one try on a connection of its own, whether or not those before were answered.

    While many are unanswered there is no other: more of them would only keep a busy robot from its work.
    """

    async def run(self) -> None:
        """See ``Probe``."""
        async with asyncio.TaskGroup() as group:
            tick = time.monotonic()
            while not self.stopping:
                if not self.unanswered.locked():
                    await self.unanswered.acquire()
                    group.create_task(self._alone())
                now = time.monotonic()
                tick = max(tick + self.every_s, now)  # what was missed on a busy machine is not made up for
                await asyncio.sleep(tick - now)

    async def _alone(self) -> None:
        connection = Connection(self.url, self.token)
        try:
            self.note(await written(connection))
        finally:
            self.unanswered.release()
            connection.close()


class KeptRequests(Probe):
    """One write after the other, each in one try, on a connection that is kept as long as the server keeps it."""

    async def run(self) -> None:
        """See ``Probe``."""
        connection = Connection(self.url, self.token)
        try:
            while not self.stopping:
                self.note(await written(connection))
                await asyncio.sleep(self.every_s)
        finally:
            connection.close()


async def written(connection: Connection) -> Write:
    """Remembers something, in one try."""
    sent, revision, error = time.monotonic_ns(), None, ""
    try:
        answer = await connection.ask("POST", "/v1/memories", {"content": content()})
        if answer.good:
            revision = int(json.loads(answer.body)["revision"])
        else:
            error = f"{answer.status}: {answer.body.decode()[:300]}"
    except (OSError, EOFError) as problem:  # TimeoutError is an OSError
        error = repr(problem)
    return Write(sent, time.monotonic_ns(), revision, error)


class PatientClient(Probe):
    """The SDK's client, one call after the other; an error is one that its caller would see."""

    async def run(self) -> None:
        """See ``Probe``."""
        async with AsyncClient(self.url, self.token) as client:
            while not self.stopping:
                sent, revision, error = time.monotonic_ns(), None, ""
                try:
                    revision = (await client.remember(content())).revision
                except RobotGroupsError as problem:
                    error = repr(problem)
                self.note(Write(sent, time.monotonic_ns(), revision, error))
                await asyncio.sleep(self.every_s)


@dataclass
class Visitor:
    """Asks a peer's Service at every tick, each time on a connection of its own, as long as it is let."""

    url: str
    every_s: float
    answered: list[tuple[int, int]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False

    async def run(self) -> None:
        """Notes of each good answer when it was asked for and when it came (ns)."""
        async with asyncio.TaskGroup() as group:
            while not self.stopping:
                group.create_task(self._visit())
                await asyncio.sleep(self.every_s)

    async def _visit(self) -> None:
        sent, connection = time.monotonic_ns(), Connection(self.url)
        try:
            good = (await connection.ask("GET", "/")).good
        except (OSError, EOFError):
            return
        finally:
            connection.close()
        if good:
            self.answered.append((sent, time.monotonic_ns()))
            self.news.set()

    async def first_sent_after(self, moment: int) -> int:
        """When (ns) a request was answered first that was sent after a moment; waits for it."""
        while not (answered := [answered for sent, answered in self.answered if sent > moment]):
            self.news.clear()
            await self.news.wait()
        return answered[0]


def content() -> str:
    """A memory that nobody has had before."""
    return f"Call {uuid4().hex} was noted."
