"""When a robot does what in the background."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.background import trouble_of
from robotgroups.chores import (
    OTHERS_S,
    POLL_S,
    Plan,
    Standing,
    Trouble,
    batch,
    blamed,
    failed,
    finished,
    plan,
    suspect,
)
from robotgroups.errors import (
    ArgumentError,
    EmbeddingConfigError,
    EmbeddingUnavailableError,
    ExtractionConfigError,
    ExtractionUnavailableError,
    MemoryUnavailableError,
    MissingFeatureError,
    ModelFailure,
    NotPermittedError,
)

NOW = 1000.0
IDLE, RUNNING = Standing(), Standing(running=True)
times = st.floats(0, 1e6)
standings = st.builds(Standing, st.booleans(), st.integers(0, 100), times)


@pytest.mark.parametrize(
    ("due", "standing", "planned"),
    [
        ({}, {}, Plan((), NOW + POLL_S)),
        ({"embed": False}, {"embed": IDLE}, Plan((), NOW + POLL_S)),
        ({"embed": True}, {"embed": IDLE}, Plan(("embed",), NOW + POLL_S)),
        ({"embed": True}, {"embed": RUNNING}, Plan((), NOW + POLL_S)),
        ({"embed": True}, {"embed": Standing(failures=1, rests_until=NOW)}, Plan(("embed",), NOW + POLL_S)),
        ({"embed": True}, {"embed": Standing(failures=1, rests_until=NOW + 2)}, Plan((), NOW + 2)),
        ({"embed": True}, {"embed": Standing(failures=9, rests_until=NOW + 60)}, Plan((), NOW + POLL_S)),
        # nothing is due: it does not matter until when it rests
        ({"embed": False}, {"embed": Standing(failures=1, rests_until=NOW + 2)}, Plan((), NOW + POLL_S)),
        (
            {"embed": True, "extract": True},
            {"embed": Standing(failures=1, rests_until=NOW + 2), "extract": IDLE},
            Plan(("extract",), NOW + 2),
        ),
    ],
)
def test_what_begins_and_when_it_looks_again(
    due: dict[str, bool], standing: dict[str, Standing], planned: Plan
) -> None:
    assert plan(due, standing, NOW) == planned


@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(st.booleans(), standings)), times)
def test_nothing_runs_twice_or_while_it_rests(chores: dict[str, tuple[bool, Standing]], now: float) -> None:
    due = {name: has_work for name, (has_work, _) in chores.items()}
    standing = {name: state for name, (_, state) in chores.items()}
    planned = plan(due, standing, now)
    assert set(planned.start) == {
        name
        for name, (has_work, state) in chores.items()
        if has_work and not state.running and state.rests_until <= now
    }
    assert now < planned.look_at <= now + POLL_S


def rests(trouble: Trouble, failures: int, luck: float = 1.0, wanted_s: float = 0.0) -> float:
    after = failed(Standing(running=True, failures=failures), trouble, NOW, wanted_s=wanted_s, luck=luck)
    assert (after.running, after.failures) == (False, failures + 1)
    return after.rests_until - NOW


def test_what_went_well_is_ready_for_more_and_what_others_do_is_left_to_them_for_a_while() -> None:
    assert finished(1, NOW) == Standing(running=False, failures=0, rests_until=-math.inf)
    assert finished(0, NOW) == Standing(running=False, failures=0, rests_until=NOW + OTHERS_S)


@pytest.mark.parametrize(
    ("trouble", "pauses"),
    [
        (Trouble.MODEL_AWAY, [1, 2, 4, 8, 16, 32, 60, 60]),
        (Trouble.SETTINGS, [10, 20, 40, 60, 60]),
        (Trouble.DATABASE, [0.25, 0.5, 1, 2, 4, 5, 5]),
        (Trouble.UNEXPECTED, [5, 10, 20, 40, 60, 60]),
    ],
)
def test_pauses_grow_up_to_a_limit(trouble: Trouble, pauses: list[float]) -> None:
    assert [rests(trouble, failures) for failures in range(len(pauses))] == pauses
    assert rests(trouble, 10_000) == pauses[-1]


def test_robots_come_back_at_different_times_and_not_before_an_endpoint_wants_them() -> None:
    assert [rests(Trouble.MODEL_AWAY, 2, luck) for luck in (0.0, 0.5, 1.0)] == [3.0, 3.5, 4.0]
    assert rests(Trouble.MODEL_AWAY, 0, wanted_s=17.5) == 17.5
    assert rests(Trouble.MODEL_AWAY, 6, wanted_s=17.5) == 60.0


def test_a_text_that_spoils_its_batch_is_soon_alone() -> None:
    sizes = [64]
    while sizes[-1] > 1:
        sizes.append(batch(64, sizes[-1], failed=True))
    assert sizes == [64, 16, 4, 1]
    assert batch(64, 1, failed=True) == 1
    sizes = [1]
    while sizes[-1] < 64:
        sizes.append(batch(64, sizes[-1], failed=False))
    assert sizes == [1, 2, 4, 8, 16, 32, 64]
    assert batch(64, 64, failed=False) == 64


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (MemoryUnavailableError("no"), Trouble.DATABASE),
        (EmbeddingUnavailableError("no", ModelFailure.TIMEOUT), Trouble.MODEL_AWAY),
        (ExtractionUnavailableError("no", ModelFailure.TIMEOUT), Trouble.MODEL_AWAY),
        (EmbeddingConfigError("no", ModelFailure.UNAUTHORIZED), Trouble.SETTINGS),
        (ExtractionConfigError("no", ModelFailure.UNAUTHORIZED), Trouble.SETTINGS),
        (MissingFeatureError("no"), Trouble.SETTINGS),
        (ArgumentError("no"), Trouble.SETTINGS),
        (NotPermittedError("no"), Trouble.UNEXPECTED),
        (ZeroDivisionError("no"), Trouble.UNEXPECTED),
    ],
)
def test_what_kind_of_trouble_an_error_is(error: Exception, trouble: Trouble) -> None:
    assert trouble_of(error) is trouble


@pytest.mark.parametrize(
    ("jobs", "attempts", "suspected"), [(1, 2, False), (1, 3, True), (1, 9, True), (2, 9, False), (64, 1, False)]
)
def test_a_text_is_suspected_when_it_is_alone_and_has_failed_before(jobs: int, attempts: int, suspected: bool) -> None:
    assert suspect(jobs, attempts) is suspected


@pytest.mark.parametrize("reason", ModelFailure)
def test_a_suspect_is_blamed_for_what_one_text_can_bring_on(reason: ModelFailure) -> None:
    of_text = {
        ModelFailure.SERVER_ERROR,
        ModelFailure.MALFORMED_ANSWER,
        ModelFailure.TIMEOUT,
        ModelFailure.UNREACHABLE,
    }
    assert blamed(reason) is (reason in of_text)
