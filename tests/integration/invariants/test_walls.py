"""S1, attacked with raw SQL as a group's login: what it may call, generated from the catalogue, and what it may see."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio
import psycopg
import pytest
from postgres_server import OWNER
from psycopg import sql

from robotgroups.check import check
from robotgroups.models import GroupKey, GroupSettings
from robotgroups.store import robot_dsn

from .conftest import Group
from .populating import Sql, populate

pytestmark = pytest.mark.anyio

SECRET, OWN = "Ilsebill", "Butt"
PASSWORD = "pass word'"
# What robots may call without naming a group; each looks at session_user itself.
WITHOUT_A_GROUP = {"schema_version()", "my_groups()", "my_spaces()", "is_mine(bigint)", "find_group(text,text,text)"}
REFUSED = psycopg.errors.InsufficientPrivilege

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Function:
    """A function that robots may call, as the catalogue tells: (name, type) of each argument."""

    name: str
    signature: str
    arguments: tuple[tuple[str, str], ...]

    def call(self, values: dict[str, str]) -> sql.Composed:
        """A statement that calls it: ``values`` by argument's name, else by type, are SQL expressions."""
        given = [
            sql.SQL("{}::{}").format(sql.SQL(values.get(name, values.get(kind, "NULL"))), sql.SQL(kind))
            for name, kind in self.arguments
        ]
        return sql.SQL("SELECT * FROM robotgroups.{}({})").format(sql.Identifier(self.name), sql.SQL(", ").join(given))


@dataclass
class Scene:
    """A group that is attacked, with a secret in every table, and the attacker's login with a group of its own."""

    group: Group
    own: int
    login: str
    secret_ids: list[int]
    attacker: psycopg.AsyncConnection[tuple[Any, ...]]
    owner: Sql

    async def try_(self, statement: str | sql.Composed) -> Rows:
        """Runs a statement as the attacker; its rows, if it has any."""
        cursor = await self.attacker.execute(statement.encode() if isinstance(statement, str) else statement)
        return await cursor.fetchall() if cursor.description else []

    async def answer(self, statement: sql.Composed) -> Rows | psycopg.Error:
        """What a statement of the attacker's comes to."""
        try:
            return await self.try_(statement)
        except psycopg.Error as error:
            return error

    async def refused(self, statement: str | sql.Composed) -> None:
        with pytest.raises(REFUSED):
            await self.try_(statement)

    async def functions(self, *, granted: bool = True) -> list[Function]:
        rows = await self.owner(
            "SELECT p.proname, replace(p.oid::regprocedure::text, 'robotgroups.', ''), "
            "ARRAY(SELECT coalesce(a.name, '') FROM unnest(p.proargnames[:p.pronargs]) a(name)), "
            "ARRAY(SELECT format_type(t.oid, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY t(oid, n) ORDER BY n) "
            "FROM pg_proc p WHERE p.pronamespace = 'robotgroups'::regnamespace AND p.prorettype <> 'trigger'::regtype "
            "AND has_function_privilege('robotgroups_robot', p.oid, 'EXECUTE') = %s ORDER BY 2",
            granted,
        )
        return [
            Function(name, signature.replace('"', ""), tuple(itertools.zip_longest(names, kinds, fillvalue="")))
            for name, signature, names, kinds in rows
        ]

    async def held(self) -> dict[str, str]:
        """All rows of the attacked group, table by table, but for presence, which lives by itself."""
        mine = {
            "group_id": str(self.group.id),
            "space_id": f"(SELECT space_id FROM robotgroups.groups WHERE id = {self.group.id})",
        }
        rows = await self.owner(
            "SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind = 'r' AND c.relname <> 'presence' "
            "GROUP BY 1"
        )
        found = {}
        for table, columns in rows:
            condition = next((f"{c} = {v}" for c, v in reversed(mine.items()) if c in columns), None)
            if table == "groups":
                condition = f"id = {self.group.id}"
            elif condition is None:
                condition = f"memory_id = ANY (ARRAY{self.secret_ids})" if "memory_id" in columns else "true"
            ((text,),) = await self.owner(
                f"SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM robotgroups.{table} t WHERE {condition}"
            )
            found[table] = text or ""
        return found

    async def revive(self) -> None:
        """Makes the attacker's robot a active under tenure 1 again, whatever its calls have done."""
        await self.owner("UPDATE robotgroups.robots SET role = 'active', tenure = 1 WHERE group_id = %s", self.own)


