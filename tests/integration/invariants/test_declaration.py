"""Declared membership, and what another group's login may not do to a robot's presence."""

from uuid import uuid4

import pytest

from robotgroups.models import GroupKey, GroupSettings
from robotgroups.presence import PresenceSession
from robotgroups.store import robot_dsn

from .conftest import Group

pytestmark = pytest.mark.anyio


async def test_a_swap_of_roles_waits_for_the_standby_and_never_leaves_nobody_active(group: Group) -> None:
    a = await group.arrive("a")
    b = await group.arrive("b", warm=False)
    swap = (["b"], ["a", "c"])
    assert (await group.store.reconcile_members(group.id, *swap)).moved == ("b",)
    assert await group.roles() == {"b": "passive", "a": "active", "c": "passive"}
    assert (await group.robot("a")).tenure == a.registration.tenure
    await b.session.beat("b", applied=1, warm=True)
    assert sorted((await group.store.reconcile_members(group.id, *swap)).moved) == ["a", "b"]
    assert await group.roles() == {"b": "active", "a": "passive", "c": "passive"}
    assert (await group.store.reconcile_members(group.id, *swap)).moved == ()


async def test_s1_a_borrowed_incarnation_ends_nobody_elses_sessions(group: Group) -> None:
    ours = robot_dsn(group.dsn, await group.store.ensure_login(group.id, "secret"), "secret")
    incarnation_of_a = uuid4()
    a = await PresenceSession.open(ours, group.id, incarnation_of_a)
    await a.register("a", "http://a:8080", replace=False)
    theirs = await group.store.ensure_group(GroupKey("local", "other", "intruders"), GroupSettings())
    await group.store.reconcile_members(theirs, ["x"], [])
    login = await group.store.ensure_login(theirs, "secret")
    intruder = robot_dsn(group.dsn, login, "secret")
    for incarnation in (incarnation_of_a, uuid4()):
        async with await PresenceSession.open(intruder, theirs, incarnation) as session:
            await session.register("x", "http://x:8080", replace=True)
    async with a:
        beat = await a.beat("a", applied=1, warm=True)
        assert (beat.current, (await group.robot("a")).live) == (True, True)


async def test_whoever_comes_back_with_the_pid_it_had_before_a_restart_holds_its_lock(group: Group) -> None:
    """Presence outlives a clean restart, locks do not; in a new container, pids begin anew."""
    robot = await group.arrive("a")
    assert (await group.robot("a")).live
    await robot.session._connection.execute("SELECT pg_advisory_unlock_all()")
    await group.sql("UPDATE robotgroups.presence SET server_started = pg_postmaster_start_time() - interval '1 hour'")
    assert not (await group.robot("a")).live
    await robot.session.register("a", "http://a:8080", replace=False)
    assert (await group.robot("a")).live
