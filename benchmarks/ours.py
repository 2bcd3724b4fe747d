"""Ours, through the library's public surface: robots that live in this process, each with its cache, as in a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.harness.texts import Text
from robotgroups import migrations
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

ACTIVE, PASSIVE = "active", ("passive-1", "passive-2")
MAX_TOKENS = 8000  # as in shared samples: the working set is full after some 200 memories
# A hundred robots in one process would spend its one core on heartbeats, which a hundred pods do each for itself.
MANY = 10
MANY_HEARTBEAT_MS, MANY_LEASE_MS = 5000, 30_000


async def declare(store: Store, number: int, settings: GroupSettings, passive: Sequence[str] = PASSIVE) -> int:
    """Makes a group of one active robot and these passive ones; returns its id."""
    group_id = await store.ensure_group(GroupKey("bench", "bench", f"group-{number}"), settings)
    await store.reconcile_members(group_id, [ACTIVE], list(passive))
    return group_id


@dataclass(frozen=True)
class OurWriter:
    """The active robot of each group."""

    robots: tuple[HostedRobot, ...]

    async def remember(self, group: int, text: Text) -> None:
        """Remembers through the group's active robot."""
        await self.robots[group].remember(text.content, tags=[text.tag])


@asynccontextmanager
async def open_writer(dsn: str, *, groups: int, callers: int) -> AsyncIterator[OurWriter]:  # noqa: ARG001
    """Hosts the active robot of each group; its working set is full after the warm-up, so that each write evicts."""
    await migrations.migrate(dsn)
    settings = GroupSettings(max_tokens=MAX_TOKENS)
    if groups > MANY:
        settings = GroupSettings(max_tokens=MAX_TOKENS, heartbeat_ms=MANY_HEARTBEAT_MS, lease_ms=MANY_LEASE_MS)
    async with await Store.open(dsn) as store, AsyncExitStack() as stack:
        robots = []
        for number in range(groups):
            group_id = await declare(store, number, settings)
            robots.append(await stack.enter_async_context(HostedRobot(store, group_id, ACTIVE)))
        yield OurWriter(tuple(robots))
