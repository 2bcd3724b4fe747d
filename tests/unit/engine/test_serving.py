"""Self-fencing: a robot stops serving before anybody may replace it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from robotgroups.serving import Serving, Standing, may_serve


def standing(*, registered: bool = True, warm: bool = True, renewed_at: float = 100.0, trouble: str = "") -> Standing:
    return Standing(
        registered=registered, warm=warm, renewed_at=renewed_at, lease_s=3.0, heartbeat_s=0.5, trouble=trouble
    )


def test_warm_and_renewed_serves() -> None:
    assert may_serve(standing(), now=102.4) == Serving(True)


@pytest.mark.parametrize(
    ("state", "now", "reason"),
    [
        (standing(registered=False), 100.0, "it has not registered yet"),
        (standing(registered=False, trouble="Postgres is not available"), 100.0, "Postgres is not available"),
        (standing(warm=False), 100.0, "its cache has not caught up with the group yet"),
        (standing(), 102.5, "its heartbeat was last renewed 2.5 s ago, it stops after 2.5 s"),
        (
            standing(trouble="connection refused"),
            103.0,
            "its heartbeat was last renewed 3.0 s ago, it stops after 2.5 s: connection refused",
        ),
    ],
)
def test_it_refuses_and_says_why(state: Standing, now: float, reason: str) -> None:
    assert may_serve(state, now) == Serving(False, reason)


@given(
    sent=st.floats(0, 1000),
    delay=st.floats(0, 10),
    now=st.floats(0, 2000),
    heartbeat=st.floats(0.01, 5),
    beats=st.floats(3, 20),
)
def test_it_has_stopped_before_an_observer_may_declare_it_failed(
    sent: float, delay: float, now: float, heartbeat: float, beats: float
) -> None:
    """The observer sees the counter of a beat no earlier than it was sent, and waits for a lease from there."""
    assume(now >= sent)
    lease = heartbeat * beats
    declared_at = sent + delay + lease
    state = Standing(registered=True, warm=True, renewed_at=sent, lease_s=lease, heartbeat_s=heartbeat)
    if may_serve(state, now).ok:
        assert now < declared_at
