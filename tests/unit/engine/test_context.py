"""Context: within its budget, deterministic, the most valuable first."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups import tokens
from robotgroups.context import SEPARATOR, Context, ContextStrategy, assemble, strategy_named, value
from robotgroups.errors import ArgumentError, UnknownStrategyError
from robotgroups.models import Memory

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def memory(memory_id: int, content: str, *, hours: float = 0.0, accesses: int = 0) -> Memory:
    return Memory(
        id=memory_id,
        content=content,
        originator="a",
        tokens=tokens.count(content),
        tags=(),
        metadata={},
        created_at=NOW,
        remembered_at=NOW,
        remember_count=1,
        forgotten_at=None,
        in_working_memory=True,
        keeper="a",
        access_count=accesses,
        last_accessed_at=NOW - timedelta(hours=hours),
    )


def make(memories: list[Memory], strategy: ContextStrategy, max_tokens: int = 1000) -> Context:
    return assemble(
        memories, strategy=strategy, max_tokens=max_tokens, revision=7, now=NOW, tokenizer=tokens.DEFAULT
    )  # fmt: skip


OLD_AND_USED = memory(1, "old and often used", hours=10, accesses=9)
FRESH = memory(2, "fresh", hours=0)
STALE = memory(3, "stale", hours=20)
SOMETIMES = memory(4, "sometimes used", hours=2, accesses=1)
ALL = [OLD_AND_USED, FRESH, STALE, SOMETIMES]


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        (ContextStrategy.RECENT, (2, 4, 1, 3)),
        (ContextStrategy.FREQUENT, (1, 4, 3, 2)),
        # ln(10) + 1/11 = 2.39, ln(2) + 1/3 = 1.03, 0 + 1 = 1, 0 + 1/21 = 0.05
        (ContextStrategy.BALANCED, (1, 4, 2, 3)),
    ],
)
def test_each_strategy_has_its_order(strategy: ContextStrategy, order: tuple[int, ...]) -> None:
    made = make(ALL, strategy)
    assert made.memory_ids == order
    assert made.text == SEPARATOR.join({m.id: m.content for m in ALL}[i] for i in order)
    assert made.revision == 7


@pytest.mark.parametrize("strategy", ContextStrategy)
def test_of_equals_the_newer_comes_first(strategy: ContextStrategy) -> None:
    assert make([memory(1, "one"), memory(2, "two")], strategy).memory_ids == (2, 1)


def test_the_most_valuable_is_kept_when_not_everything_fits() -> None:
    budget = OLD_AND_USED.tokens + 1
    assert make(ALL, ContextStrategy.BALANCED, budget).memory_ids == (1,)


def test_what_is_too_large_is_passed_over_for_what_fits() -> None:
    large = memory(5, "a much longer memory that does not fit into what is left", accesses=50)
    assert make([large, FRESH], ContextStrategy.BALANCED, FRESH.tokens).memory_ids == (2,)


def test_nothing_fits() -> None:
    assert make([OLD_AND_USED], ContextStrategy.RECENT, 1) == Context("", 0, (), 7)


def test_the_value_is_the_one_that_eviction_uses() -> None:
    assert value(SOMETIMES, NOW) == pytest.approx(0.693147 + 1 / 3)
    # another server's clock is ahead: no more than now
    assert value(memory(9, "x", hours=-5), NOW) == 1.0


memories = st.builds(
    memory,
    st.integers(1, 1000),
    st.text(min_size=1, max_size=60),
    hours=st.floats(0, 100),
    accesses=st.integers(0, 20),
)


@settings(deadline=None)
@given(
    st.lists(memories, max_size=12, unique_by=lambda m: m.id),
    st.sampled_from(ContextStrategy),
    st.integers(1, 120),
    st.randoms(),
)
def test_never_over_the_budget_and_the_same_whatever_the_order(
    found: list[Memory], strategy: ContextStrategy, budget: int, random: Random
) -> None:
    made = make(found, strategy, budget)
    assert made.tokens == tokens.count(made.text) <= budget
    by_id = {m.id: m.content for m in found}
    assert made.text == SEPARATOR.join(by_id[i] for i in made.memory_ids)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert make(shuffled, strategy, budget) == made


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ArgumentError, match="max_tokens must be at least 1, not 0"):
        make(ALL, ContextStrategy.RECENT, 0)


def test_an_unknown_strategy_is_named() -> None:
    assert strategy_named("frequent") is ContextStrategy.FREQUENT
    with pytest.raises(UnknownStrategyError, match=r"'newest'.*recent, frequent, balanced"):
        strategy_named("newest")
