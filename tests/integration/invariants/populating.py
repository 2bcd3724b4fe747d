"""A group with something in every table, marked with a secret word: to be erased, kept from others, and checked."""

from collections.abc import Awaitable, Callable
from typing import Any

from psycopg.types.json import Jsonb

Sql = Callable[..., Awaitable[list[tuple[Any, ...]]]]


async def populate(sql: Sql, group_id: int, secret: str) -> list[int]:
    """Lets robot a (active under tenure 1) remember and update, and makes what background work would make of it.

    Returns the memories' ids. ``sql`` runs a statement as the owner.
    """
    items = [
        {
            "content": f"{secret} one",
            "tokens": 3,
            "key": f"{secret}-1",
            "tags": [f"who:{secret}"],
            "metadata": {"x": secret},
        },
        {"content": f"{secret} two", "tokens": 4, "scope": [f"user={secret}"], "expires_at": "2100-01-01T00:00:00Z"},
        {"content": f"{secret} three", "tokens": 5},
    ]
    rows = await sql("SELECT id FROM robotgroups.remember_batch(%s, 'a', 1, %s) ORDER BY ord", group_id, Jsonb(items))
    one, two, three = ids = [memory_id for (memory_id,) in rows]
    await sql("SELECT robotgroups.update_memory(%s, 'a', 1, %s, %s)", group_id, one,
              Jsonb({"content": f"{secret} one, again", "tokens": 6}))  # fmt: skip
    await sql("SELECT robotgroups.pin(%s, 'a', 1, %s, true)", group_id, [two])
    await sql("SELECT robotgroups.lex(%s, 1000)", group_id)
    await sql("SELECT robotgroups.relate_by_tags(%s, 1000)", group_id)
    await sql(
        "INSERT INTO robotgroups.imports (group_id, source, line) VALUES (%s, 'x', 1) ON CONFLICT DO NOTHING", group_id
    )
    ((space,),) = await sql("SELECT space_id FROM robotgroups.groups WHERE id = %s", group_id)
    ((model,),) = await sql(
        "INSERT INTO robotgroups.embedding_models (space_id, provider, model, dimensions, config) "
        "VALUES (%s, 'openai', 'm', 2, '{}') "
        "ON CONFLICT (space_id, provider, model, dimensions) DO UPDATE SET config = '{}' RETURNING id",
        space,
    )
    await sql("UPDATE robotgroups.spaces SET serving_model = %s, target_model = %s WHERE id = %s", model, model, space)
    await sql(
        'UPDATE robotgroups.groups SET embedding = \'{"provider": "openai", "model": "m", "dimensions": 2}\' '
        "WHERE id = %s",
        group_id,
    )
    await sql("INSERT INTO robotgroups.embeddings SELECT %s, m, '[1,2]' FROM unnest(%s::bigint[]) m", model, [one, two])
    await sql("SELECT robotgroups.queue_jobs(%s, %s, '{embed}')", space, [three])
    await sql(
        "UPDATE robotgroups.jobs SET error = %s, claimed_by = gen_random_uuid() WHERE memory_id = %s", secret, three
    )
    await sql("UPDATE robotgroups.memories SET propositions = ARRAY[%s] WHERE id = %s", f"{secret} is", one)
    await sql(
        "INSERT INTO robotgroups.relations (source, target, kind, space_id, weight) VALUES (%s, %s, 'supports', %s, 1)",
        one, two, space,
    )  # fmt: skip
    await sql(
        "WITH made AS (INSERT INTO robotgroups.files (space_id, path, digest, front_matter) "
        "VALUES (%s, %s, 'x', %s) RETURNING id) "
        "INSERT INTO robotgroups.file_chunks (file_id, position, memory_id, heading, content_hash) "
        "SELECT id, 0, %s, ARRAY[%s], 'x' FROM made",
        space, f"/{secret}.md", Jsonb({"about": secret}), three, secret,
    )  # fmt: skip
    return ids
