"""The limit of recall: the SQL that finds the same over one plain table, prepared, on one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from benchmarks.contenders import OpenSearcher, Strategy
from benchmarks.corpus import fill
from benchmarks.harness.texts import Query
from benchmarks.harness.vectors import DIMENSIONS, literal

TABLE = f"""
CREATE TABLE memories (
    number bigint PRIMARY KEY, group_id integer NOT NULL, content text NOT NULL, tags text[] NOT NULL,
    lexemes tsvector NOT NULL, embedding {{kind}}({DIMENSIONS}) NOT NULL);
CREATE INDEX ON memories (group_id);
CREATE INDEX ON memories USING gin (lexemes);
CREATE INDEX ON memories USING hnsw (embedding {{kind}}_cosine_ops)
"""
FILL = """
INSERT INTO memories
SELECT number, group_number, content, ARRAY[tag], to_tsvector('english', content), embedding FROM corpus
"""
# With the filter pushed into the index' scan until there are enough (pgvector's iterative scan).
ITERATIVE = "SET hnsw.iterative_scan = strict_order"
CANDIDATES = 60
RRF_K = 60

_IN_GROUP = "group_id = %(group)s {filter}"  # it is put in by format, with the kind
_FILTER = "AND tags @> ARRAY[%(tag)s]"
_FULLTEXT = f"""
SELECT number, content, ts_rank(lexemes, q) AS rank FROM memories, websearch_to_tsquery('english', %(words)s) q
WHERE {_IN_GROUP} AND lexemes @@ q ORDER BY rank DESC, number LIMIT %(limit)s
"""
_VECTOR = f"""
SELECT number, content, embedding <=> %(vector)s::{{kind}} AS distance FROM memories
WHERE {_IN_GROUP} ORDER BY distance LIMIT %(limit)s
"""
_HYBRID = f"""
WITH lexical AS (
    SELECT number, row_number() OVER (ORDER BY rank DESC, number) AS place FROM (
        SELECT number, ts_rank(lexemes, q) AS rank FROM memories, websearch_to_tsquery('english', %(words)s) q
        WHERE {_IN_GROUP} AND lexemes @@ q ORDER BY rank DESC, number LIMIT {CANDIDATES}) found),
semantic AS (
    SELECT number, row_number() OVER (ORDER BY distance, number) AS place FROM (
        SELECT number, embedding <=> %(vector)s::{{kind}} AS distance FROM memories
        WHERE {_IN_GROUP} ORDER BY distance LIMIT {CANDIDATES}) found),
fused AS (
    SELECT number, coalesce(1.0 / ({RRF_K} + l.place), 0) + coalesce(1.0 / ({RRF_K} + s.place), 0) AS score
    FROM lexical l FULL JOIN semantic s USING (number) ORDER BY score DESC, number LIMIT %(limit)s)
SELECT number, content, score FROM fused JOIN memories USING (number) ORDER BY score DESC, number
"""
SEARCHES = {Strategy.FULLTEXT: _FULLTEXT, Strategy.VECTOR: _VECTOR, Strategy.HYBRID: _HYBRID}


@dataclass(frozen=True)
class BareSearcher:
    """Plain SQL; ``kind`` is vector or halfvec."""

    connection: psycopg.AsyncConnection
    kind: str
    strategies = frozenset(Strategy)

    async def search(
        self, strategy: Strategy, query: Query, vector: Sequence[float], limit: int, *, tagged: bool = False
    ) -> list[int]:
        """One statement."""
        arguments = {
            "words": query.words, "group": query.group, "tag": query.tag, "limit": limit, "vector": literal(vector),
        }  # fmt: skip
        statement = SEARCHES[strategy].format(kind=self.kind, filter=_FILTER if tagged else "").encode()
        cursor = await self.connection.execute(statement, arguments, prepare=True)
        return [row[0] for row in await cursor.fetchall()]


def of_kind(kind: str) -> OpenSearcher:
    """Opens the table with the corpus; vectors of this kind."""

    @asynccontextmanager
    async def opened(dsn: str, schema: str) -> AsyncIterator[BareSearcher]:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(TABLE.format(kind=kind).encode())
            await fill(dsn, schema, FILL)
            await connection.execute(ITERATIVE.encode())
            yield BareSearcher(connection, kind)

    return opened


@asynccontextmanager
async def open_exact(dsn: str, *, kind: str = "vector") -> AsyncIterator[BareSearcher]:
    """The same table without the vector index: what it finds is the truth, against which recall is counted."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SET enable_indexscan = off")
        yield BareSearcher(connection, kind)
