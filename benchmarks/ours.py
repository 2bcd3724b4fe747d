"""Ours, through the library's public surface: robots that live in this process, each with its cache, as in a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psycopg

from benchmarks.contenders import Embed, OpenSearcher, Strategy
from benchmarks.corpus import GROUPS, fill
from benchmarks.harness.texts import Query, Text
from robotgroups import indexing, migrations
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
        await self.robots[group].remember(text.content)


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


# What remember, the lexemes' making and the embedding in the background leave behind, for the corpus.
FILL = (
    """
INSERT INTO robotgroups.memories (space_id, group_id, content, content_hash, originator, tokens, tags, metadata)
SELECT g.space_id, g.id, c.content, robotgroups.memory_hash(c.content, '{}'), 'active', 37, ARRAY[c.tag],
    jsonb_build_object('number', c.number)
FROM corpus c JOIN robotgroups.groups g ON g.name = 'group-' || c.group_number ORDER BY c.number
""",
    "SELECT robotgroups.lex(id, 2000000000) FROM robotgroups.groups",
    """
INSERT INTO robotgroups.embedding_models (space_id, provider, model, dimensions, config)
SELECT space_id, 'bench', 'projection', (SELECT vector_dims(embedding::vector) FROM corpus LIMIT 1), '{}'
FROM robotgroups.groups
""",
    """
UPDATE robotgroups.spaces s SET serving_model = e.id, target_model = e.id
FROM robotgroups.embedding_models e WHERE e.space_id = s.id
""",
    """
INSERT INTO robotgroups.embeddings (model_id, memory_id, embedding)
SELECT e.id, m.id, c.embedding::vector FROM robotgroups.memories m
JOIN robotgroups.embedding_models e ON e.space_id = m.space_id
JOIN corpus c ON c.number = (m.metadata->>'number')::bigint
""",
)
MODEL = (
    "SELECT s.serving_model FROM robotgroups.groups g JOIN robotgroups.spaces s ON s.id = g.space_id WHERE g.id = %s"
)
# a full working set, as groups that remember have
NEWEST = """
SELECT m.id FROM robotgroups.memories m JOIN robotgroups.groups g ON g.space_id = m.space_id
WHERE g.id = %s ORDER BY m.id DESC LIMIT %s / 37
"""


class AskingRobot(HostedRobot):
    """A robot whose queries are embedded by the benchmark: no model is measured, neither ours nor the peers'."""

    embed: Embed
    model: int

    async def embed_query(self, text: str) -> tuple[int, list[float]]:
        """The model of the corpus' vectors, and the query's vector."""
        return self.model, self.embed(text)


@dataclass(frozen=True)
class OurSearcher:
    """``recall`` of each group's active robot."""

    robots: tuple[AskingRobot, ...]
    strategies = frozenset(Strategy)

    async def search(
        self,
        strategy: Strategy,
        query: Query,
        vector: Sequence[float],  # noqa: ARG002  the robot embeds the query itself
        limit: int,
        *,
        tagged: bool = False,
    ) -> list[int]:
        """Recalls."""
        found = await self.robots[query.group].recall(
            query.words, limit=limit, strategy=strategy.value, tags=[query.tag] if tagged else []
        )
        return [int(memory.metadata["number"]) for memory in found]


def open_searcher(embed: Embed) -> OpenSearcher:
    """Opens groups with the corpus as their long-term memory, and this embedding of queries."""

    @asynccontextmanager
    async def opened(dsn: str, schema: str) -> AsyncIterator[OurSearcher]:  # noqa: ARG001
        await migrations.migrate(dsn)
        async with await Store.open(dsn) as store, AsyncExitStack() as stack:
            ids = [await declare(store, n, GroupSettings(max_tokens=MAX_TOKENS)) for n in range(GROUPS)]
            await fill(dsn, "robotgroups", *FILL)
            robots = []
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await indexing.build_indexes(connection)  # of the models that the library holds large enough
                for group_id in ids:
                    robot = AskingRobot(store, group_id, ACTIVE)
                    row = await (await connection.execute(MODEL, (group_id,))).fetchone()
                    assert row is not None
                    robot.embed, robot.model = embed, row[0]
                    await stack.enter_async_context(robot)
                    newest = await (await connection.execute(NEWEST, (group_id, MAX_TOKENS))).fetchall()
                    await store.into_working_memory(
                        group_id, robot=ACTIVE, tenure=robot.tenure, memory_ids=[memory_id for (memory_id,) in newest]
                    )
                    robots.append(robot)
            yield OurSearcher(tuple(robots))

    return opened
