"""Batches: nothing lost, nothing twice, nothing over the limit, none split without need."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from robotgroups.embedding.batches import by_length, in_order

COSTS = st.lists(st.integers(1, 50), max_size=40)


@given(COSTS, st.integers(1, 10), st.integers(1, 100))
def test_runs_keep_the_order_and_the_limits(costs: list[int], max_items: int, max_cost: int) -> None:
    runs = in_order(costs, max_items, max_cost)
    assert [i for run in runs for i in run] == list(range(len(costs)))
    for run in runs:
        assert len(run) == 1 or (len(run) <= max_items and sum(costs[i] for i in run) <= max_cost)
    for run, following in pairwise(runs):
        assert len(run) == max_items or sum(costs[i] for i in run) + costs[following[0]] > max_cost


@given(COSTS, st.integers(1, 200))
def test_groups_hold_each_once_within_the_limit(lengths: list[int], max_cells: int) -> None:
    groups = by_length(lengths, max_cells)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= max_cells
    in_turn = [lengths[i] for group in groups for i in group]
    assert in_turn == sorted(in_turn)


def test_examples() -> None:
    assert in_order([], 3, 10) == []
    assert in_order([1, 1, 1, 1, 1], 2, 10) == [[0, 1], [2, 3], [4]]
    assert in_order([4, 4, 4, 99, 1], 9, 8) == [[0, 1], [2], [3], [4]]
    assert by_length([9, 2, 3, 2], 8) == [[1, 3], [2], [0]]
