"""The policy of failover: delay, cooldown, failback, and many that fail at once (docs/failover.md, "Policy")."""

from uuid import UUID

import pytest

from robotgroups.errors import NotActiveError
from robotgroups.models import Failback, FailoverMode, GroupSettings, Outcome, Role, Verdict

from .conftest import KEY, Group, Words

pytestmark = pytest.mark.anyio
REST: Words = {"reason": "test", "detected_by": "test"}
LEASE_S = 3
PASS = """
UPDATE robotgroups.robots SET suspected_at = suspected_at - {0}, displaced_at = displaced_at - {0},
    failed_at = failed_at - {0}, joined_at = joined_at - {0}, withdrawn_at = withdrawn_at - {0},
    failures = ARRAY(SELECT f - {0} FROM unnest(failures) f);
UPDATE robotgroups.presence SET registered_at = registered_at - {0}, steady_since = steady_since - {0};
UPDATE robotgroups.failovers SET detected_at = detected_at - {0}, promoted_at = promoted_at - {0};
"""


async def settle(group: Group, **settings: object) -> None:
    await group.store.ensure_group(KEY, GroupSettings(**settings))  # type: ignore[arg-type]


async def time_passes(group: Group, seconds: float) -> None:
    """All that the group remembers a time of was so many seconds earlier; heartbeats are as they are."""
    await group.script(PASS.format(f"interval '{seconds} s'"))


async def declare(group: Group, name: str, incarnation: UUID, heartbeat: int | None = None) -> Verdict:
    return await group.store.declare_failed(group.id, name, incarnation, observed_heartbeat=heartbeat, **REST)


async def crash(group: Group, name: str) -> Verdict:
    """Dies, and is declared failed."""
    return await declare(group, name, (await group.die(name)).incarnation)


async def crash_and_return(group: Group, name: str, times: int = 1) -> None:
    for _ in range(times):
        await crash(group, name)
        await group.arrive(name)


async def beat(group: Group, name: str) -> Role | None:
    """A warm heartbeat of a robot that is in sync."""
    revision = (await group.store.status(group.id)).revision
    return (await group.robots[name].session.beat(name, applied=revision, warm=True)).role


# -- delay -----------------------------------------------------------------------------------------------------------


async def test_a_restart_in_place_within_the_delay_keeps_the_role_under_a_new_tenure(group: Group) -> None:
    await settle(group, failover_delay_ms=60_000)
    first = await group.arrive("a")
    await group.arrive("b")
    verdict = await crash(group, "a")
    assert (verdict.outcome, verdict.promoted, verdict.epoch) == (Outcome.DELAYED, None, 1)
    assert verdict.reason.startswith("failover.delay gives it until ")
    assert verdict.retry_ms is not None
    assert 50_000 < verdict.retry_ms <= 60_000
    back = await group.arrive("a")
    assert (back.registration.role, back.registration.tenure) == (Role.ACTIVE, 2)
    assert (await declare(group, "a", first.incarnation)).outcome is Outcome.STALE
    assert await group.store.failovers(group.id) == []
    with pytest.raises(NotActiveError):
        await group.store.remember(group.id, robot="a", tenure=1, content="of the dead one", tokens=1)


async def test_who_is_dead_for_the_delay_is_replaced_and_the_record_counts_from_when_it_was_seen(group: Group) -> None:
    await settle(group, failover_delay_ms=60_000)
    await group.arrive("a")
    await group.arrive("b")
    dead = await group.die("a")
    assert (await declare(group, "a", dead.incarnation)).outcome is Outcome.DELAYED
    await time_passes(group, 59)
    assert (await declare(group, "a", dead.incarnation)).outcome is Outcome.DELAYED
    await time_passes(group, 1)
    verdict = await declare(group, "a", dead.incarnation)
    assert (verdict.outcome, verdict.promoted, verdict.retry_ms) == (Outcome.PROMOTED, "b", None)
    (failover,) = await group.store.failovers(group.id)
    assert 60_000 <= failover.duration_ms < 70_000


