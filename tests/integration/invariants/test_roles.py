"""R1 epoch, R2 fence, R3 one promotion: attacked through SQL as robots, the operator and a person would use it."""

from uuid import uuid4

import anyio
import psycopg
import pytest

from robotgroups.errors import (
    AlreadyMemberError,
    ArgumentError,
    HostedElsewhereError,
    LastActiveRobotError,
    NoActiveRobotError,
    NoPassiveRobotError,
    NotActiveError,
    NotPermittedError,
    NotWarmError,
    UnknownRobotError,
)
from robotgroups.models import ChangeKind, FailoverMode, GroupSettings, Outcome, Role
from robotgroups.presence import PresenceSession
from robotgroups.store import Store, robot_dsn

from .conftest import KEY, Claim, Group, Words

pytestmark = pytest.mark.anyio
REST: Words = {"reason": "test", "detected_by": "test"}


# -- R1 ------------------------------------------------------------------------------------------------------------


async def test_r1_every_role_change_is_one_epoch_one_event_and_each_failover_one_row(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    dead = await group.die("a")
    verdict = await group.store.declare_failed(group.id, "a", dead.incarnation, **REST)
    assert (verdict.outcome, verdict.promoted, verdict.epoch, verdict.revision) == (Outcome.PROMOTED, "b", 2, 2)
    (failover,) = await group.store.failovers(group.id)
    assert (failover.kind, failover.source, failover.target, failover.epoch, failover.revision) == (
        "failover",
        "a",
        "b",
        2,
        2,
    )
    assert (failover.reason, failover.detected_by) == ("test", "test")
    assert failover.detected_at <= failover.promoted_at
    events = [c for c in await group.store.changes(group.id, 0) if c.kind is ChangeKind.ROLE]
    assert [(c.epoch, c.payload["from"], c.payload["to"]) for c in events] == [(1, None, None), (2, "a", "b")]
    assert {n: r["role"] for n, r in events[-1].payload["roles"].items()} == {
        "a": "failed",
        "b": "active",
        "c": "passive",
    }


async def test_r1_joins_promotions_and_leaves_raise_the_epoch_but_end_no_tenure(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    await group.store.join(group.id, "d", Role.PASSIVE)
    await group.store.promote(group.id, "b")
    await group.store.leave(group.id, "d")
    status = await group.store.status(group.id)
    assert status.epoch == 4
    assert (await group.robot("a")).tenure == a.registration.tenure == 1
    assert (await group.robot("b")).tenure == 3
    done = await group.store.remember(group.id, robot="a", tenure=1, content="still mine", tokens=1)
    assert done.epoch == 4


# -- R2 ------------------------------------------------------------------------------------------------------------


async def test_r2_a_replaced_robot_is_refused_and_told_the_active_ones(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    dead = await group.die("a")
    await group.store.declare_failed(group.id, "a", dead.incarnation, **REST)
    with pytest.raises(NotActiveError) as refused:
        await group.store.remember(group.id, robot="a", tenure=a.registration.tenure, content="too late", tokens=1)
    assert refused.value.active == ("b",)
    assert await group.sql("SELECT count(*) FROM robotgroups.memories") == [(0,)]


async def test_r2_a_tenure_of_the_past_does_not_count_even_when_the_robot_is_active_again(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    await group.die("a")
    await group.store.declare_failed(group.id, "a", a.incarnation, **REST)
    await group.arrive("a")
    await group.store.failover(group.id, "b", detected_by="test")
    now = await group.robot("a")
    assert (now.role, now.tenure > a.registration.tenure) == (Role.ACTIVE, True)
    with pytest.raises(NotActiveError):
        await group.store.remember(group.id, robot="a", tenure=a.registration.tenure, content="old", tokens=1)


async def test_r2_every_write_is_fenced(group: Group) -> None:
    await group.arrive("a")
    await group.remember("kept")
    stale: Claim = {"robot": "b", "tenure": 1}
    for attempt in (
        group.store.forget(group.id, **stale, memory_id=1),
        group.store.restore(group.id, **stale, memory_id=1),
        group.store.clear_working_memory(group.id, **stale),
        group.store.transfer_working_memory(group.id, **stale, source="a", target="b"),
    ):
        with pytest.raises(NotActiveError):
            await attempt
    assert (await group.store.status(group.id)).working_memory_nodes == 1


async def test_r2_a_write_that_waits_behind_the_failover_is_refused(group: Group) -> None:
    """The group's row is locked first, roles are read later: a statement that waited must see the new roles."""
    a = await group.arrive("a")
    await group.arrive("b")
    outcome: list[str] = []

    async def write() -> None:
        try:
            await group.store.remember(group.id, robot="a", tenure=a.registration.tenure, content="raced", tokens=1)
            outcome.append("acknowledged")
        except NotActiveError:
            outcome.append("refused")

    async with await psycopg.AsyncConnection.connect(group.dsn) as slow:
        await slow.execute("SELECT * FROM robotgroups.failover(%s, 'a', 'test')", (group.id,))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            with anyio.fail_after(5):
                while not await group.sql(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%remember%%'"
                ):
                    await anyio.sleep(0.01)
            await slow.commit()
    assert outcome == ["refused"]
    assert await group.sql("SELECT count(*) FROM robotgroups.memories") == [(0,)]


async def test_r2_a_robot_must_claim_a_tenure_only_the_owner_need_not(group: Group) -> None:
    await group.arrive("a")
    login = await group.store.ensure_login(group.id, "secret")
    async with await Store.open(robot_dsn(group.dsn, login, "secret")) as as_robot:
        with pytest.raises(NotPermittedError):
            await as_robot.remember(group.id, robot="a", tenure=None, content="unclaimed", tokens=1)
    done = await group.store.remember(group.id, robot=None, tenure=None, content="by the owner", tokens=1)
    assert (await group.store.memory(group.id, done.id)).originator == "a"


# -- R3 ------------------------------------------------------------------------------------------------------------


async def test_r3_many_detectors_one_promotion(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    await group.arrive("c")
    dead = await group.die("a")
    verdicts = []

    async def declare(n: int) -> None:
        verdicts.append(
            await group.store.declare_failed(group.id, "a", dead.incarnation, reason="seen", detected_by=f"d{n}")
        )

    async with anyio.create_task_group() as tasks:
        for n in range(16):
            tasks.start_soon(declare, n)
    assert sorted(v.outcome for v in verdicts) == [Outcome.PROMOTED] + [Outcome.STALE] * 15
    assert len(await group.store.failovers(group.id)) == 1
    assert await group.roles() == {"a": "failed", "b": "active", "c": "passive"}


async def test_r3_a_living_robot_cannot_be_declared_dead(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    verdict = await group.store.declare_failed(group.id, "a", a.incarnation, **REST)
    assert verdict.outcome is Outcome.ALIVE
    verdict = await group.store.declare_failed(group.id, "a", uuid4(), **REST)
    assert verdict.outcome is Outcome.STALE
    assert (await group.roles())["a"] == "active"


async def test_r3_an_expired_lease_is_proof_only_while_the_counter_stands_still(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    seen = (await group.robot("a")).heartbeat
    await a.session.beat("a", applied=1, warm=True)
    moved = await group.store.declare_failed(group.id, "a", a.incarnation, observed_heartbeat=seen, **REST)
    assert moved.outcome is Outcome.ALIVE
    still = await group.store.declare_failed(group.id, "a", a.incarnation, observed_heartbeat=seen + 1, **REST)
    assert (still.outcome, still.promoted) == (Outcome.PROMOTED, "b")
    # its session was ended with it: a stopped process that wakes up has none
    assert await group.session_ends(a)


async def test_the_dead_mans_return_promotes_the_warm_passive(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    await group.die("a")
    back = await group.arrive("a")
    assert (back.registration.role, back.registration.tenure) == (Role.PASSIVE, 0)
    (failover,) = await group.store.failovers(group.id)
    assert (failover.source, failover.target, failover.reason) == ("a", "b", "restarted without handing over")
    late = await group.store.declare_failed(group.id, "a", uuid4(), **REST)
    assert late.outcome is Outcome.STALE


async def test_a_reconnect_of_the_same_process_is_no_return(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    await a.session.close()
    again = await group.arrive("a", incarnation=a.incarnation)
    assert (again.registration.role, again.registration.tenure) == (Role.ACTIVE, a.registration.tenure)
    assert await group.store.failovers(group.id) == []


async def test_without_a_warm_passive_the_restarted_robot_takes_its_role_back_under_a_new_tenure(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b", warm=False)
    await group.die("a")
    verdict = await group.store.declare_failed(group.id, "a", a.incarnation, **REST)
    assert (verdict.outcome, verdict.promoted) == (Outcome.VACANT, None)
    with pytest.raises(NoActiveRobotError):
        await group.store.remember(group.id, robot=None, tenure=None, content="to nobody", tokens=1)
    back = await group.arrive("a")
    assert (back.registration.role, back.registration.tenure) == (Role.ACTIVE, 3)


async def test_m6_a_vacancy_is_filled_by_the_first_passive_that_gets_warm(group: Group) -> None:
    a = await group.arrive("a")
    b = await group.arrive("b", warm=False)
    await group.die("a")
    await group.store.declare_failed(group.id, "a", a.incarnation, **REST)
    beat = await b.session.beat("b", applied=2, warm=True)
    assert (beat.role, beat.tenure) == (Role.ACTIVE, 3)
    (failover,) = await group.store.failovers(group.id)
    assert (failover.source, failover.target, failover.reason) == ("a", "b", "test")
    assert (await group.arrive("a")).registration.role is Role.PASSIVE


async def test_the_passive_with_the_highest_revision_then_the_declared_order_is_promoted(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.arrive(name)
    await group.remember("one")
    await group.robots["c"].session.beat("c", applied=2, warm=True)
    dead = await group.die("a")
    assert (await group.store.declare_failed(group.id, "a", dead.incarnation, **REST)).promoted == "c"


async def test_a_dead_passive_is_failed_and_comes_back_passive(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    dead = await group.die("b")
    assert (await group.store.declare_failed(group.id, "b", dead.incarnation, **REST)).outcome is Outcome.FAILED
    assert await group.roles() == {"a": "active", "b": "failed", "c": "passive"}
    assert (await group.arrive("b")).registration.role is Role.PASSIVE


async def test_suspended_and_manual_groups_change_no_role_by_themselves(group: Group) -> None:
    await group.arrive("a")
    await group.arrive("b")
    await group.store.ensure_group(KEY, GroupSettings(suspended=True))
    dead = await group.die("a")
    assert (await group.store.declare_failed(group.id, "a", dead.incarnation, **REST)).outcome is Outcome.SUSPENDED
    await group.store.ensure_group(KEY, GroupSettings(failover_mode=FailoverMode.MANUAL))
    assert (await group.store.declare_failed(group.id, "a", dead.incarnation, **REST)).outcome is Outcome.MANUAL
    assert (await group.roles())["a"] == "active"
    assert (await group.store.failover(group.id, detected_by="person")).promoted == "b"


async def test_who_has_withdrawn_has_a_lease_to_come_back(group: Group) -> None:
    a = await group.arrive("a")
    await group.arrive("b")
    assert await a.session.withdraw("a") is True
    verdict = await group.store.declare_failed(group.id, "a", a.incarnation, **REST)
    assert verdict.outcome is Outcome.GRACE
    assert (await group.roles())["a"] == "active"


async def test_hand_over_is_a_switchover_and_nobody_hands_over_to_who_is_leaving(group: Group) -> None:
    a = await group.arrive("a")
    b = await group.arrive("b")
    assert await group.store.hand_over(group.id, "a", a.incarnation, "SIGTERM") == "b"
    assert await group.store.hand_over(group.id, "b", b.incarnation, "SIGTERM") is None
    assert await group.roles() == {"a": "passive", "b": "active", "c": "passive"}
    (row,) = await group.store.failovers(group.id)
    assert (row.kind, row.source, row.target, row.reason) == ("switchover", "a", "b", "SIGTERM")


async def test_a_robot_hosted_elsewhere_is_refused_unless_it_is_to_be_replaced(group: Group) -> None:
    first = await group.arrive("b")
    async with await PresenceSession.open(group.dsn, group.id, uuid4()) as other:
        with pytest.raises(HostedElsewhereError, match="http://b:8080"):
            await other.register("b", "http://other:8080", replace=False)
    await group.arrive("b", replace=True)
    assert await group.session_ends(first)


async def test_requests_that_roles_do_not_allow(group: Group) -> None:
    await group.arrive("a")
    with pytest.raises(NoPassiveRobotError):
        await group.store.failover(group.id, detected_by="test")
    with pytest.raises(LastActiveRobotError):
        await group.store.demote(group.id, "a")
    with pytest.raises(NotWarmError):
        await group.store.promote(group.id, "b")
    with pytest.raises(ArgumentError, match="a is not a passive member"):
        await group.store.promote(group.id, "a")
    with pytest.raises(AlreadyMemberError, match="b is already a member"):
        await group.store.join(group.id, "b", Role.ACTIVE)
    with pytest.raises(UnknownRobotError):
        await group.store.remember(group.id, robot="a", tenure=1, content="x", tokens=1, originator="stranger")
    assert await group.store.leave(group.id, "stranger") is False


async def test_editing_the_declaration_moves_only_what_it_changes(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.arrive(name)
    await group.store.failover(group.id, detected_by="test")
    assert await group.roles() == {"a": "failed", "b": "active", "c": "passive"}
    change = await group.store.reconcile_members(group.id, ["a", "d"], ["b", "c"])
    assert (change.joined, change.left, change.moved) == (("d",), (), ())
    assert await group.roles() == {"a": "failed", "d": "active", "b": "active", "c": "passive"}
    change = await group.store.reconcile_members(group.id, ["d"], ["b", "c"])
    assert (change.left, change.moved) == (("a",), ("b",))
    assert await group.roles() == {"d": "active", "b": "passive", "c": "passive"}
    assert await group.store.reconcile_members(group.id, ["d"], ["b", "c"]) == type(change)((), (), ())


async def test_a_vacancy_outlives_the_robot_that_left_it(group: Group) -> None:
    a = await group.arrive("a")
    b = await group.arrive("b", warm=False)
    await group.die("a")
    await group.store.declare_failed(group.id, "a", a.incarnation, **REST)
    assert await group.store.leave(group.id, "a") is True
    assert (await b.session.beat("b", applied=3, warm=True)).role is Role.ACTIVE


async def test_the_place_of_an_active_robot_goes_with_it(group: Group) -> None:
    await group.arrive("a")
    b = await group.arrive("b")
    assert await group.store.leave(group.id, "a") is True
    assert (await b.session.beat("b", applied=2, warm=True)).role is Role.PASSIVE
    with pytest.raises(NoActiveRobotError):
        await group.store.remember(group.id, robot=None, tenure=None, content="to nobody", tokens=1)


# -- who is here ---------------------------------------------------------------------------------------------------


async def test_who_hangs_right_after_it_registered_can_be_declared_failed(group: Group) -> None:
    """To register is the first beat: a counter of 0, which is also nobody's, had no lease."""
    await group.arrive("b")
    async with await PresenceSession.open(group.dsn, group.id, incarnation := uuid4()) as session:
        await session.register("a", "", replace=False)
        assert (await group.robot("a")).heartbeat == 1
        verdict = await group.store.declare_failed(group.id, "a", incarnation, observed_heartbeat=1, **REST)
    assert (verdict.outcome, verdict.promoted) == (Outcome.PROMOTED, "b")


async def hang(group: Group, name: str) -> None:
    """As SIGSTOP does: its session stands, and its last heartbeat is longer ago than a lease."""
    await group.sql("UPDATE robotgroups.presence SET heartbeat_at = now() - interval '1 hour' WHERE robot = %s", name)


async def test_a_requested_failover_replaces_who_hangs_first(group: Group) -> None:
    await group.store.reconcile_members(group.id, ["a", "b"], ["c"])
    for name in ("a", "b", "c"):
        await group.arrive(name)
    await hang(group, "b")
    done = await group.store.failover(group.id, detected_by="test")
    assert (done.failed, done.promoted) == ("b", "c")


async def test_who_hangs_is_not_promoted(group: Group) -> None:
    for name in ("a", "b", "c"):
        await group.arrive(name)
    await hang(group, "b")
    with pytest.raises(NotWarmError, match="b is not warm"):
        await group.store.promote(group.id, "b")
    assert (await group.store.failover(group.id, detected_by="test")).promoted == "c"


async def test_a_heartbeat_tells_the_groups_lease(group: Group) -> None:
    a = await group.arrive("a")
    await group.store.ensure_group(KEY, GroupSettings(heartbeat_ms=200, lease_ms=900))
    beat = await a.session.beat("a", applied=1, warm=True)
    assert (beat.heartbeat_ms, beat.lease_ms, beat.max_tokens) == (200, 900, 100)


async def test_presence_goes_with_its_group(group: Group) -> None:
    await group.arrive("a")
    assert await group.store.delete_group(group.id) is True
    assert await group.sql("SELECT robot FROM robotgroups.presence") == []
