"""Ours, through the library's public surface: robots that live in this process, each with its cache, as in a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.contenders import Strategy
from benchmarks.corpus import GROUPS, fill
from benchmarks.harness.texts import Query, Text
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


# Written as the library would: what remember does with a text, without the working set and the change feed.
FILL = """
INSERT INTO robotgroups.memories (group_id, content, content_hash, originator, tokens, tags, lexemes)
SELECT g.id, c.content, sha256(convert_to(c.content, 'UTF8')), '{active}', 37, ARRAY[c.tag],
    to_tsvector('english', c.content)
FROM corpus c JOIN robotgroups.groups g ON g.name = 'group-' || c.group_number ORDER BY c.number
"""
# The lead's schema of embeddings is to come: vector and hybrid follow it.
STRATEGIES = frozenset({Strategy.FULLTEXT})


@dataclass(frozen=True)
class OurSearcher:
    """``recall`` of each group's active robot."""

    robots: tuple[HostedRobot, ...]
    strategies = STRATEGIES

    async def search(
        self,
        strategy: Strategy,
        query: Query,
        vector: Sequence[float],  # noqa: ARG002
        limit: int,
        *,
        tagged: bool = False,
    ) -> list[int]:
        """Recalls; the texts' numbers are their last words."""
        found = await self.robots[query.group].recall(
            query.words, limit=limit, strategy=strategy.value, tags=[query.tag] if tagged else []
        )
        return [int(memory.content.rpartition(" ")[2].removeprefix("corpus")) for memory in found]


@asynccontextmanager
async def open_searcher(dsn: str, schema: str) -> AsyncIterator[OurSearcher]:  # noqa: ARG001
    """Groups with the corpus as their long-term memory."""
    async with open_writer(dsn, groups=GROUPS, callers=1) as writer:
        await fill(dsn, "robotgroups", FILL.format(active=ACTIVE))
        yield OurSearcher(writer.robots)