@pytest.fixture
async def scene(group: Group) -> AsyncIterator[Scene]:
    await group.arrive("a")
    async with group.session() as owner, _attacked(group, owner) as made:
        yield made
    await group.store.drop_login(group.id)
    await group.store.drop_login(made.own)


@asynccontextmanager
async def _attacked(group: Group, owner: Sql) -> AsyncIterator[Scene]:
    ids = await populate(owner, group.id, SECRET)
    own = await group.store.ensure_group(GroupKey("local", "default", "attacker"), GroupSettings(max_tokens=100))
    await group.store.reconcile_members(own, ["a"], [])
    await populate(owner, own, OWN)
    login = await group.store.ensure_login(own, PASSWORD)
    await group.store.ensure_login(group.id, "another")
    raw = robot_dsn(group.dsn, login, PASSWORD)
    async with await psycopg.AsyncConnection.connect(raw, autocommit=True) as attacker:
        yield Scene(group, own, login, ids, attacker, owner)


def values(scene: Scene, group_id: int, **more: str) -> dict[str, str]:
    """An argument for every type and for the names that matter."""
    return {
        "text": "'a'", "bigint": "1", "integer": "1", "boolean": "true", "uuid": "gen_random_uuid()", "jsonb": "'{}'",
        "timestamp with time zone": "now()", "interval": "'1 day'", "double precision": "1", "real": "1",
        "text[]": "'{}'", "bigint[]": "'{1}'", "integer[]": "'{1}'", "p_group": str(group_id), "p_robot": "'a'",
        "p_tenure": "1", "p_limit": "10", "p_target": "2", "p_items": "'[{\"content\": \"x\", \"tokens\": 1}]'",
    } | more  # fmt: skip


# -- functions -----------------------------------------------------------------------------------------------------


async def test_every_function_that_robots_may_call_refuses_another_group(scene: Scene) -> None:
    functions = await scene.functions()
    of_a_group = [f for f in functions if f.arguments[:1] == (("p_group", "bigint"),)]
    assert {f.signature for f in functions} - {f.signature for f in of_a_group} == WITHOUT_A_GROUP
    assert len(of_a_group) >= 20
    before = await scene.held()
    for function in of_a_group:
        await scene.refused(function.call(values(scene, scene.group.id)))
        await scene.refused(function.call({"p_group": str(scene.group.id)}))  # all else is null
        with pytest.raises(REFUSED):  # nor a group that does not exist, or none
            await scene.try_(function.call(values(scene, 999)))
        with pytest.raises(REFUSED):
            await scene.try_(function.call(values(scene, scene.group.id) | {"p_group": "NULL"}))
    assert await scene.held() == before


async def test_what_robots_may_not_call_they_cannot(scene: Scene) -> None:
    """Roles, settings, logins and everything that the functions are made of."""
    functions = await scene.functions(granted=False)
    names = {f.name for f in functions}
    assert names >= {"apply_roles", "ensure_group", "reconcile_members", "join_robot", "leave", "promote", "demote",
                     "adopt_group", "append_change", "fence", "remove_memories", "make_room"}  # fmt: skip
    for function in functions:
        await scene.refused(function.call({}))


async def test_robots_functions_run_as_the_owner_and_look_nowhere_else(scene: Scene) -> None:
    rows = await scene.group.sql(
        "SELECT proname, prosecdef, coalesce(array_to_string(proconfig, ';'), '') FROM pg_proc "
        "WHERE pronamespace = 'robotgroups'::regnamespace "
        "AND has_function_privilege('robotgroups_robot', oid, 'EXECUTE')"
    )
    assert [name for name, definer, _ in rows if not definer] == []
    assert [name for name, _, config in rows if "search_path=robotgroups, pg_temp" not in config] == []


async def test_the_ids_of_anothers_memories_jobs_and_models_are_of_no_use(scene: Scene) -> None:
    """Each function called for the attacker's own group, with another's ids in every place that takes one."""
    before = await scene.held()
    ids = {
        name: (await scene.group.sql(f"SELECT max(id) FROM robotgroups.{name} WHERE space_id = 1"))[0][0]
        for name in ("memories", "jobs", "embedding_models", "files")
    }
    ids |= {"group": scene.group.id, "space": 1}
    answered = 0
    for function in await scene.functions():
        for foreign in ids.values():
            await scene.revive()
            given = values(scene, scene.own) | {"bigint": str(foreign), "bigint[]": f"'{{{foreign}}}'"}
            answer = await scene.answer(function.call(given))
            answered += not isinstance(answer, psycopg.Error)
            assert SECRET not in repr(answer), function
    assert answered > 50
    assert await scene.held() == before


