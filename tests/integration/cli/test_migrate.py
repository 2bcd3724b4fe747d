"""`robotgroups migrate` on an empty database, a full one, one that somebody else migrates, and one without pgvector."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from postgres_server import OWNER
from psycopg import conninfo, sql

from robotgroups import migrations

from .conftest import LIMIT_S, Command

LOCK = 5247_0001


@contextmanager
def database(superuser_dsn: str, *, vector: bool) -> Iterator[str]:
    """The owner's DSN of a database without our schema."""
    name = f"rg_cli_{secrets.token_hex(4)}"
    with psycopg.connect(superuser_dsn, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(*map(sql.Identifier, (name, OWNER)))
        )
        try:
            if vector:
                with psycopg.connect(conninfo.make_conninfo(superuser_dsn, dbname=name), autocommit=True) as made:
                    made.execute("CREATE EXTENSION vector")
            yield conninfo.make_conninfo(superuser_dsn, dbname=name, user=OWNER, password="test")
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty(superuser_dsn: str) -> Iterator[str]:
    with database(superuser_dsn, vector=True) as made:
        yield made


def test_it_says_what_it_applies_and_does_it_once(empty: str) -> None:
    command, names = Command(empty), [m.name for m in migrations.known()]
    place = empty_place(empty)
    first, second = command.good("migrate"), command.good("migrate")
    version = f"{place}: schema version {migrations.latest_version()}"
    assert first.out.splitlines() == [*(f"applied {name}" for name in names), version]
    assert second.out.splitlines() == [f"{version}, nothing to do"]
    assert first.err == second.err == ""


def empty_place(dsn: str) -> str:
    parts = conninfo.conninfo_to_dict(dsn)
    return f"{parts['host']}:{parts['port']}/{parts['dbname']}"


def test_it_waits_for_who_is_migrating_and_says_so(empty: str) -> None:
    command = Command(empty)
    with psycopg.connect(empty, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        process = command.start("migrate")
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said == "another process is migrating this database: waiting until it is done\n"
        other.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("applied 0001_tables\n")


def test_without_pgvector_it_tells_the_remedy_and_leaves_nothing(superuser_dsn: str) -> None:
    with database(superuser_dsn, vector=False) as dsn:
        ended = Command(dsn).run("migrate")
        assert ended.code == 2
        assert ended.out == ""
        assert "as a superuser, CREATE EXTENSION vector SCHEMA public" in ended.err
        assert "Traceback" not in ended.err
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT to_regnamespace('robotgroups')").fetchall() == [(None,)]


def test_the_database_is_named_by_a_file_and_no_secret_is_told(empty: str, tmp_path: Path) -> None:
    file = tmp_path / "owner.dsn"
    file.write_text(empty + "\n")
    nowhere = Command("postgresql://somebody:hidden@127.0.0.1:1/nothing")
    assert nowhere.good("migrate", "--dsn-file", str(file)).out.endswith(
        f"schema version {migrations.latest_version()}\n"
    )
    ended = nowhere.run("migrate")
    assert ended.code == 2
    assert "Postgres is not available" in ended.err
    assert "database: 127.0.0.1:1/nothing" in ended.err
    assert "hidden" not in ended.err


def test_without_a_dsn_it_is_the_embedded_postgres(tmp_path: Path) -> None:
    command = Command("", {"ROBOTGROUPS_HOME": str(tmp_path)})
    assert command.good("migrate").out.startswith("applied 0001_tables\n")
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()  # who was the last to use it has stopped it
    assert command.good("check").out == "0 groups: sound\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", ["--dsn-file"], "must hold one line, the DSN"),
        ("a\nb", ["--dsn-file"], "must hold one line, the DSN"),
        ("postgresql://", ["--dsn", "postgresql://", "--dsn-file"], "give --dsn-file or --dsn, not both"),
        ("no DSN at all", ["--dsn-file"], "the DSN cannot be read"),
    ],
)
def test_what_is_no_dsn_is_refused(
    command: Command, tmp_path: Path, text: str, arguments: list[str], message: str
) -> None:
    file = tmp_path / "dsn"
    file.write_text(text)
    ended = command.run("migrate", *arguments, str(file))
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