async def test_a_restart_after_the_delay_is_a_dead_mans_return(group: Group) -> None:
    await settle(group, failover_delay_ms=60_000)
    await group.arrive("a")
    await group.arrive("b")
    await crash(group, "a")
    await time_passes(group, 60)
    assert (await group.arrive("a")).registration.role is Role.PASSIVE
    assert await group.roles() == {"a": "passive", "b": "active", "c": "passive"}


async def test_who_woke_up_within_the_delay_has_all_of_it_the_next_time(group: Group) -> None:
    await settle(group, failover_delay_ms=60_000)
    a = await group.arrive("a")
    await group.arrive("b")
    heartbeat = (await group.robot("a")).heartbeat
    assert (await declare(group, "a", a.incarnation, heartbeat)).outcome is Outcome.DELAYED
    await beat(group, "a")
    await time_passes(group, 3600)
    assert (await declare(group, "a", a.incarnation, heartbeat)).outcome is Outcome.ALIVE
    verdict = await crash(group, "a")
    assert (verdict.outcome, (verdict.retry_ms or 0) > 50_000) == (Outcome.DELAYED, True)


async def test_the_delay_is_for_active_robots(group: Group) -> None:
    await settle(group, failover_delay_ms=60_000)
    await group.arrive("a")
    await group.arrive("b")
    assert (await crash(group, "b")).outcome is Outcome.FAILED


async def test_who_withdrew_has_a_lease_or_the_delay_whatever_is_longer(group: Group) -> None:
    await settle(group, failover_delay_ms=3_600_000, heartbeat_ms=100, lease_ms=300)
    a = await group.arrive("a")
    await group.arrive("b")
    await a.session.withdraw("a")
    await time_passes(group, 1)
    verdict = await declare(group, "a", a.incarnation)
    assert (verdict.outcome, verdict.reason[:30]) == (Outcome.DELAYED, "failover.delay gives it until ")
    await settle(group, failover_delay_ms=100, lease_ms=3_600_000)
    verdict = await declare(group, "a", a.incarnation)
    assert (verdict.outcome, (verdict.retry_ms or 0) > 3_000_000) == (Outcome.GRACE, True)


# -- cooldown --------------------------------------------------------------------------------------------------------


