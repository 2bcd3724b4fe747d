"""HNSW indexes over embeddings, one for each model that has many: built and dropped while everything goes on.

An index over all models would be read through for the memories of one (64 ms against 4 ms at 100,000 memories of 100
groups); so each model's index is partial, and a model with few embeddings is searched exactly.
"""

from __future__ import annotations

import logging
import re

from psycopg import sql

from robotgroups.connection import Connection

# Where an index begins to pay. Recall of 10 by vector, PostgreSQL 18 and pgvector 0.8 on 2 busy cores, best of 200.
# 384 dimensions: exact 2.7 ms at 1,000 memories, 5.0 at 2,000, 7.4 at 3,000, 12 at 5,000; by HNSW 1.5 to 1.9 at each.
# 1,536 dimensions: exact 11 ms at 1,000 and 14 at 2,000, by HNSW 2.2 and 3.5. Up to 1,000 Postgres prefers exact search
# even where an index stands, and each embedding costs 2 ms more to store with one.
INDEX_FROM = 2000
# pgvector's indexes take no longer vectors, in half precision; what is longer is searched exactly.
MAX_INDEXED_DIMENSIONS = 4000
MAX_SINGLE_DIMENSIONS = 2000
# What a build may take of the server's memory; beyond, it goes on on disk, several times slower.
MAX_BUILD_KB = 256 * 1024
# Beside the vector: the graph's neighbours on all levels, and what holds them.
GRAPH_BYTES = 600

logger = logging.getLogger(__name__)
_NAME = re.compile(r"embeddings_hnsw_([0-9]+)")


def index_name(model: int) -> str:
    """Name of a model's index."""
    return f"embeddings_hnsw_{model}"


async def drop_indexes(connection: Connection) -> int:
    """Drop the indexes of models that are gone or retired, and those that an interrupted build has left."""
    cursor = await connection.execute(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = 'robotgroups.embeddings'::regclass"
    )
    standing = {int(m[1]): valid for name, valid in await cursor.fetchall() if (m := _NAME.fullmatch(name))}
    cursor = await connection.execute(
        "SELECT id FROM robotgroups.embedding_models WHERE id NOT IN (SELECT id FROM robotgroups.retired_models)"
    )
    used = {row[0] for row in await cursor.fetchall()}
    over = [model for model, valid in standing.items() if not valid or model not in used]
    # what is marked and has no index: a restored dump, or somebody dropped it
    await connection.execute(
        "UPDATE robotgroups.embedding_models SET indexed = false "
        "WHERE indexed AND (id = ANY (%s) OR NOT id = ANY (%s))",
        (over, list(standing)),
    )
    for model in over:
        await connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS robotgroups.{}").format(sql.Identifier(index_name(model)))
        )
    return len(over)


async def build_indexes(connection: Connection) -> int:
    """Build the index of every model that recall compares with, or is about to, and that has enough embeddings."""
    cursor = await connection.execute(
        "SELECT e.id, e.dimensions FROM robotgroups.embedding_models e JOIN robotgroups.spaces s ON s.id = e.space_id "
        "WHERE NOT e.indexed AND e.dimensions <= %s AND (e.id = s.serving_model OR e.id = s.target_model "
        "  AND robotgroups.jobs_waiting(s.id, 'embed') + robotgroups.jobs_waiting(s.id, 'backfill') = 0) "
        "AND (SELECT count(*) FROM (SELECT FROM robotgroups.embeddings x WHERE x.model_id = e.id LIMIT %s) n) = %s "
        "ORDER BY e.id",
        (MAX_INDEXED_DIMENSIONS, INDEX_FROM, INDEX_FROM),
    )
    models = await cursor.fetchall()
    for model, dimensions in models:
        await _build(connection, model, dimensions)
    return len(models)


async def _build(connection: Connection, model: int, dimensions: int) -> None:
    cursor = await connection.execute("SELECT count(*) FROM robotgroups.embeddings WHERE model_id = %s", (model,))
    row = await cursor.fetchone()
    assert row is not None
    single = dimensions <= MAX_SINGLE_DIMENSIONS
    wanted = row[0] * (dimensions * (4 if single else 2) + GRAPH_BYTES) // 1024
    await connection.execute(
        "SELECT set_config('maintenance_work_mem', greatest(s.setting::integer, %s)::text, false) FROM pg_settings s "
        "WHERE s.name = 'maintenance_work_mem'",
        (min(wanted, MAX_BUILD_KB),),
    )
    # parallel workers share memory through /dev/shm, which is too small for it in most containers
    await connection.execute("SET max_parallel_maintenance_workers = 0")
    kind = "vector" if single else "halfvec"
    logger.info("building the index of model %s: %s embeddings of %s dimensions", model, row[0], dimensions)
    await connection.execute(
        sql.SQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON robotgroups.embeddings "
            "USING hnsw (({column}::public.{kind}({dimensions})) public.{operators}) WHERE model_id = {model}"
        ).format(
            name=sql.Identifier(index_name(model)),
            column=sql.Identifier("embedding" if single else "half"),
            kind=sql.Identifier(kind),
            operators=sql.Identifier(f"{kind}_cosine_ops"),
            dimensions=sql.Literal(dimensions),
            model=sql.Literal(model),
        )
    )
    await connection.execute("UPDATE robotgroups.embedding_models SET indexed = true WHERE id = %s", (model,))
