"""Planned switchover on request: who is replaced by whom, and what is refused."""

import pytest

from robotgroups.errors import (
    ArgumentError,
    NoActiveRobotError,
    NoPassiveRobotError,
    NotActiveError,
    NotPermittedError,
    NotWarmError,
    RobotGroupsError,
)
from robotgroups.models import Failback, FailoverMode, GroupKey, GroupSettings, Role
from robotgroups.store import Store, robot_dsn

from .conftest import KEY, Group

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(group: Group) -> Group:
    """All three are there and warm."""
    for name in ("a", "b", "c"):
        await group.arrive(name)
    return group


async def test_the_replaced_robot_stays_and_is_passive(live: Group) -> None:
    before = await live.store.status(live.id)
    done = await live.store.switchover(live.id, asked_by="person")
    assert (done.promoted, done.replaced) == ("b", "a")
    assert (done.epoch, done.revision) == (before.epoch + 1, before.revision + 1)
    a, b = await live.robot("a"), await live.robot("b")
    assert (a.role, a.tenure, a.live, a.warm) == (Role.PASSIVE, 0, True, True)
    assert (b.role, b.tenure) == (Role.ACTIVE, done.epoch)
    (row,) = await live.store.failovers(live.id)
    assert (row.kind, row.source, row.target, row.reason, row.detected_by, row.epoch) == (
        "switchover", "a", "b", "requested", "person", done.epoch,
    )  # fmt: skip
    # no session has ended: the same one beats on
    assert (await live.robots["a"].session.beat("a", applied=done.revision, warm=True)).role is Role.PASSIVE
    with pytest.raises(NotActiveError) as refused:
        await live.store.remember(live.id, robot="a", tenure=before.robots[0].tenure, content="late", tokens=1)
    assert refused.value.active == ("b",)
    assert (await live.store.switchover(live.id, asked_by="person")).promoted == "a"


async def test_source_and_target_are_as_named(live: Group) -> None:
    await live.store.reconcile_members(live.id, ["a", "b"], ["c"])
    done = await live.store.switchover(live.id, "b", "c", asked_by="person")
    assert (done.promoted, done.replaced) == ("c", "b")
    assert await live.roles() == {"a": "active", "b": "passive", "c": "active"}
    done = await live.store.switchover(live.id, None, "b", asked_by="person")
    assert (done.promoted, done.replaced) == ("b", "a")


@pytest.mark.parametrize(
    ("source", "target", "error", "words"),
    [
        (None, "a", ArgumentError, "^a is active already: there is nothing to switch over$"),
        ("a", "a", ArgumentError, "^a is active already: there is nothing to switch over$"),
        ("b", None, ArgumentError, "^b is not an active member$"),
        ("nobody", "b", ArgumentError, "^nobody is not an active member$"),
        (None, "nobody", ArgumentError, "^nobody is not a passive member$"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    live: Group, source: str | None, target: str | None, error: type[RobotGroupsError], words: str
) -> None:
    before = await live.store.status(live.id)
    with pytest.raises(error, match=words):
        await live.store.switchover(live.id, source, target, asked_by="person")
    assert (await live.store.status(live.id)).revision == before.revision


async def test_nobody_who_is_cold_dead_or_failed_is_promoted(live: Group) -> None:
    await live.robots["b"].session.beat("b", applied=1, warm=False)
    with pytest.raises(NotWarmError, match=r"^b is not warm: it has not caught up with the group, or is not running$"):
        await live.store.switchover(live.id, target="b", asked_by="person")
    c = await live.die("c")
    with pytest.raises(NotWarmError, match=r"^c is not warm"):
        await live.store.switchover(live.id, target="c", asked_by="person")
    with pytest.raises(NoPassiveRobotError, match=r"^no warm passive robot can take over from a$"):
        await live.store.switchover(live.id, asked_by="person")
    await live.store.declare_failed(live.id, "c", c.incarnation, reason="test", detected_by="test")
    with pytest.raises(ArgumentError, match=r"^c is not a passive member$"):
        await live.store.switchover(live.id, target="c", asked_by="person")


async def test_there_is_somebody_to_replace(group: Group) -> None:
    a = await group.arrive("a")
    await group.die("a")
    await group.store.declare_failed(group.id, "a", a.incarnation, reason="test", detected_by="test")
    with pytest.raises(NoActiveRobotError, match="the group has no active robot"):
        await group.store.switchover(group.id, asked_by="person")


async def test_a_suspended_group_says_so(live: Group) -> None:
    await live.store.ensure_group(KEY, GroupSettings(max_tokens=100, suspended=True))
    with pytest.raises(ArgumentError, match=f"^group {KEY.name} is suspended: resume it first$"):
        await live.store.switchover(live.id, asked_by="person")


async def test_it_is_done_in_mode_manual_and_of_a_dead_robot(live: Group) -> None:
    await live.store.ensure_group(KEY, GroupSettings(max_tokens=100, failover_mode=FailoverMode.MANUAL))
    await live.die("a")
    assert (await live.store.switchover(live.id, target="c", asked_by="person")).replaced == "a"
    assert await live.roles() == {"a": "passive", "b": "passive", "c": "active"}


async def test_what_a_person_moved_does_not_go_back(live: Group) -> None:
    settings = GroupSettings(max_tokens=100, failback=Failback.PREFERRED, failover_cooldown_ms=0)
    await live.store.ensure_group(KEY, settings)
    done = await live.store.switchover(live.id, asked_by="person")
    a = live.robots["a"]
    await a.session.beat("a", applied=done.revision, warm=True)
    await live.script("UPDATE robotgroups.presence SET steady_since = steady_since - interval '1 hour'")
    assert (await a.session.beat("a", applied=done.revision, warm=True)).role is Role.PASSIVE


async def test_a_robots_login_may_ask_in_its_own_group_only(live: Group) -> None:
    login = await live.store.ensure_login(live.id, "a-password")
    other = await live.store.ensure_group(GroupKey(KEY.cluster, KEY.namespace_uid, "another"), GroupSettings())
    async with await Store.open(robot_dsn(live.dsn, login, "a-password")) as robots:
        assert (await robots.switchover(live.id, asked_by="b")).promoted == "b"
        with pytest.raises(NotPermittedError):
            await robots.switchover(other, asked_by="b")
    assert await live.store.delete_group(other)
