"""Which texts go together: pure, on their costs."""

from __future__ import annotations

from collections.abc import Sequence


def in_order(costs: Sequence[int], max_items: int, max_cost: int) -> list[list[int]]:
    """Cut 0..len-1 into runs of at most ``max_items`` whose costs sum to at most ``max_cost``, each as long as can be.

    What alone costs more is a run of its own.
    """
    runs: list[list[int]] = []
    total = 0
    for index, cost in enumerate(costs):
        if not runs or len(runs[-1]) == max_items or total + cost > max_cost:
            runs.append([])
            total = 0
        runs[-1].append(index)
        total += cost
    return runs


def by_length(lengths: Sequence[int], max_cells: int) -> list[list[int]]:
    """Group 0..len-1 by length, shortest first, so that little is padding: items times the longest <= ``max_cells``.

    What alone is longer is a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not groups or (len(groups[-1]) + 1) * lengths[index] > max_cells:
            groups.append([])
        groups[-1].append(index)
    return groups
