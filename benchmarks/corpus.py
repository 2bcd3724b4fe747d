"""The corpus that recall is measured on: staged once in the server, from where every contender fills its own tables.

All stand in one database, each contender in a schema of its own; the corpus is in ``public``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import conninfo, sql

from benchmarks.harness import texts, vectors
from benchmarks.harness.texts import Query

GROUPS = 10
CHUNK = 1000
AT_ONCE = 16  # chunks: a bound on what waits in memory
SERIES = "corpus"
STAGE = """
CREATE TABLE corpus (number bigint NOT NULL, group_number integer NOT NULL, content text NOT NULL, tag text NOT NULL,
    embedding {} NOT NULL)
"""
# What an index takes to build: for the session that builds it, not for the ones that are measured.
BUILD = ("SET maintenance_work_mem = '4GB'", "SET max_parallel_maintenance_workers = 2")

HNSW = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%% USING hnsw %%'"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = %s"


@dataclass(frozen=True)
class Question:
    """A query with its vector."""

    query: Query
    vector: Sequence[float]


def questions(size: int, count: int) -> list[Question]:
    """Queries drawn from a corpus of so many texts."""
    # a query needs one text: those of the others need not be made here
    asked = [texts.query(number, Lazy(size), GROUPS) for number in range(count)]
    return [Question(query, vectors.embed(query.words)) for query in asked]


class Lazy(Sequence[texts.Text]):
    """The corpus' texts, each made when it is asked for."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, number: int) -> texts.Text:  # type: ignore[override]
        return texts.text(number, SERIES)


def _rows(first: int, last: int) -> bytes:
    """Rows of the corpus as COPY takes them. The words have nothing to escape."""
    lines = []
    for number in range(first, last):
        made = texts.text(number, SERIES)
        vector = vectors.literal(vectors.embed(made.content.rpartition(" ")[0]))
        group = texts.group_of(number, GROUPS)
        lines.append(f"{number}\t{group}\t{made.content}\t{made.tag}\t{vector}\n")
    return "".join(lines).encode()


def stage(dsn: str, size: int, *, kind: str) -> None:
    """Makes the corpus' table with so many texts; their making is spread over the processors."""
    starts = range(0, size, CHUNK)
    with _staging(dsn, kind) as connection, ProcessPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        for first in range(0, len(starts), AT_ONCE):
            some = starts[first : first + AT_ONCE]
            made = workers.map(_rows, some, [min(start + CHUNK, size) for start in some])
            with connection.cursor() as cursor, cursor.copy("COPY corpus FROM STDIN") as copy:
                for rows in made:
                    copy.write(rows)


def stage_these(dsn: str, rows: Iterable[tuple[int, int, str, str, str]]) -> None:
    """Makes the corpus' table with these: number, group, content, tag, vector as pgvector reads it."""
    with (
        _staging(dsn, "vector") as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY corpus FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


@contextmanager
def _staging(dsn: str, kind: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(STAGE.format(f"{kind}({vectors.DIMENSIONS})").encode())
        yield connection
        connection.execute("ANALYZE corpus")


def own_schema(dsn: str, name: str) -> str:
    """Makes a schema for a contender; returns the connection string that leads to it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return in_schema(dsn, name)


def in_schema(dsn: str, name: str) -> str:
    """The connection string that leads to a contender's schema."""
    return conninfo.make_conninfo(dsn, options=f"-c search_path={name},public")


async def fill(dsn: str, schema: str, *statements: str) -> None:
    """Fills tables by SQL. Their HNSW indexes are taken away before and made again after, which is much faster."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for setting in BUILD:
            await connection.execute(setting.encode())
        found = await (await connection.execute(HNSW, (schema,))).fetchall()
        for name, _ in found:
            await connection.execute(sql.SQL("DROP INDEX {}.{}").format(sql.Identifier(schema), sql.Identifier(name)))
        for statement in statements:
            await connection.execute(statement.encode())
        for _, definition in found:
            await connection.execute(definition.encode())
        tables = await (await connection.execute(TABLES, (schema,))).fetchall()
        for (table,) in tables:
            await connection.execute(
                sql.SQL("VACUUM ANALYZE {}.{}").format(sql.Identifier(schema), sql.Identifier(table))
            )