async def test_who_failed_within_the_cooldown_is_promoted_last(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.arrive(name)
    await crash_and_return(group, "b")
    await beat(group, "b")  # it has applied more than c
    assert (await crash(group, "a")).promoted == "c"


async def test_after_the_cooldown_the_highest_revision_counts_again(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.arrive(name)
    await crash_and_return(group, "b")
    await beat(group, "b")
    await time_passes(group, 31)
    assert (await crash(group, "a")).promoted == "b"


async def test_who_failed_within_the_cooldown_is_promoted_when_there_is_nobody_else(group: Group) -> None:
    """A group is not left without an active robot for the sake of quiet."""
    await group.arrive("a")
    await group.arrive("b")
    await crash_and_return(group, "b", 2)
    assert (await crash(group, "a")).promoted == "b"


async def test_who_keeps_crashing_is_promoted_only_when_it_has_stood_for_a_lease(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    await crash_and_return(group, "b", 3)
    verdict = await crash(group, "a")
    assert (verdict.outcome, verdict.reason) == (
        Outcome.VACANT,
        "b keeps crashing and has to stand for a lease first; test",
    )
    assert await beat(group, "b") is Role.PASSIVE
    await group.sql(f"UPDATE robotgroups.presence SET registered_at = registered_at - interval '{LEASE_S} s'")
    assert await beat(group, "b") is Role.ACTIVE
    (failover,) = await group.store.failovers(group.id)
    assert (failover.source, failover.target, failover.reason) == ("a", "b", "test")


async def test_somebody_who_does_not_keep_crashing_fills_the_place_at_once(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    await crash_and_return(group, "b", 3)
    await crash(group, "a")
    await group.arrive("c")
    assert await group.roles() == {"a": "failed", "b": "passive", "c": "active"}


async def test_three_failures_that_lie_further_apart_than_a_cooldown_are_no_crash_loop(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    await crash_and_return(group, "b", 2)
    await time_passes(group, 31)
    await crash_and_return(group, "b")
    assert (await crash(group, "a")).promoted == "b"


async def test_a_cooldown_without_a_failure_ends_a_crash_loop(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    await crash_and_return(group, "b", 5)
    await time_passes(group, 31)
    await group.sql("UPDATE robotgroups.presence SET registered_at = now()")
    assert (await crash(group, "a")).promoted == "b"


async def test_restarts_that_nobody_saw_count_as_failures_and_the_fourth_has_no_delay(group: Group) -> None:
    await settle(group, failover_delay_ms=60_000)
    await group.arrive("a")
    await group.arrive("b")
    for tenure in (2, 3):
        await group.die("a")
        back = await group.arrive("a")
        assert (back.registration.role, back.registration.tenure) == (Role.ACTIVE, tenure)
    await group.die("a")
    assert (await group.arrive("a")).registration.role is Role.PASSIVE  # the third death within a cooldown
    assert await group.roles() == {"a": "passive", "b": "active", "c": "passive"}


async def test_without_a_cooldown_nothing_is_held_against_a_robot(group: Group) -> None:
    await settle(group, failover_cooldown_ms=0)
    for name in ("a", "b", "c"):
        await group.arrive(name)
    await crash_and_return(group, "b", 4)
    await beat(group, "b")
    assert (await crash(group, "a")).promoted == "b"


async def test_what_a_person_asks_for_is_done_and_held_against_nobody(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    await crash_and_return(group, "b", 3)
    assert await group.store.hand_over(group.id, "a", a.incarnation, "SIGTERM") == "b"
    await beat(group, "a")
    assert (await group.store.failover(group.id, detected_by="person")).promoted == "a"
    assert await group.sql("SELECT cardinality(failures) FROM robotgroups.robots ORDER BY name") == [(0,), (3,), (0,)]


# -- failback --------------------------------------------------------------------------------------------------------


async def displaced(group: Group, **settings: object) -> None:
    """A died and is back; b has its place."""
    await settle(group, **{"failback": Failback.PREFERRED} | settings)
    await group.arrive("a")
    await group.arrive("b")
    await crash_and_return(group, "a")
    assert await group.roles() == {"a": "passive", "b": "active", "c": "passive"}
    await beat(group, "a")


async def test_the_declared_robot_gets_its_place_back_by_a_switchover(group: Group) -> None:
    await displaced(group)
    tenure = (await group.robot("b")).tenure
    await time_passes(group, 30)
    assert await beat(group, "a") is Role.ACTIVE
    assert await group.roles() == {"a": "active", "b": "passive", "c": "passive"}
    row = (await group.store.failovers(group.id))[0]
    assert (row.kind, row.source, row.target, row.reason, row.detected_by) == ("switchover", "b", "a", "failback", "a")
    with pytest.raises(NotActiveError) as refused:
        await group.store.remember(group.id, robot="b", tenure=tenure, content="too late", tokens=1)
    assert refused.value.active == ("a",)
    await time_passes(group, 300)
    assert await beat(group, "a") is Role.ACTIVE
    assert len(await group.store.failovers(group.id)) == 2


async def test_a_place_goes_back_after_a_cooldown_and_a_lease_in_sync(group: Group) -> None:
    await displaced(group)
    await time_passes(group, 28)
    assert await beat(group, "a") is Role.PASSIVE
    await time_passes(group, 3)
    await group.sql("UPDATE robotgroups.presence SET steady_since = now()")
    assert await beat(group, "a") is Role.PASSIVE
    behind = await group.robots["a"].session.beat("a", applied=1, warm=True)
    assert behind.role is Role.PASSIVE
    await time_passes(group, LEASE_S)
    assert await beat(group, "a") is Role.PASSIVE  # it was behind: its lease in sync begins now
    await time_passes(group, LEASE_S)
    assert await beat(group, "a") is Role.ACTIVE


async def test_a_cooldown_of_nothing_leaves_the_lease(group: Group) -> None:
    await displaced(group, failover_cooldown_ms=0)
    assert await beat(group, "a") is Role.PASSIVE
    await time_passes(group, LEASE_S)
    assert await beat(group, "a") is Role.ACTIVE


@pytest.mark.parametrize(
    "settings", [{"failback": Failback.NEVER}, {"failover_mode": FailoverMode.MANUAL}, {"suspended": True}]
)
async def test_nothing_goes_back_unless_that_is_wanted(group: Group, settings: dict[str, object]) -> None:
    await displaced(group)
    await settle(group, **{"failback": Failback.PREFERRED} | settings)
    await time_passes(group, 300)
    assert await beat(group, "a") is Role.PASSIVE


async def test_who_was_demoted_on_request_stays_so(group: Group) -> None:
    await settle(group, failback=Failback.PREFERRED)
    await group.arrive("a")
    await group.arrive("b")
    await group.store.promote(group.id, "b")
    await group.store.demote(group.id, "a")
    await beat(group, "a")
    await time_passes(group, 300)
    assert await beat(group, "a") is Role.PASSIVE


async def test_who_handed_over_to_stop_gets_its_place_back_when_it_has_restarted(group: Group) -> None:
    await settle(group, failback=Failback.PREFERRED, failover_cooldown_ms=0)
    a = await group.arrive("a")
    await group.arrive("b")
    assert await group.store.hand_over(group.id, "a", a.incarnation, "SIGTERM") == "b"
    await a.session.withdraw("a")
    await a.session.close()
    await group.arrive("a")
    await beat(group, "a")
    await time_passes(group, LEASE_S)
    assert await beat(group, "a") is Role.ACTIVE


async def test_a_robot_that_is_declared_passive_takes_no_place_back(group: Group) -> None:
    await displaced(group)
    await time_passes(group, 30)
    assert await beat(group, "b") is Role.ACTIVE
    assert await beat(group, "a") is Role.ACTIVE
    await time_passes(group, 300)
    assert await beat(group, "b") is Role.PASSIVE


# -- many at once ----------------------------------------------------------------------------------------------------


async def test_two_actives_and_a_passive_die_at_once_and_each_is_replaced_once(group: Group) -> None:
    await group.store.reconcile_members(group.id, ["a", "b"], ["c", "d", "e"])
    for name in ("a", "b", "c", "d", "e"):
        await group.arrive(name)
    dead = {name: (await group.die(name)).incarnation for name in ("a", "b", "c")}
    outcomes = [(await declare(group, name, dead[name])).outcome for name in ("a", "b", "c", "a", "b", "c")]
    assert outcomes == [Outcome.PROMOTED, Outcome.PROMOTED, Outcome.FAILED, *[Outcome.STALE] * 3]
    assert await group.roles() == {"a": "failed", "b": "failed", "c": "failed", "d": "active", "e": "active"}
    rows = [(f.source, f.target) for f in reversed(await group.store.failovers(group.id))]
    assert rows == [("a", "d"), ("b", "e")]


async def test_two_places_and_one_standby_leave_a_vacancy_that_the_first_to_return_fills(group: Group) -> None:
    await group.store.reconcile_members(group.id, ["a", "b"], ["c"])
    for name in ("a", "b", "c"):
        await group.arrive(name)
    dead = {name: (await group.die(name)).incarnation for name in ("a", "b")}
    assert (await declare(group, "a", dead["a"])).promoted == "c"
    assert (await declare(group, "b", dead["b"])).outcome is Outcome.VACANT
    assert (await group.arrive("b")).registration.role is Role.ACTIVE
    assert (await group.arrive("a")).registration.role is Role.PASSIVE
    assert await group.roles() == {"a": "passive", "b": "active", "c": "active"}


async def test_everybody_dies_and_the_first_to_return_serves(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.arrive(name)
    dead = {name: (await group.die(name)).incarnation for name in ("a", "b", "c")}
    outcomes = [(await declare(group, name, incarnation)).outcome for name, incarnation in dead.items()]
    assert outcomes == [Outcome.VACANT, Outcome.FAILED, Outcome.FAILED]
    assert (await group.arrive("c")).registration.role is Role.ACTIVE
    assert (await group.arrive("a")).registration.role is Role.PASSIVE


async def test_the_last_robot_takes_its_own_role_back_however_often_it_crashes(group: Group) -> None:
    await group.store.reconcile_members(group.id, ["a"], [])
    await group.arrive("a")
    for _ in range(5):
        verdict = await crash(group, "a")
        back = await group.arrive("a")
        assert verdict.outcome is Outcome.VACANT
        assert (back.registration.role, back.registration.tenure) == (Role.ACTIVE, verdict.epoch + 1)
