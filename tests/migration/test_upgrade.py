"""An upgrade under way: a database that the previous release filled migrates while that release's robots go on.

The previous release's robots are SQL: what its library sent, statement by statement, with the login of a group.
"""

import json
import os
import secrets
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import anyio
import psycopg
import pytest
from postgres_server import OWNER
from psycopg import conninfo, sql

from robotgroups import migrations
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.robot import HostedRobot
from robotgroups.store import Store

pytestmark = pytest.mark.anyio
PREVIOUS = 7
KEY = GroupKey("local", "default", "upgraded")


@pytest.fixture
def previous(superuser_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The owner's DSN of a database that has the previous release's schema."""
    name = f"rg_upgrade_{os.getpid()}_{secrets.token_hex(3)}"
    with psycopg.connect(superuser_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER)))
        dsn = conninfo.make_conninfo(superuser_dsn, dbname=name, user=OWNER, password="test")
        with monkeypatch.context() as patched:
            older = migrations.known()[:PREVIOUS]
            patched.setattr(migrations, "known", lambda: older)
            anyio.run(migrations.migrate, dsn)
        yield dsn
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class OldRobot:
    """A robot of the previous release: a presence session and one for statements."""

    def __init__(self, dsn: str, group_id: int, name: str) -> None:
        self._dsn, self._group, self._name, self._incarnation = dsn, group_id, name, uuid4()
        self.tenure = 0
        self.acknowledged: list[str] = []
        self.revisions: list[int] = []

    async def start(self) -> None:
        self._presence = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        self._statements = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        row = await self._ask(
            self._presence,
            "SELECT * FROM robotgroups.register(%s, %s, %s, %s, %s, %s)",
            self._group, self._name, self._incarnation, "http://old:8080", False, True,
        )  # fmt: skip
        self.tenure = row[0][1]
        ((snapshot,),) = await self._ask(self._statements, "SELECT robotgroups.snapshot(%s)", self._group)
        self.revisions.append(snapshot["revision"])

    async def turn(self) -> None:
        """A heartbeat, a memory, the changes since, and a recall."""
        (beat,) = await self._ask(
            self._presence,
            "SELECT * FROM robotgroups.beat(%s, %s, %s, %s, %s)",
            self._group, self._name, self._incarnation, self.revisions[-1], True,
        )  # fmt: skip
        assert beat[0], "its presence stands"
        content = f"memory {len(self.acknowledged)} of the previous release"
        await self._persist(
            "SELECT * FROM robotgroups.remember(%s, %s, %s, %s, %s, %s, %s::text[], %s, %s)",
            self._group, self._name, self.tenure, content, 8, None, ["old"], json.dumps({"n": 1}), content,
        )  # fmt: skip
        self.acknowledged.append(content)
        changes = await self._persist(
            "SELECT * FROM robotgroups.changes_after(%s, %s::bigint, %s)",
            self._group, self.revisions[-1], 1000,
        )  # fmt: skip
        self.revisions += [c[1] for c in changes]
        found = await self._persist(
            "SELECT * FROM robotgroups.recall_fulltext(%s, %s, %s, %s::text[], %s, %s, %s)",
            self._group, f'"memory {len(self.acknowledged) - 1}"', 5, ["old"], json.dumps({"n": 1}), None, None,
        )  # fmt: skip
        assert [m["content"] for m, _ in found] == [content]

    async def stop(self) -> None:
        await self._presence.close()
        await self._statements.close()

    async def _persist(self, statement: str, *arguments: object) -> list[Any]:
        """As its pool and its callers did: a session that was ended is replaced, and the call made again."""
        try:
            return await self._ask(self._statements, statement, *arguments)
        except psycopg.OperationalError:
            await self._statements.close()
            self._statements = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
            return await self._ask(self._statements, statement, *arguments)

    async def _ask(self, connection: psycopg.AsyncConnection[Any], statement: str, *arguments: object) -> list[Any]:
        return await (await connection.execute(statement.encode(), arguments)).fetchall()


async def filled(dsn: str) -> tuple[int, str]:
    """A group of the previous release with a login; its id and the login's DSN."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as owner:
        settings = {"max_tokens": 4000, "language": "english", "tokenizer": "cl100k_base", "heartbeat_ms": 500}
        cursor = await owner.execute(
            "SELECT robotgroups.ensure_group(%s, %s, %s, %s)",
            (KEY.cluster, KEY.namespace_uid, KEY.name, json.dumps(settings)),
        )
        ((group_id,),) = await cursor.fetchall()
        await owner.execute("SELECT robotgroups.reconcile_members(%s, '{a}', '{b}')", (group_id,))
        login = f"rg_{group_id}_{secrets.token_hex(4)}"
        await owner.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'test' IN ROLE robotgroups_robot".encode())
        await owner.execute("UPDATE robotgroups.groups SET login = %s WHERE id = %s", (login, group_id))
        await owner.execute(
            "SELECT robotgroups.remember(%s, NULL, NULL, 'from before ' || i, 3, NULL, '{}', '{}', NULL) "
            "FROM generate_series(1, 500) i",
            (group_id,),
        )
    return group_id, conninfo.make_conninfo(dsn, user=login, password="test")


async def test_the_previous_releases_robots_go_on_while_and_after_their_database_migrates(previous: str) -> None:
    group_id, robot_dsn = await filled(previous)
    old = OldRobot(robot_dsn, group_id, "a")
    await old.start()
    migrated = anyio.Event()

    async def live() -> None:
        turns = 0
        while turns < 10:  # ten after the migration
            await old.turn()
            turns += migrated.is_set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        while len(old.acknowledged) < 10:
            await anyio.sleep(0.01)
        applied = await migrations.migrate(previous)
        migrated.set()
    assert applied == [m.name for m in migrations.known()[PREVIOUS:]]
    assert old.revisions == list(range(old.revisions[0], old.revisions[-1] + 1))  # M3, over the migration
    async with await Store.open(previous) as store:
        await store.ensure_group(KEY, GroupSettings())
        async with HostedRobot(store, group_id, "b") as new:
            truth = await store.snapshot(group_id)
            assert list(new.cache.memories.values()) == list(truth.working_memory)
            for content in old.acknowledged:  # M1
                (found, *_) = await new.recall(f'"{content}"', limit=1)
                assert (found.content, found.tags) == (content, ("old",))
            assert [m.content for m in await new.recall('"before 250"')] == ["from before 250"]
            await old.turn()
            await new.catch_up()
            assert new.cache.memories[max(new.cache.memories)].content == old.acknowledged[-1]
        await old.stop()
        await store.drop_login(group_id)
