"""Leases, watched on the observer's own clock."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from robotgroups.detection import Expired, LeaseWatch
from robotgroups.models import RobotStatus, Role

LEASE_S = 3.0
ONE, TWO = uuid4(), uuid4()


def robot(
    heartbeat: int, *, name: str = "a", incarnation: UUID | None = ONE, role: Role = Role.ACTIVE, live: bool = True
) -> RobotStatus:
    return RobotStatus(
        name=name,
        role=role,
        tenure=1,
        ordinal=0,
        live=live,
        warm=True,
        applied_revision=0,
        heartbeat=heartbeat,
        incarnation=incarnation,
        endpoint="",
    )


def test_a_counter_that_stands_still_for_a_lease_has_expired() -> None:
    watch = LeaseWatch()
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=100.0) == []
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=102.9) == []
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=103.5) == [Expired("a", ONE, 5, 3.5)]


def test_it_is_said_again_until_it_is_acted_upon() -> None:
    watch = LeaseWatch()
    watch.observe([robot(5)], lease_s=LEASE_S, now=0.0)
    assert len(watch.observe([robot(5)], lease_s=LEASE_S, now=3.0)) == 1
    assert len(watch.observe([robot(5)], lease_s=LEASE_S, now=4.0)) == 1
    assert watch.observe([], lease_s=LEASE_S, now=5.0) == []


def test_a_beat_or_a_new_incarnation_starts_the_lease_anew() -> None:
    watch = LeaseWatch()
    watch.observe([robot(5)], lease_s=LEASE_S, now=0.0)
    assert watch.observe([robot(6)], lease_s=LEASE_S, now=2.9) == []
    assert watch.observe([robot(6)], lease_s=LEASE_S, now=5.8) == []
    assert watch.observe([robot(6, incarnation=TWO)], lease_s=LEASE_S, now=5.9) == []
    assert watch.observe([robot(6, incarnation=TWO)], lease_s=LEASE_S, now=8.8) == []


def test_an_absence_between_two_readings_starts_the_lease_anew() -> None:
    watch = LeaseWatch()
    watch.observe([robot(5)], lease_s=LEASE_S, now=0.0)
    watch.observe([], lease_s=LEASE_S, now=1.0)
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=4.0) == []


def test_who_looks_again_after_half_a_lease_has_slept() -> None:
    watch = LeaseWatch()
    assert watch.look([robot(5)], lease_s=LEASE_S, now=0.0) == []
    assert watch.look([robot(5)], lease_s=LEASE_S, now=1.5) == []
    assert watch.look([robot(5)], lease_s=LEASE_S, now=3.5) == [], "it slept from 1.5 on"
    assert watch.look([robot(5)], lease_s=LEASE_S, now=5.0) == []
    assert watch.look([robot(5)], lease_s=LEASE_S, now=6.5) == [Expired("a", ONE, 5, 3.0)]


def test_the_next_expiry_is_that_of_the_oldest_beat() -> None:
    watch = LeaseWatch()
    assert watch.next_expiry == float("inf")
    watch.observe([robot(1), robot(1, name="b", incarnation=TWO)], lease_s=LEASE_S, now=1.0)
    watch.observe([robot(2), robot(1, name="b", incarnation=TWO)], lease_s=LEASE_S, now=2.0)
    assert watch.next_expiry == 4.0


def test_after_a_gap_of_its_own_the_observer_has_seen_nothing() -> None:
    watch = LeaseWatch()
    watch.observe([robot(5)], lease_s=LEASE_S, now=0.0)
    watch.forget()
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=60.0) == []


def test_who_was_never_here_has_no_lease() -> None:
    watch = LeaseWatch()
    absent = robot(0, incarnation=None, live=False)
    watch.observe([absent], lease_s=LEASE_S, now=0.0)
    assert watch.observe([absent], lease_s=LEASE_S, now=99.0) == []


def test_each_robot_has_its_own_lease() -> None:
    watch = LeaseWatch()
    watch.observe([robot(1), robot(1, name="b", incarnation=TWO)], lease_s=LEASE_S, now=0.0)
    found = watch.observe([robot(1), robot(2, name="b", incarnation=TWO)], lease_s=LEASE_S, now=3.0)
    assert [e.robot for e in found] == ["a"]


def test_a_lease_that_was_made_shorter_counts_from_when_it_is_seen() -> None:
    """The robot beats in its old rhythm until it hears of the new one: that is no failure."""
    watch = LeaseWatch()
    assert watch.observe([robot(5)], lease_s=30.0, now=0.0) == []
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=9.0) == []
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=11.9) == []
    assert watch.observe([robot(5)], lease_s=LEASE_S, now=12.0) == [Expired("a", ONE, 5, 3.0)]


def test_a_lease_that_was_made_longer_counts_on() -> None:
    watch = LeaseWatch()
    watch.observe([robot(5)], lease_s=LEASE_S, now=0.0)
    assert watch.observe([robot(5)], lease_s=30.0, now=29.9) == []
    assert watch.observe([robot(5)], lease_s=30.0, now=30.0) == [Expired("a", ONE, 5, 30.0)]


def test_who_hangs_right_after_it_registered_has_a_lease() -> None:
    watch = LeaseWatch()
    watch.observe([robot(1)], lease_s=LEASE_S, now=0.0)
    assert len(watch.observe([robot(1)], lease_s=LEASE_S, now=LEASE_S)) == 1


readings = st.lists(st.tuples(st.floats(0.01, 2.0), st.booleans()), min_size=1, max_size=40)


@given(readings)
def test_a_robot_is_expired_exactly_when_its_counter_stood_still_for_a_lease(
    steps: list[tuple[float, bool]],
) -> None:
    watch, now, heartbeat, since = LeaseWatch(), 0.0, 1, 0.0
    watch.observe([robot(heartbeat)], lease_s=LEASE_S, now=now)
    for pause, beats in steps:
        now += pause
        if beats:
            heartbeat, since = heartbeat + 1, now
        found = watch.observe([robot(heartbeat)], lease_s=LEASE_S, now=now)
        assert bool(found) == (now - since >= LEASE_S)


def test_when_it_was_last_seen_to_live() -> None:
    watch = LeaseWatch()
    watch.observe([robot(5)], lease_s=LEASE_S, now=100.0)
    watch.observe([robot(6)], lease_s=LEASE_S, now=100.5)
    watch.observe([robot(6)], lease_s=LEASE_S, now=101.0)
    assert watch.moved_at("a", ONE) == 100.5
    assert watch.moved_at("a", TWO) is None
    assert watch.moved_at("b", ONE) is None
