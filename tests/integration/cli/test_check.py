"""`robotgroups check`: its exit code, what it prints, and that what it advises can be done."""

import json

import anyio
import psycopg

from robotgroups.store import Store, robot_dsn

from .conftest import Command, fill


def test_a_sound_database(command: Command) -> None:
    fill(command.dsn, "support", ["one", "two"])
    ended = command.good("check")
    assert (ended.out, ended.err) == ("1 groups: sound\n", "")
    assert json.loads(command.good("check", "--json").out) == {"groups": 1, "findings": []}


def test_what_is_broken_is_told_with_what_to_do(
    command: Command, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    fill(command.dsn, "support", ["one", "two"])
    connection.execute("UPDATE robotgroups.groups SET revision = revision + 1")
    connection.execute("UPDATE robotgroups.memories SET content_hash = content::bytea")
    ended = command.run("check")
    assert (ended.code, ended.err) == (1, "")
    first, second, count = ended.out.split("\n\n")
    assert first.splitlines()[:3] == [
        "M2 hashes, group 1 support (local/default)",
        "  what: memory 1 has another hash than its content and scope",
        "  what: memory 2 has another hash than its content and scope",
    ]
    assert first.splitlines()[3].startswith("  do:   Contents or scopes were changed by hand: ")
    assert second.startswith("M3 feed-head, group 1 support (local/default)\n  what: its revision is 4, ")
    assert count == "3 findings in 1 groups\n"


def test_as_json_a_program_can_repair_it(command: Command, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    fill(command.dsn, "support", ["one", "two"])
    connection.execute("UPDATE robotgroups.groups SET revision = revision + 1")
    ended = command.run("check", "--json")
    assert ended.code == 1
    (finding,) = json.loads(ended.out)["findings"]
    assert (finding["invariant"], finding["check"], finding["group_id"]) == ("M3", "feed-head", 1)
    assert finding["group"] == {"cluster": "local", "namespace_uid": "default", "name": "support"}
    connection.execute(finding["remedy"]["sql"])
    assert json.loads(command.good("check", "--json").out)["findings"] == []


def test_a_robots_login_is_told_whose_it_takes(command: Command) -> None:
    fill(command.dsn, "support", ["one"])

    async def login() -> str:
        async with await Store.open(command.dsn) as store:
            return robot_dsn(command.dsn, await store.ensure_login(1, "secret"), "secret")

    ended = Command(anyio.run(login)).run("check")
    assert ended.code == 2
    assert "the login must be the owner of its schema robotgroups" in ended.err


def test_a_database_without_the_schema(command: Command, superuser_dsn: str) -> None:
    ended = Command(superuser_dsn).run("check")
    assert ended.code == 2
    assert "this database has not our schema: migrate it first" in ended.err
