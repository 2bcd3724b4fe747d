"""Plans: the same for the same seed, as many faults as asked for, few slow ones, every kind."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.plan import Plan, Weight, make

WEIGHTS = {
    **{f"quick {number}": Weight(float(number)) for number in range(1, 8)},
    **{f"slow {number}": Weight(1.0, slow=True) for number in range(3)},
}
MOST_SLOW = 10


def _kinds(plan: Plan) -> list[str]:
    return [choice.kind for step in plan.steps for choice in step.choices]


@given(st.integers(0, 2**32), st.integers(0, 250))
def test_number_and_slow_ones(seed: int, count: int) -> None:
    plan = make(seed, count, WEIGHTS, MOST_SLOW)
    kinds = _kinds(plan)
    assert len(kinds) == count
    assert sum(kind.startswith("slow") for kind in kinds) == min(MOST_SLOW, round(count * 0.3))
    assert plan.active in (1, 2)
    for step in plan.steps:
        assert list(step.choices) == sorted(step.choices, key=lambda choice: choice.delay)
        assert step.choices[0].delay == 0
        slow = [choice for choice in step.choices if choice.kind.startswith("slow")]
        assert not slow or len(step.choices) == 1


def test_the_same_seed_is_the_same_plan() -> None:
    assert make(7, 200, WEIGHTS, MOST_SLOW) == make(7, 200, WEIGHTS, MOST_SLOW)
    assert make(7, 200, WEIGHTS, MOST_SLOW) != make(8, 200, WEIGHTS, MOST_SLOW)


def test_every_kind_is_there_and_weights_count() -> None:
    counted = Counter(_kinds(make(7, 200, WEIGHTS, MOST_SLOW)))
    assert set(counted) == set(WEIGHTS)
    assert counted["quick 7"] > counted["quick 1"]


def test_some_steps_are_mixed() -> None:
    sizes = Counter(len(step.choices) for step in make(7, 200, WEIGHTS, MOST_SLOW).steps)
    assert set(sizes) == {1, 2, 3}


def test_only_one_sort() -> None:
    quick, slow = {"q": Weight(1.0)}, {"s": Weight(1.0, slow=True)}
    assert _kinds(make(1, 20, quick, MOST_SLOW)) == ["q"] * 20
    assert _kinds(make(1, 20, slow, MOST_SLOW)) == ["s"] * 10
    assert make(1, 20, quick, MOST_SLOW).has("q")
    assert not make(1, 20, quick, MOST_SLOW).has("s")
