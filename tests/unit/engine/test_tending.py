"""How long a round of retention goes on."""

import pytest

from robotgroups.erasing import BATCH
from robotgroups.lifecycle_store import Retained
from robotgroups.tending import LOOKING_S, REMOVALS, Kept, goes_on, keep


@pytest.mark.parametrize(
    ("removed", "after", "removals", "seconds", "on"),
    [
        (0, 0, 0, 0.0, False),
        (BATCH - 1, 0, 0, 0.0, False),
        (0, 7, 0, 0.0, True),
        (BATCH - 1, 7, REMOVALS, 0.0, True),
        (0, 7, 0, LOOKING_S, False),
        (BATCH, 0, 1, 0.0, True),
        (BATCH, 7, 1, 60.0, True),
        (BATCH, 7, REMOVALS, 0.0, False),
    ],
)
def test_it_goes_on_while_there_is_more_within_bounds(
    removed: int, after: int, removals: int, seconds: float, on: bool
) -> None:
    assert goes_on(Retained(removed, after), removals, seconds) is on


async def test_each_step_goes_on_where_the_last_one_stopped() -> None:
    steps = {5: Retained(BATCH, 9), 9: Retained(0, 12), 12: Retained(3, 0)}
    asked: list[int] = []

    async def step(after: int) -> Retained:
        asked.append(after)
        return steps[after]

    assert await keep(step, 5) == Kept(BATCH + 3, 0, more=False)
    assert asked == [5, 9, 12]


async def test_more_than_a_round_removes_is_left_for_the_next_one_at_once() -> None:
    async def step(after: int) -> Retained:
        return Retained(BATCH, after + 1)

    assert await keep(step, 0) == Kept(BATCH * REMOVALS, REMOVALS, more=True)
