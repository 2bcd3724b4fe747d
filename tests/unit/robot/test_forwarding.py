import pytest

from robotgroups.models import Role
from robotgroups_robot.forwarding import (
    FORWARDED_PATIENCE_S,
    NOT_SERVING_PATIENCE_S,
    PATIENCE_S,
    Answer,
    Step,
    judge,
    next_step,
)

LATE = 1000.0


@pytest.mark.parametrize(
    ("role", "serving", "forwarded", "waited", "step"),
    [
        (Role.ACTIVE, True, False, 0.0, Step.LOCAL),
        (Role.ACTIVE, True, True, LATE, Step.LOCAL),
        (Role.ACTIVE, False, False, 0.0, Step.WAIT),
        (Role.ACTIVE, False, True, NOT_SERVING_PATIENCE_S, Step.GIVE_UP),
        (Role.PASSIVE, True, False, 0.0, Step.FORWARD),
        (Role.PASSIVE, False, False, 0.0, Step.FORWARD),
        (Role.PASSIVE, True, False, PATIENCE_S, Step.GIVE_UP),
        (Role.PASSIVE, True, True, 0.0, Step.WAIT),
        (Role.PASSIVE, True, True, FORWARDED_PATIENCE_S, Step.GIVE_UP),
        (Role.FAILED, True, False, 0.0, Step.FORWARD),
        (None, False, True, 0.0, Step.WAIT),
    ],
)
def test_the_next_step(role: Role | None, serving: bool, forwarded: bool, waited: float, step: Step) -> None:
    assert next_step(role=role, serving=serving, forwarded=forwarded, waited=waited) is step


def test_what_was_forwarded_is_never_forwarded_again() -> None:
    steps = {
        next_step(role=role, serving=serving, forwarded=True, waited=waited)
        for role in (*Role, None)
        for serving in (True, False)
        for waited in (0.0, 0.5, LATE)
    }
    assert Step.FORWARD not in steps


@pytest.mark.parametrize(
    ("status", "problem", "answer"),
    [
        (201, None, Answer.FINAL),
        (404, "urn:robotgroups:problem:unknown-memory", Answer.FINAL),
        (404, None, Answer.FINAL),
        (409, "urn:robotgroups:problem:not-active", Answer.ELSEWHERE),
        (422, "urn:robotgroups:problem:invalid-request", Answer.FINAL),
        (401, "urn:robotgroups:problem:unauthorized", Answer.ELSEWHERE),
        (503, "urn:robotgroups:problem:not-serving", Answer.ELSEWHERE),
        (503, "urn:robotgroups:problem:memory-unavailable", Answer.FINAL),
        (500, None, Answer.FINAL),
    ],
)
def test_which_answers_are_the_clients(status: int, problem: str | None, answer: Answer) -> None:
    assert judge(status, problem) is answer
