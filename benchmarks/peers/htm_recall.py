"""HTM's recall, replayed: its searches, and what it writes for what it has found. Without its cache of answers.

It has no groups in long-term memory: it searches everything. Its trigram half is left out (this server has no pg_trgm);
where the vectors' index would take longer to build than the run (2,000 dimensions each), so are vector and hybrid.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from benchmarks.contenders import OpenSearcher, Strategy
from benchmarks.corpus import fill
from benchmarks.harness.texts import Query
from benchmarks.harness.vectors import DIMENSIONS as EMBEDDED
from benchmarks.harness.vectors import literal
from benchmarks.peers.htm_replay import DIMENSIONS, FIND_ROBOT, SCHEMA, SEEN, VECTOR_INDEX, Connection, make_groups

FILL = """
INSERT INTO nodes (content, content_hash, token_count, embedding, embedding_dimension, metadata)
SELECT content, encode(sha256(convert_to(content, 'UTF8')), 'hex'), 37, {embedding}, {dimensions},
    jsonb_build_object('tag', tag, 'number', number) FROM corpus ORDER BY number
"""
PADDED = f"(embedding::real[] || array_fill(0::real, ARRAY[{DIMENSIONS - EMBEDDED}]))::vector({DIMENSIONS})"
CANDIDATES = 300
RRF_K = 60

_TEXT = "to_tsvector('english', content)"
_ASKED = "plainto_tsquery('english', %(words)s)"
_ALIVE = "deleted_at IS NULL {filter}"
_FILTER = "AND metadata @> %(metadata)s::jsonb"
_SHOWN = "id, content, access_count, created_at, token_count, metadata->'number' AS number"
FULLTEXT = f"""
SELECT {_SHOWN}, 1 + ts_rank({_TEXT}, {_ASKED}) AS rank FROM nodes WHERE {_ALIVE} AND {_TEXT} @@ {_ASKED}
ORDER BY rank DESC LIMIT %(limit)s
"""
VECTOR = f"""
SELECT {_SHOWN}, 1 - (embedding <=> %(vector)s::vector) AS similarity FROM nodes
WHERE embedding IS NOT NULL AND {_ALIVE} ORDER BY embedding <=> %(vector)s::vector LIMIT %(limit)s
"""
HYBRID = f"""
WITH lexical AS (
    SELECT id, 1 + ts_rank({_TEXT}, {_ASKED}) AS rank FROM nodes WHERE {_ALIVE} AND {_TEXT} @@ {_ASKED}
    ORDER BY rank DESC LIMIT {CANDIDATES}),
lexical_ranked AS (SELECT id, row_number() OVER (ORDER BY rank DESC) AS place FROM lexical),
semantic_ranked AS (
    SELECT id, row_number() OVER (ORDER BY embedding <=> %(vector)s::vector) AS place FROM nodes
    WHERE id IN (SELECT id FROM lexical) AND embedding IS NOT NULL),
fused AS (
    SELECT l.id, 1.0 / ({RRF_K} + l.place) + coalesce(1.0 / ({RRF_K} + s.place), 0) AS score
    FROM lexical_ranked l LEFT JOIN semantic_ranked s USING (id))
SELECT {_SHOWN}, score FROM fused JOIN nodes USING (id) ORDER BY score DESC LIMIT %(limit)s
"""
SEARCHES = {Strategy.FULLTEXT: FULLTEXT, Strategy.VECTOR: VECTOR, Strategy.HYBRID: HYBRID}
ACCESSED = b"UPDATE nodes SET access_count = access_count + 1, last_accessed = now() WHERE id = ANY(%s)"
LINK = b"SELECT * FROM robot_nodes WHERE robot_id = %s AND node_id = %s LIMIT 1"
ENTER = b"UPDATE robot_nodes SET working_memory = true, updated_at = now() WHERE id = %s"


@dataclass(frozen=True)
class HtmSearcher:
    """``HTM#recall`` of one robot."""

    connection: Connection
    robot: int
    strategies: frozenset[Strategy]

    async def search(
        self, strategy: Strategy, query: Query, vector: Sequence[float], limit: int, *, tagged: bool = False
    ) -> list[int]:
        """Searches, counts the access, and puts what was found into working memory."""
        padded = literal([*vector, *[0.0] * (DIMENSIONS - EMBEDDED)])
        arguments = {
            "words": query.words, "vector": padded, "limit": limit,
            "metadata": json.dumps({"tag": query.tag}),
        }  # fmt: skip
        statement = SEARCHES[strategy].format(filter=_FILTER if tagged else "")
        found = await (await self.connection.execute(statement.encode(), arguments)).fetchall()
        await self.connection.execute(ACCESSED, ([row[0] for row in found],))
        for row in found:
            link = await (await self.connection.execute(LINK, (self.robot, row[0]))).fetchone()
            if link is not None:
                await self.connection.execute(ENTER, (link[0],))
        await self.connection.execute(FIND_ROBOT.encode(), (self.robot,))
        await self.connection.execute(SEEN.encode(), (self.robot,))
        return [int(row[5]) for row in found]


def open_searcher(*, vectors: bool) -> OpenSearcher:
    """Opens the tables with the corpus; ``vectors`` with their embeddings, padded as HTM does it."""

    @asynccontextmanager
    async def opened(dsn: str, schema: str) -> AsyncIterator[HtmSearcher]:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(SCHEMA.encode())
            if vectors:
                await connection.execute(VECTOR_INDEX)
            embedding, dimensions = (PADDED, EMBEDDED) if vectors else ("NULL", "NULL")
            await fill(dsn, schema, FILL.format(embedding=embedding, dimensions=dimensions))
            (group,) = await make_groups(connection, 1, 1)
            strategies = frozenset(Strategy) if vectors else frozenset({Strategy.FULLTEXT})
            yield HtmSearcher(connection, group.members[0], strategies)

    return opened
