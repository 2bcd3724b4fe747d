"""The robots of one group that live in this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple

from robotgroups import errors
from robotgroups.group_models import GroupModels
from robotgroups.models import Role
from robotgroups.robot import HostedRobot, OnReplaced, SyncStats
from robotgroups.store import Store

logger = logging.getLogger(__name__)


class HostedRobots:
    """They come and go; who writes for the group, and what they all know."""

    def __init__(self, store: Store, group_id: int, models: GroupModels) -> None:
        self._store = store
        self._group_id = group_id
        self._models = models
        self._robots: dict[str, HostedRobot] = {}
        self._left = SyncStats()

    def __iter__(self) -> Iterator[HostedRobot]:
        return iter(list(self._robots.values()))

    def __getitem__(self, name: str) -> HostedRobot:
        """One of them. UnknownRobotError."""
        if name not in self._robots:
            raise errors.UnknownRobotError(f"robot {name} is not hosted by this process")
        return self._robots[name]

    @property
    def listening(self) -> bool:
        """Whether there are some, and all are registered."""
        return bool(self._robots) and all(robot.registered for robot in self)

    # -- coming and going --------------------------------------------------------------------------------------------

    async def host_all(self, wanted: Mapping[str, Role]) -> None:
        """Host these; who is no member yet joins in this role. HostedElsewhereError: one of them lives elsewhere."""
        members = {r.name: r for r in (await self._store.status(self._group_id)).robots}
        for name in wanted:
            if name in members and members[name].live:
                raise errors.HostedElsewhereError(
                    f"robot {name} is hosted elsewhere and alive ({members[name].endpoint or 'another process'})",
                    members[name].endpoint,
                )
        try:
            for name, role in wanted.items():
                if name not in members:
                    await self._store.join(self._group_id, name, role)
                await self._host(name)
            await self.report()
        except BaseException:
            for robot in self:
                await robot.stop()
            raise

    async def join(self, name: str, role: Role) -> None:
        """Let it join the group, and host it. AlreadyMemberError."""
        await self._store.join(self._group_id, name, role)
        await self.let_go(name)  # it was replaced while it was hosted here
        await self._host(name)
        await self.report()

    async def _host(self, name: str) -> None:
        robot = HostedRobot(
            self._store,
            self._group_id,
            name,
            endpoint=f"process {os.getpid()} on {socket.gethostname()}",
            on_replaced=OnReplaced.STOP,
            models=self._models,
        )
        await robot.start()
        self._robots[name] = robot

    async def let_go(self, name: str) -> None:
        """Host it no more, if it is."""
        if robot := self._robots.pop(name, None):
            await robot.stop()
            self._left = SyncStats(*(a + b for a, b in zip(astuple(self._left), astuple(robot.stats), strict=True)))

    async def stop(self) -> None:
        """End the presence of all, cleanly: their roles stay. Safe to call twice."""
        while self._robots:
            _, robot = self._robots.popitem()
            try:
                await robot.stop()
            except errors.MemoryUnavailableError as error:
                logger.warning("could not withdraw %s: %s", robot.name, error)

    # -- what they know ----------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """What their caches have taken in, added up; those that have left count too."""
        total = asdict(self._left)
        for robot in self:
            for name, count in asdict(robot.stats).items():
                total[name] += count
        return total

    def first_active(self) -> str | None:
        """The group's first active robot, as one of these knows it; None leaves it to Postgres."""
        for robot in self:
            for name in robot.cache.named(Role.ACTIVE):
                return name
        return None

    def writer(self, originator: str | None) -> tuple[str | None, int | None]:
        """(name, tenure) of who writes: the originator, else the first active one of these, else the group's owner."""
        active = [r for r in self if r.role is Role.ACTIVE]
        for robot in sorted(active, key=lambda r: (r.name != originator, r.cache.roles[r.name].ordinal)):
            return robot.name, robot.tenure
        return None, None

    def reader(self) -> HostedRobot | None:
        """The one whose cache is read: it may serve, and is active if one of them is."""
        now = time.monotonic()
        able = [robot for robot in self if robot.serving(now).ok]
        return min(able, key=lambda robot: robot.role is not Role.ACTIVE, default=None)

    def acknowledge(self, revision: int) -> None:
        """Take note of a write's revision: what is read in their caches afterwards is no older."""
        for robot in self:
            robot.acknowledge(revision)

    async def catch_up(self) -> None:
        """Bring all up to date."""
        for robot in self:
            await robot.catch_up()

    async def report(self) -> None:
        """Wait until they have applied the group's revision and Postgres knows it; a lease at most."""
        status = await self._store.status(self._group_id)
        with contextlib.suppress(TimeoutError):  # a robot that is behind is what status then shows
            async with asyncio.timeout(status.lease_ms / 1000):
                for robot in self:
                    await robot.wait_reported(status.revision)
