"""S1 while a group's login is rotated: two logins for a while, then one; no robot loses its place by it."""

from uuid import uuid4

import anyio
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from robotgroups.errors import ArgumentError, UnknownGroupError
from robotgroups.models import GroupKey, GroupSettings, Outcome, RotationEnd
from robotgroups.presence import PresenceSession
from robotgroups.store import Store, login_number, login_of, password_of, robot_dsn

from .conftest import KEY, Group

pytestmark = pytest.mark.anyio


async def _arrive_as(group: Group, robot: str, dsn: str) -> PresenceSession:
    session = await PresenceSession.open(dsn, group.id, uuid4())
    registration = await session.register(robot, f"http://{robot}:8080", replace=False)
    await session.beat(robot, applied=registration.revision, warm=True)
    return session


async def _exists(group: Group, login: str) -> bool:
    return bool(await group.sql("SELECT 1 FROM pg_roles WHERE rolname = %s", login))


async def test_s1_both_logins_work_until_the_last_robot_has_come_over(group: Group) -> None:
    first = await group.store.ensure_login(group.id, "one")
    old = robot_dsn(group.dsn, first, "one")
    a, b = [await _arrive_as(group, name, old) for name in ("a", "b")]
    second = await group.store.rotate_login(group.id, first, "two")
    new = robot_dsn(group.dsn, second, "two")
    assert (login_number(first), login_number(second)) == (1, 2)
    assert (login_of(new), password_of(new)) == (second, "two")
    [record] = await group.store.list_groups("local")
    assert (record.login, record.previous_login) == (second, first)
    for dsn in (old, new):
        async with await Store.open(dsn) as robots:
            assert (await robots.status(group.id)).active == ("a",)
            tenure = (await group.robot("a")).tenure
            await robots.remember(group.id, robot="a", tenure=tenure, content=f"by {login_of(dsn)}", tokens=1)

    assert await group.store.finish_rotation(group.id) == RotationEnd(None, ("a", "b"))
    await b.withdraw("b")
    await b.close()
    b = await _arrive_as(group, "b", new)
    assert await group.store.finish_rotation(group.id) == RotationEnd(None, ("a",))
    await a.withdraw("a")
    await a.close()
    a = await _arrive_as(group, "a", new)
    leftover = await psycopg.AsyncConnection.connect(old, autocommit=True)
    assert await group.store.finish_rotation(group.id) == RotationEnd(first, ())
    with pytest.raises(psycopg.OperationalError):
        await leftover.execute("SELECT 1")
    await leftover.close()
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(old)
    assert not await _exists(group, first)
    assert (await a.beat("a", applied=0, warm=True)).current
    assert await group.store.finish_rotation(group.id) == RotationEnd(None, ())
    third = await group.store.rotate_login(group.id, second, "three")
    assert login_number(third) == 3
    for session in (a, b):
        await session.close()


async def test_s1_an_interrupted_rotation_goes_on_with_the_same_login(group: Group) -> None:
    first = await group.store.ensure_login(group.id, "one")
    second = await group.store.rotate_login(group.id, first, "nobody has heard of it")
    assert await group.store.rotate_login(group.id, first, "two") == second
    async with await Store.open(robot_dsn(group.dsn, second, "two")) as robots:
        assert await robots.find_group(KEY) == group.id
    assert await group.store.ensure_login(group.id, "two again") == second
    with pytest.raises(ArgumentError, match=f"the rotation from {first} to {second} is not finished"):
        await group.store.rotate_login(group.id, second, "three")
    with pytest.raises(ArgumentError, match=f"has not the login rg_0_0 but {second}"):
        await group.store.rotate_login(group.id, "rg_0_0", "three")
    with pytest.raises(UnknownGroupError):
        await group.store.rotate_login(group.id + 1, first, "three")


async def test_s1_a_rotation_of_a_group_without_a_login_makes_the_first(group: Group) -> None:
    login = await group.store.rotate_login(group.id, "rg_0_0", "one")
    assert login_number(login) == 1
    assert await group.store.finish_rotation(group.id) == RotationEnd(None, ())


async def test_s1_both_logins_go_with_the_group(group: Group) -> None:
    first = await group.store.ensure_login(group.id, "one")
    second = await group.store.rotate_login(group.id, first, "two")
    await group.store.drop_login(group.id)
    assert [await _exists(group, login) for login in (first, second)] == [False, False]
    [record] = await group.store.list_groups("local")
    assert (record.login, record.previous_login) == (None, None)


