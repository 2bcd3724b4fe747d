"""The migrations: their ledger, their lock, and the schema that they lead to."""

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import psycopg
import pytest
from postgres_server import OWNER
from psycopg import conninfo, sql

from robotgroups import migrations
from robotgroups.errors import SchemaVersionError

pytestmark = pytest.mark.anyio
GOLDEN = Path(__file__).with_name("schema.golden")

# The whole schema as the catalogue tells it, a line each.
CATALOGUE = """
SELECT format('column %s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, ' default ' || pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN
        pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT format('table %s persistence=%s options=%s row security=%s', relname, relpersistence, reloptions,
        relrowsecurity)
    FROM pg_class WHERE relnamespace = 'robotgroups'::regnamespace AND relkind = 'r'
UNION ALL SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = 'robotgroups'
UNION ALL SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'robotgroups'::regnamespace AND contype <> 'n'
UNION ALL SELECT format('policy %s %s for %s to %s using %s', p.polrelid::regclass, p.polname, p.polcmd,
        p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid))
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE c.relnamespace = 'robotgroups'::regnamespace
UNION ALL SELECT format('function %s %s definer=%s config=%s rights=%s body=%s',
        oid::regprocedure, provolatile, prosecdef, proconfig,
        (SELECT string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ',')
            FROM aclexplode(proacl) a WHERE a.grantee <> proowner),
        md5(prosrc)) FROM pg_proc WHERE pronamespace = 'robotgroups'::regnamespace
ORDER BY 1
"""


@pytest.fixture
def empty(superuser_dsn: str) -> Iterator[str]:
    """The owner's DSN of a database without our schema."""
    name = f"rg_empty_{os.getpid()}"
    with psycopg.connect(superuser_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER)))
        with psycopg.connect(conninfo.make_conninfo(superuser_dsn, dbname=name), autocommit=True) as made:
            made.execute("CREATE EXTENSION IF NOT EXISTS vector")  # a server that was given may lack it in its template
        yield conninfo.make_conninfo(superuser_dsn, dbname=name, user=OWNER, password="test")
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def test_three_robots_that_start_at_once_migrate_once(empty: str) -> None:
    applied: list[list[str]] = []

    async def start() -> None:
        applied.append(await migrations.migrate(empty))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(start)
    assert sorted(applied, key=len) == [[], [], [m.name for m in migrations.known()]]


async def test_a_migration_that_fails_leaves_nothing_behind(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (
        *migrations.known(),
        migrations.Migration(9000, "9000_broken", "CREATE TABLE robotgroups.x (); SELECT 1/0"),
    )
    monkeypatch.setattr(migrations, "known", lambda: broken)
    with pytest.raises(Exception, match="division by zero"):
        await migrations.migrate(empty)
    monkeypatch.undo()
    assert await migrations.migrate(empty) == [m.name for m in migrations.known()]


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE robotgroups.migrations SET sha256 = 'another' WHERE version = 1")
    with pytest.raises(SchemaVersionError, match="0001_tables was applied with another text"):
        await migrations.migrate(dsn)


def test_versions_count_up_from_one_without_a_gap() -> None:
    assert [m.version for m in migrations.known()] == list(range(1, len(migrations.known()) + 1))


def test_the_migrations_lead_to_the_schema_that_is_written_down(dsn: str) -> None:
    """On every version of PostgreSQL. After a change of schema: UPDATE_GOLDEN=1 pytest tests/migration."""
    with psycopg.connect(dsn) as connection:
        schema = "".join(f"{line}\n" for (line,) in connection.execute(CATALOGUE).fetchall())
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(schema)
    assert schema.splitlines() == GOLDEN.read_text().splitlines()


async def test_words_that_another_language_left_without_their_spaces_mark_are_found_again(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 0018 to 0025 a change of the language wrote them so."""
    before = tuple(m for m in migrations.known() if m.version < 26)
    monkeypatch.setattr(migrations, "known", lambda: before)
    await migrations.migrate(empty)
    monkeypatch.undo()
    recall = "SELECT memory->'content' FROM robotgroups.recall(%s, 'fulltext', 'Haus', 5, '{}', NULL, NULL)"
    with psycopg.connect(empty, autocommit=True) as connection:
        ids = [
            connection.execute("SELECT robotgroups.ensure_group('local', 'default', %s, '{}')", (name,)).fetchone()
            for name in ("changed", "other")
        ]
        items = '[{"content": "Die Häuser sind groß", "tokens": 6}]'
        for (group,) in ids:  # type: ignore[misc]
            connection.execute("SELECT robotgroups.reconcile_members(%s, '{a}', '{}')", (group,))
            connection.execute("SELECT robotgroups.remember_batch(%s, NULL, NULL, %s)", (group, items))
            connection.execute("SELECT robotgroups.lex(%s, 10)", (group,))
        (changed,) = ids[0]  # type: ignore[misc]
        connection.execute(
            """SELECT robotgroups.ensure_group('local', 'default', 'changed', '{"language": "german"}')"""
        )
        assert connection.execute(recall, (changed,)).fetchall() == []
    assert await migrations.migrate(empty) == [m.name for m in migrations.known() if m.version >= 26]
    with psycopg.connect(empty, autocommit=True) as connection:
        assert connection.execute(recall, (changed,)).fetchall() == [("Die Häuser sind groß",)]
        marks = connection.execute(
            "SELECT DISTINCT starts_with(w, to_hex(space_id) || '/') "
            "FROM robotgroups.lexemes, unnest(tsvector_to_array(lexemes)) w"
        ).fetchall()
    assert marks == [(True,)]
