"""The circuit breaker: who may ask when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups.breaker import Breaker

PAUSE = 10.0


def opened(threshold: int = 3, at: float = 0.0) -> Breaker:
    breaker = Breaker(threshold, PAUSE)
    assert [breaker.failed(at) for _ in range(threshold)] == [False] * (threshold - 1) + [True]
    return breaker


def test_failures_in_a_row_open_it_for_a_pause() -> None:
    breaker = opened(at=100.0)
    assert breaker.admit(100.0) == 10.0
    assert breaker.admit(107.5) == 2.5
    assert breaker.admit(110.0) == 0.0


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(2, PAUSE)
    for now in range(10):
        assert breaker.failed(now) is False
        breaker.succeeded()
    assert breaker.admit(10.0) == 0.0


def test_after_the_pause_one_may_try() -> None:
    breaker = opened()
    assert [breaker.admit(10.0) for _ in range(3)] == [0.0, 10.0, 10.0]


def test_a_trial_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.admit(10.0)
    breaker.succeeded()
    assert [breaker.admit(11.0) for _ in range(3)] == [0.0] * 3
    assert breaker.failed(12.0) is False


def test_a_trial_that_fails_opens_it_for_another_pause() -> None:
    breaker = opened()
    breaker.admit(10.0)
    assert breaker.failed(14.0) is True
    assert breaker.admit(15.0) == 9.0


def test_a_trial_whose_outcome_is_never_told_blocks_nobody_for_good() -> None:
    breaker = opened()
    assert breaker.admit(10.0) == 0.0
    assert breaker.admit(20.0) == 0.0


@settings(max_examples=500)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "good", "bad"]), st.integers(0, 60)), max_size=60),
)
def test_while_open_at_most_one_is_admitted_per_pause(threshold: int, steps: list[tuple[str, int]]) -> None:
    breaker = Breaker(threshold, PAUSE)
    now, in_a_row, last_admitted = 0.0, 0, None
    for what, later in steps:
        now += later / 4  # exact, unlike most floats
        if what == "ask":
            wait = breaker.admit(now)
            assert 0.0 <= wait <= PAUSE
            if in_a_row < threshold:
                assert wait == 0.0
            elif wait == 0.0:
                assert last_admitted is None or now - last_admitted >= PAUSE
                last_admitted = now
        elif what == "good":
            breaker.succeeded()
            in_a_row, last_admitted = 0, None
        else:
            in_a_row += 1
            assert breaker.failed(now) is (in_a_row >= threshold)


@pytest.mark.parametrize("threshold", [1, 5])
def test_the_threshold_is_exact(threshold: int) -> None:
    breaker = Breaker(threshold, PAUSE)
    for _ in range(threshold - 1):
        breaker.failed(0.0)
        assert breaker.admit(0.0) == 0.0
    breaker.failed(0.0)
    assert breaker.admit(0.0) == PAUSE