async def test_s1_another_groups_robot_uses_neither_login(group: Group) -> None:
    first = await group.store.ensure_login(group.id, "one")
    await group.store.rotate_login(group.id, first, "two")
    theirs = await group.store.ensure_group(GroupKey("local", "other", "intruders"), GroupSettings())
    intruder = robot_dsn(group.dsn, await group.store.ensure_login(theirs, "mine"), "mine")
    async with await Store.open(intruder) as store:
        for attempt in (lambda: store.rotate_login(group.id, first, "mine"), lambda: store.finish_rotation(group.id)):
            with pytest.raises(Exception, match="permission denied"):
                await attempt()


async def test_r2_a_hung_robot_under_the_previous_login_loses_its_sessions(group: Group) -> None:
    first = await group.store.ensure_login(group.id, "one")
    old = robot_dsn(group.dsn, first, "one")
    incarnation = uuid4()
    async with await PresenceSession.open(old, group.id, incarnation) as session:
        await session.register("a", "http://a:8080", replace=False)
        await group.arrive("b")
        await group.store.rotate_login(group.id, first, "two")
        await group.sql("UPDATE robotgroups.groups SET lease_ms = 300, heartbeat_ms = 100")
        heartbeat = (await group.robot("a")).heartbeat
        with anyio.fail_after(5):
            while (await group.robot("a")).live:
                await anyio.sleep(0.02)
        await group.robots["b"].session.beat("b", applied=10, warm=True)
        verdict = await group.store.declare_failed(
            group.id, "a", incarnation, observed_heartbeat=heartbeat, reason="hung", detected_by="test"
        )
        assert verdict.outcome is Outcome.PROMOTED
        with pytest.raises(Exception, match=r"terminating connection|not available"):
            await session.beat("a", applied=1, warm=True)


async def test_a_copy_of_the_database_on_the_same_server_gets_logins_of_its_own(
    group: Group, superuser_dsn: str
) -> None:
    first = await group.store.ensure_login(group.id, "one")
    second = await group.store.rotate_login(group.id, first, "two")
    name = f"copy_{uuid4().hex[:12]}"
    [(original,)] = await group.sql("SELECT current_database()")
    await group.store.close()
    async with await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True) as connection:
        await connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (name, original)))
        )
        async with await Store.open(make_conninfo(group.dsn, dbname=name)) as copy:
            theirs = await copy.ensure_login(group.id, "copy")
            assert theirs not in (first, second)
            [record] = await copy.list_groups("local")
            assert (record.login, record.previous_login) == (theirs, None)
            await copy.drop_login(group.id)
            await copy.drop_login(group.id)
        async with await Store.open(make_conninfo(group.dsn, dbname=name)) as copy:
            await copy.delete_group(group.id)
        await connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    assert [await _exists(group, login) for login in (first, second, theirs)] == [True, True, False]


async def test_what_a_login_has_left_behind_does_not_keep_its_group(group: Group) -> None:
    """Anybody may make large objects, and temporary tables."""
    login = await group.store.ensure_login(group.id, "one")
    async with await psycopg.AsyncConnection.connect(robot_dsn(group.dsn, login, "one"), autocommit=True) as robot:
        await robot.execute("SELECT lo_create(0)")
        await robot.execute("CREATE TEMP TABLE mine (x integer)")
        assert await group.store.delete_group(group.id) is True
    assert not await _exists(group, login)
    assert await group.sql("SELECT FROM pg_largeobject_metadata") == []


async def test_a_login_that_cannot_be_dropped_is_disabled(group: Group, superuser_dsn: str) -> None:
    login = await group.store.ensure_login(group.id, "one")
    mine = robot_dsn(group.dsn, login, "one")
    async with await psycopg.AsyncConnection.connect(make_conninfo(mine, dbname="postgres"), autocommit=True) as robot:
        await robot.execute("SELECT lo_create(0)")
    await group.store.drop_login(group.id)
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(mine)
    assert await group.sql(
        "SELECT rolcanlogin, pg_has_role(rolname, 'robotgroups_robot', 'MEMBER') FROM pg_roles WHERE rolname = %s",
        login,
    ) == [(False, False)]
    # and it is of use again when the group comes back
    assert await group.store.ensure_login(group.id, "two") == login
    await (await psycopg.AsyncConnection.connect(robot_dsn(group.dsn, login, "two"))).close()
    async with await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True) as admin:
        await admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(login)))
    await group.store.drop_login(group.id)
    assert not await _exists(group, login)
