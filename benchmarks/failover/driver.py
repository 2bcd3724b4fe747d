"""The clients of bench-failover: a process in the network of the node that is never cut off.

``python -m benchmarks.failover.driver`` reads commands, one JSON object {"op", …} a line, and answers each with one
line. Its times are of the monotonic clock, in nanoseconds: one clock with everybody else's on this machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import psycopg
import uvloop
from psycopg.rows import DictRow, dict_row

from benchmarks.failover.probes import KeptRequests, PatientClient, PlainRequests, Probe, Visitor
from robotgroups.presence import announced_revision, channel

EVERY_S = 0.02
WARM = 5  # writes that each probe has to see acknowledged before a trial begins
LIMIT_S = 60.0
VISIT_EVERY_S = 0.02
FAILOVERS = """
SELECT id, kind, source, target, reason, detected_by, epoch, revision,
    extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS committed_at
FROM robotgroups.failovers WHERE group_id = %s AND id > %s ORDER BY id
"""


class Driver:
    """The commands."""

    def __init__(self) -> None:
        self._group = 0
        self._heard: list[tuple[int, int]] = []
        self._rows: psycopg.AsyncConnection[DictRow] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._probes: dict[str, Probe] = {}
        self._running: list[asyncio.Task[None]] = []
        self._visitor: Visitor | None = None

    async def open(self, dsn: str, namespace_uid: str, name: str) -> int:
        """Finds the group and listens to its channel; the group's id."""
        self._rows = await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row)
        found = await self._query(
            "SELECT id FROM robotgroups.groups WHERE namespace_uid = %s AND name = %s", namespace_uid, name
        )
        self._group = found[0]["id"]
        listener = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        await listener.execute(f"LISTEN {channel(self._group)}".encode())
        self._listening = asyncio.create_task(self._listen(listener))
        return self._group

    async def start(self, token: str, probes: Mapping[str, tuple[str, str]], robot: str = "") -> int:
        """Starts probes (name: kind and address), and waits until all of them have been answered; the last failover.

        With a ``robot``, it waits as well until another one could take over from it.
        """
        kinds = {"plain": PlainRequests, "kept": KeptRequests, "client": PatientClient}
        self._probes = {name: kinds[kind](url, token, EVERY_S) for name, (kind, url) in probes.items()}
        self._running = [asyncio.create_task(probe.run()) for probe in self._probes.values()]
        try:
            async with asyncio.timeout(LIMIT_S):
                for probe in self._probes.values():
                    await probe.until(WARM)
                while robot:
                    if await self._successor(robot) is not None:
                        break
                    await asyncio.sleep(EVERY_S)
        except BaseException:
            await self.stop()
            raise
        self._heard.clear()
        return await self.last()

    async def last(self) -> int:
        """The id of the group's last failover, 0 for none."""
        rows = await self.failovers(0)
        return int(rows[-1]["id"]) if rows else 0

    async def failovers(self, after: int) -> list[DictRow]:
        """The failovers after the one with this id."""
        return await self._query(FAILOVERS, self._group, after)

    async def epoch(self) -> int:
        """The group's epoch: every change of a role is in it."""
        found = await self._query("SELECT epoch FROM robotgroups.groups WHERE id = %s", self._group)
        return int(found[0]["epoch"])

    async def seen(self, after: int) -> dict[str, Any] | None:
        """The first failover after another one: its row, when it was announced, each probe's first write after it."""
        rows = await self.failovers(after)
        if not rows:
            return None
        revision = rows[0]["revision"]
        announced = next((at for at, heard in self._heard if heard >= revision), None)
        firsts = {name: probe.first_after(revision) for name, probe in self._probes.items()}
        return {"row": rows[0], "announced": announced, "first": firsts}

    async def stop(self) -> dict[str, list[str]]:
        """Ends the probes; each one's errors."""
        for probe in self._probes.values():
            probe.stopping = True
        await asyncio.gather(*self._running)
        return {name: probe.errors() for name, probe in self._probes.items()}

    async def visit(self, url: str) -> None:
        """Starts to ask a peer, and waits for its first good answer."""
        self._visitor = Visitor(url, VISIT_EVERY_S)
        self._running = [asyncio.create_task(self._visitor.run())]
        await self.answered(time.monotonic_ns())

    async def answered(self, after: int) -> int:
        """When the peer has given a good answer to what it was asked after a moment; waits for it."""
        assert self._visitor is not None
        async with asyncio.timeout(LIMIT_S):
            return await self._visitor.first_sent_after(after)

    async def leave(self) -> None:
        """Asks the peer no longer."""
        assert self._visitor is not None
        self._visitor.stopping = True
        await asyncio.gather(*self._running)

    async def _successor(self, robot: str) -> str | None:
        rows = await self._query("SELECT robotgroups.choose_candidate(%s, %s) AS name", self._group, robot)
        name: str | None = rows[0]["name"]
        return name

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        async for note in connection.notifies():
            revision = announced_revision(note.payload)
            if revision is not None:
                self._heard.append((time.monotonic_ns(), revision))

    async def _query(self, query: str, *parameters: object) -> list[DictRow]:
        assert self._rows is not None
        return await (await self._rows.execute(query, parameters)).fetchall()


async def main() -> None:
    """Serves commands until standard input ends."""
    driver, commands = Driver(), asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    while line := await commands.readline():
        command = json.loads(line)
        try:
            answer = {"result": await getattr(driver, command.pop("op"))(**command)}
        except Exception as error:  # noqa: BLE001  whoever asked raises it
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