async def test_a_forged_tenure_writes_nothing(scene: Scene) -> None:
    writing = [f for f in await scene.functions() if ("p_tenure", "bigint") in f.arguments]
    assert len(writing) >= 8
    for function in writing:
        for forged, refusal in (
            ({"p_tenure": "2"}, "RG001"), ({"p_robot": "'b'"}, "RG001"), ({"p_tenure": "NULL"}, "42501"),
            ({"p_tenure": "0"}, "RG001"), ({"p_robot": "NULL"}, "RG001"),
        ):  # fmt: skip
            with pytest.raises(psycopg.Error) as refused:
                await scene.try_(function.call(values(scene, scene.own) | forged))
            assert refused.value.sqlstate == refusal, (function, forged)


async def test_garbage_is_an_error_or_an_answer_and_never_harm(scene: Scene) -> None:
    garbage = {
        "bigint": ["-1", "9223372036854775807", "NULL"],
        "integer": ["-1", "2147483647", "0", "NULL"],
        "text": ["''", "repeat('x', 100000)", "'''; DROP TABLE robotgroups.memories; --'", "NULL"],
        "jsonb": [
            "'null'",
            "'[]'",
            '\'{"content": {"a": []}}\'',
            "'[[[1]]]'",
            '\'[{"content": 1, "tokens": 1e300}]\'',
            "NULL",
        ],
        "text[]": ["'{{a,b},{c,d}}'", "'{NULL}'", "NULL"],
        "bigint[]": ["'{NULL}'", "'{-1,-1}'", "NULL"],
        "double precision": ["'NaN'", "'-infinity'", "NULL"],
        "timestamp with time zone": ["'infinity'", "NULL"],
        "interval": ["'-1 year'", "'178000000 years'", "NULL"],
        "uuid": ["NULL"],
        "boolean": ["NULL"],
    }
    before = await scene.held()
    for function in await scene.functions():
        for name, kind in function.arguments:
            if name == "p_group":
                continue
            for value in garbage.get(kind, ["NULL"]):
                await scene.revive()
                answer = await scene.answer(function.call(values(scene, scene.own) | {name or kind: value}))
                if isinstance(answer, psycopg.Error):  # a refusal; the session stands
                    assert answer.sqlstate is not None, (function, name, value)
                    assert answer.sqlstate[:2] not in {"XX", "57", "58"}, (function, name, value)
    assert await scene.held() == before
    assert [str(f) for f in await check(scene.group.store)] == []


# -- tables --------------------------------------------------------------------------------------------------------


