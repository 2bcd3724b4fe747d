"""Whom a robot declares dead, and when it says so again."""

import itertools
from uuid import uuid4

from robotgroups.detection import Expired
from robotgroups.models import Outcome, Peer
from robotgroups.suspects import LATER_S, RINGS_FOR_S, Suspect, Suspects

ONE, TWO = uuid4(), uuid4()
A = Peer("a", ONE, 7, "10.0.0.1:8079")
RUNG = Suspect("a", ONE, None, "its doorbell fell silent")
STOOD = Suspect("a", ONE, 7, "its heartbeat stood still for 3.2 s")


def rung(*, held: bool = True) -> Suspects:
    suspects = Suspects()
    suspects.rang(A, held=held, now=100.0)
    return suspects


def test_a_ring_is_declared_at_once() -> None:
    suspects = rung()
    assert suspects.next_due == 100.0
    assert suspects.due(100.0) == [RUNG]


def test_while_postgres_still_sees_the_session_it_is_asked_again_ever_more_slowly() -> None:
    suspects, now, asked = rung(), 100.0, []
    while suspects.next_due < float("inf"):
        now = suspects.next_due
        asked.append(round(now - 100.0, 3))
        (suspect,) = suspects.due(now)
        suspects.answered(suspect, Outcome.ALIVE, now)
    assert asked[:7] == [0.0, 0.002, 0.006, 0.014, 0.03, 0.062, 0.126]
    assert asked[-1] >= RINGS_FOR_S, "then the doorbell broke by itself"
    assert max(later - earlier for earlier, later in itertools.pairwise(asked)) < 0.11


def test_a_doorbell_that_cannot_be_reached_is_said_once() -> None:
    suspects = rung(held=False)
    assert suspects.due(100.0) == [RUNG]
    assert suspects.answered(RUNG, Outcome.ALIVE, 100.0)
    assert suspects.next_due == float("inf")


def test_what_is_decided_is_settled() -> None:
    for outcome in (Outcome.PROMOTED, Outcome.VACANT, Outcome.FAILED, Outcome.STALE):
        suspects = rung()
        assert suspects.answered(RUNG, outcome, 100.0)
        assert suspects.due(200.0) == []


def test_where_nobody_fails_over_a_ring_is_forgotten() -> None:
    for outcome in (Outcome.MANUAL, Outcome.SUSPENDED):
        suspects = rung()
        assert suspects.answered(RUNG, outcome, 100.0)
        assert suspects.due(200.0) == []


def test_who_has_time_to_return_is_declared_again_later() -> None:
    suspects = rung()
    assert not suspects.answered(RUNG, Outcome.GRACE, 100.0)
    assert suspects.next_due == 100.0 + LATER_S
    suspects.answered(RUNG, Outcome.DELAYED, 101.0, retry_s=2.5)
    assert suspects.next_due == 103.5, "as Postgres says"


def test_a_busy_group_is_asked_again() -> None:
    suspects = rung()
    assert not suspects.answered(RUNG, None, 100.0)
    assert suspects.next_due == 100.002


def test_an_expired_lease_is_declared_with_its_counter() -> None:
    suspects = Suspects()
    suspects.expired([Expired("a", ONE, 7, 3.2)], 50.0)
    assert suspects.due(50.0) == [STOOD]
    suspects.answered(STOOD, Outcome.ALIVE, 50.0)
    assert suspects.due(50.0) == []
    assert suspects.due(50.002) == [STOOD], "as long as the counter stands still"


def test_a_lease_takes_the_place_of_a_ring_and_ends_with_a_beat() -> None:
    suspects = rung()
    suspects.expired([Expired("a", ONE, 7, 3.2)], 103.0)
    assert suspects.due(103.0) == [STOOD]
    suspects.expired([], 103.5)
    assert suspects.due(104.0) == []


def test_a_beat_does_not_end_a_ring() -> None:
    suspects = rung()
    suspects.expired([], 100.0)
    assert suspects.due(100.0) == [RUNG]


def test_who_is_gone_or_there_anew_is_no_suspect() -> None:
    for present in ([], [Peer("a", TWO, 1, "")]):
        suspects = rung()
        suspects.keep(present)
        assert suspects.due(200.0) == []
    suspects = rung()
    suspects.keep([A])
    assert suspects.due(100.0) == [RUNG]


def test_a_late_answer_of_another_case_changes_nothing() -> None:
    suspects = rung()
    suspects.answered(STOOD, Outcome.PROMOTED, 100.0)
    assert suspects.due(100.0) == [RUNG]