async def test_no_table_can_be_read_or_written(scene: Scene) -> None:
    names = await scene.group.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'robotgroups'::regnamespace AND relkind IN ('r', 'S')"
    )
    for (name,) in names:
        await scene.refused(f"SELECT * FROM robotgroups.{name}")
        await scene.refused(f"COPY robotgroups.{name} TO STDOUT")
    await scene.refused("UPDATE robotgroups.robots SET role = 'active'")
    await scene.refused("TRUNCATE robotgroups.changes")
    await scene.refused("CREATE TABLE robotgroups.mine ()")
    await scene.refused("CREATE FUNCTION robotgroups.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    await scene.refused("ALTER FUNCTION robotgroups.assert_may_use(bigint) SECURITY INVOKER")
    await scene.refused(
        "CREATE TRIGGER mine AFTER INSERT ON robotgroups.changes EXECUTE FUNCTION robotgroups.group_deleted()"
    )
    await scene.refused("SELECT nextval('robotgroups.memories_id_seq')")


async def test_the_second_wall_were_tables_granted_only_own_rows_are_seen_and_none_is_changed(scene: Scene) -> None:
    await scene.group.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA robotgroups TO {scene.login}")
    tables = await scene.group.sql(
        "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, "
        "(SELECT string_agg(p.polname, ',') FROM pg_policy p WHERE p.polrelid = c.oid) "
        "FROM pg_class c WHERE c.relnamespace = 'robotgroups'::regnamespace AND c.relkind = 'r' ORDER BY 1"
    )
    assert [name for name, enabled, forced, _ in tables if not enabled or forced] == []
    assert [name for name, _, _, policies in tables if policies is None] == ["migrations"]
    before, everything = await scene.held(), await scene.group.sql("SELECT count(*) FROM robotgroups.memories")
    seen = {}
    for name, *_ in tables:
        rows = await scene.try_(f"SELECT t::text FROM robotgroups.{name} t")
        assert SECRET not in repr(rows), name
        seen[name] = len(rows)
        ((column,),) = await scene.group.sql(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attidentity = '' "
            "AND attgenerated = '' AND NOT attisdropped ORDER BY attnum LIMIT 1",
            f"robotgroups.{name}",
        )
        for statement in ("UPDATE robotgroups.{0} SET {1} = {1}", "DELETE FROM robotgroups.{0}"):
            assert (await scene.attacker.execute(statement.format(name, column).encode())).rowcount == 0
        with pytest.raises(psycopg.Error):
            await scene.try_(f"INSERT INTO robotgroups.{name} DEFAULT VALUES")
    assert {name for name, count in seen.items() if not count} == {"migrations", "failovers", "presence", "rankings"}
    assert (seen["migrations"], seen["groups"], seen["memories"]) == (0, 1, 3)
    with pytest.raises(REFUSED, match="violates row-level security"):
        await scene.try_("INSERT INTO robotgroups.robots (group_id, name, ordinal, declared_role, role, tenure) "
                         f"VALUES ({scene.own}, 'z', 9, 'active', 'active', 1)")  # fmt: skip
    # hints that would show what a policy hides
    with pytest.raises(REFUSED, match="row-level security"):
        await scene.try_("SET row_security = off; SELECT * FROM robotgroups.memories")
    assert await scene.held() == before
    assert await scene.group.sql("SELECT count(*) FROM robotgroups.memories") == everything
    await scene.group.sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA robotgroups FROM {scene.login}")


async def test_the_catalogue_and_the_activity_of_others_tell_nothing(scene: Scene) -> None:
    await scene.group.sql("ANALYZE")
    assert await scene.try_("SELECT * FROM pg_stats WHERE schemaname = 'robotgroups'") == []
    await scene.refused("SELECT * FROM pg_statistic")
    await scene.refused("SELECT pg_read_file('postgresql.conf')")
    with pytest.raises(psycopg.Error):
        await scene.try_("COPY (SELECT 1) TO PROGRAM 'true'")
    others = await scene.try_("SELECT query FROM pg_stat_activity WHERE usename <> session_user AND query <> ''")
    assert others
    assert {query for (query,) in others} == {"<insufficient privilege>"}
    ((pid,),) = await scene.group.sql("SELECT pg_backend_pid()")
    ((alive,),) = await scene.group.sql(
        "SELECT backend_pid FROM robotgroups.presence WHERE group_id = %s", scene.group.id
    )
    assert pid != alive
    await scene.refused(f"SELECT pg_terminate_backend({alive})")
    await scene.refused(f"SELECT pg_cancel_backend({alive})")


# -- who and where -------------------------------------------------------------------------------------------------


async def test_nobody_becomes_somebody_else(scene: Scene) -> None:
    another = (await scene.group.sql("SELECT login FROM robotgroups.groups WHERE id = %s", scene.group.id))[0][0]
    for role in (OWNER, another, "postgres", "pg_read_all_data"):
        await scene.refused(f"SET ROLE {role}")
        await scene.refused(f"SET SESSION AUTHORIZATION {role}")
        await scene.refused(f"GRANT {role} TO {scene.login}")
    await scene.refused(f"ALTER ROLE {scene.login} SUPERUSER")
    await scene.refused(f"ALTER ROLE {another} PASSWORD 'mine'")
    await scene.refused(f"ALTER ROLE {another} RENAME TO mine")
    await scene.refused("CREATE ROLE mine")
    # the role that all robots are members of is no key to all groups
    await scene.try_("SET ROLE robotgroups_robot")
    assert (await scene.try_(f"SELECT (robotgroups.group_status({scene.own}))->>'name'")) == [("attacker",)]
    await scene.refused(f"SELECT robotgroups.group_status({scene.group.id})")
    await scene.try_("RESET ROLE")
    # session_user is not what a function of one's own says
    await scene.try_("CREATE FUNCTION pg_temp.through() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS "
                     f"'SELECT robotgroups.group_status({scene.group.id})'")  # fmt: skip
    await scene.refused("SELECT pg_temp.through()")


async def test_what_stands_in_pg_temp_shadows_nothing(scene: Scene) -> None:
    """Tables, types, functions and operators of the attacker's, put before the schema's by its search path."""
    names = await scene.group.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'robotgroups'::regnamespace AND relkind = 'r'"
    )
    for (name,) in names:
        await scene.try_(
            f"CREATE TEMP TABLE {name} (id bigint, login text, previous_login text, space_id bigint, name text)"
        )
    await scene.try_(f"INSERT INTO pg_temp.groups VALUES ({scene.group.id}, session_user, session_user, 1, 'mine')")
    await scene.try_("CREATE TEMP VIEW pg_locks AS SELECT 1")
    await scene.try_("CREATE TYPE pg_temp.remember_item AS (mine text)")
    await scene.try_("CREATE FUNCTION pg_temp.assert_may_use(bigint) RETURNS void LANGUAGE sql AS 'SELECT'")
    await scene.try_(
        "CREATE FUNCTION pg_temp.pg_has_role(name, name, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    )
    await scene.try_("CREATE FUNCTION pg_temp.yes(text, name) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    await scene.try_("CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = name, FUNCTION = pg_temp.yes)")
    await scene.try_("SET search_path = pg_temp, robotgroups, public, pg_catalog")
    before = await scene.held()
    for function in await scene.functions():
        if function.arguments[:1] == (("p_group", "bigint"),):
            await scene.refused(function.call(values(scene, scene.group.id)))
    assert await scene.held() == before
    # and what it may do, it does in the real tables
    full = values(scene, scene.own) | {"p_items": '\'[{"content": "real", "tokens": 1}]\''}
    remember = next(f for f in await scene.functions() if f.name == "remember_batch")
    ((_, memory_id, *_),) = await scene.try_(remember.call(full))
    assert (await scene.group.store.memory(scene.own, memory_id)).content == "real"
    assert await scene.try_("SELECT count(*) FROM pg_temp.memories") == [(0,)]


async def test_settings_of_the_session_open_nothing(scene: Scene) -> None:
    for setting in ("session_replication_role = replica", "log_statement = none", "role = postgres"):
        await scene.refused(f"SET {setting}")
    for setting in ("synchronous_commit = off", "timezone = 'Asia/Tokyo'", "DateStyle = 'German'", "row_security = off",
                    "default_transaction_isolation = 'serializable'", "plan_cache_mode = force_generic_plan",
                    "statement_timeout = 0", "bytea_output = escape", "standard_conforming_strings = on"):  # fmt: skip
        await scene.try_(f"SET {setting}")
    await scene.refused(f"SELECT robotgroups.snapshot({scene.group.id})")
    ((state,),) = await scene.try_(f"SELECT robotgroups.snapshot({scene.own})")
    truth = await scene.group.store.snapshot(scene.own)
    told = [m["created_at"] for m in state["working_memory"]]
    assert all(time.endswith("+00:00") for time in told)
    assert list(map(datetime.fromisoformat, told)) == [m.created_at for m in truth.working_memory]


# -- channels ------------------------------------------------------------------------------------------------------


async def test_channels_that_cannot_be_guarded_carry_revisions_alone(scene: Scene) -> None:
    for channel in range(1, 20):
        await scene.try_(f"LISTEN rg_{channel}")
    await populate(scene.group.sql, scene.group.id, f"{SECRET} again,")
    tenure = {"robot": "a", "tenure": 1}
    one, two, _ = scene.secret_ids
    await scene.group.store.forget(scene.group.id, **tenure, memory_id=one)  # type: ignore[arg-type]
    await scene.group.store.restore(scene.group.id, **tenure, memory_id=one)  # type: ignore[arg-type]
    await scene.group.sql("SELECT robotgroups.erase(%s, 'a', 1, %s, NULL, NULL, 0, 10)", scene.group.id, [two])
    await scene.group.store.clear_working_memory(scene.group.id, **tenure)  # type: ignore[arg-type]
    status = await scene.group.store.status(scene.group.id)
    heard: list[tuple[str, str]] = []
    with anyio.fail_after(10):
        async for note in scene.attacker.notifies():
            heard.append((note.channel, note.payload))
            if note.payload == str(status.revision):
                break
    assert len(heard) > 5
    assert {channel for channel, _ in heard} == {f"rg_{scene.group.id}"}
    assert all(payload.isascii() and payload.isdecimal() for _, payload in heard)
