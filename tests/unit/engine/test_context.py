"""Context: within its budget, deterministic, the most valuable first."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups import tokens
from robotgroups.context import SEPARATOR, Context, ContextStrategy, assemble, strategy_named, value
from robotgroups.errors import ArgumentError, InvalidScopeError, UnknownStrategyError
from robotgroups.models import Memory
from robotgroups.prepared import Prepared, separated, without_leading_lines
from robotgroups.scope import visible

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def memory(
    memory_id: int,
    content: str,
    *,
    hours: float = 0.0,
    accesses: int = 0,
    scope: Mapping[str, str] | None = None,
    expires_in: int | None = None,
) -> Memory:
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
        scope=scope or {},
        expires_at=None if expires_in is None else NOW + timedelta(seconds=expires_in),
    )


def make(
    memories: list[Memory],
    strategy: ContextStrategy,
    max_tokens: int = 1000,
    query: str | None = None,
    prepared: Prepared | None = None,
    *,
    scope: Mapping[str, str] | None = None,
    seconds: int = 0,
) -> Context:
    return assemble(
        memories,
        strategy=strategy,
        max_tokens=max_tokens,
        revision=7,
        now=NOW + timedelta(seconds=seconds),
        prepared=prepared or Prepared(),
        query=query,
        scope=scope,
    )


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


def test_what_matches_a_query_comes_first_and_the_best_match_before_the_others() -> None:
    found = [
        memory(1, "the invoice of March", hours=9),
        memory(2, "the invoice was paid", hours=5),
        memory(3, "the customer prefers email", hours=1),
        memory(4, "the weather is nice", hours=2),
        memory(5, "Invoice, invoice: INVOICE!", hours=20),
    ]
    assert make(found, ContextStrategy.RECENT, query="Invoice March?").memory_ids == (1, 5, 2, 3, 4)
    assert make(found, ContextStrategy.RECENT, query="nothing matches").memory_ids == (3, 4, 2, 1, 5)
    assert make(found, ContextStrategy.RECENT, query=" ?! ").memory_ids == (3, 4, 2, 1, 5)


def test_of_equal_matches_the_strategy_decides() -> None:
    found = [memory(1, "red apple", hours=3), memory(2, "red onion", hours=2), memory(3, "red melon", hours=4)]
    assert make(found, ContextStrategy.RECENT, query="red").memory_ids == (2, 1, 3)


def test_a_match_takes_the_budget_before_what_is_worth_more() -> None:
    assert make(ALL, ContextStrategy.FREQUENT, STALE.tokens, "stale").memory_ids == (3,)


def test_blank_lines_before_a_content_and_blank_contents_are_left_out() -> None:
    found = [memory(4, "\n\n  first\n"), memory(3, " \n\t"), memory(2, "\u3000"), memory(1, " \r\nlast ")]
    made = make(found, ContextStrategy.RECENT)
    assert (made.text, made.memory_ids) == ("  first\n\n\nlast ", (4, 1))
    assert made.tokens == tokens.count(made.text)


# What the tokenizer cuts and merges at: white space and line breaks of every kind, punctuation, other scripts.
SPACES = [" ", "  ", "\n", "\r", "\r\n", "\n\n\n", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000"]
SIGNS = [".", ")", "!?", "}", "/", "--", '"', "'", "\U0001f600", "<|endoftext|>", "\x00", "\ue000", "\u200b", "\u0301"]
WORDS = ["a", "The", "I'll", "s", "1", "2024", "\u00e9", "\u4e2d", "\u0661", "\u216b", "\u00b2", "\ufb01"]
PARTS = st.sampled_from(SPACES) | st.sampled_from(SIGNS) | st.sampled_from(WORDS)
CONTENTS = st.lists(PARTS, min_size=1, max_size=6).map("".join) | st.text(min_size=1, max_size=40)
SCOPES = st.dictionaries(st.sampled_from(["user", "topic"]), st.sampled_from(["a", "b"]))
memories = st.builds(
    memory,
    st.integers(1, 1000),
    CONTENTS,
    hours=st.floats(0, 100),
    accesses=st.integers(0, 20),
    scope=SCOPES,
    expires_in=st.none() | st.integers(1, 9),
)
sets = st.lists(memories, max_size=12, unique_by=lambda m: m.id)
queries = st.none() | CONTENTS


@settings(deadline=None, max_examples=300)
@given(CONTENTS)
def test_a_separators_tokens_are_those_of_the_whole_text(text: str) -> None:
    assert separated(text) == tokens.count(text + SEPARATOR) - tokens.count(text)


@settings(deadline=None, max_examples=300)
@given(sets, st.sampled_from(ContextStrategy), st.integers(1, 120), queries, st.randoms())
def test_tokens_are_exact_never_over_the_budget_and_the_same_whatever_the_order(
    found: list[Memory], strategy: ContextStrategy, budget: int, query: str | None, random: Random
) -> None:
    made = make(found, strategy, budget, query)
    assert made.tokens == tokens.count(made.text) <= budget
    by_id = {m.id: without_leading_lines(m.content) for m in found}
    assert made.text == SEPARATOR.join(by_id[i] for i in made.memory_ids)
    random.shuffle(found)
    assert make(found, strategy, budget, query) == made


@settings(deadline=None)
@given(st.lists(sets, min_size=2, max_size=4), st.sampled_from(ContextStrategy), st.integers(1, 120), queries)
def test_what_was_prepared_before_changes_no_answer(
    history: list[list[Memory]], strategy: ContextStrategy, budget: int, query: str | None
) -> None:
    kept = Prepared()
    for found in history:
        assert make(found, strategy, budget, query, kept) == make(found, strategy, budget, query)


@settings(deadline=None)
@given(sets, st.sampled_from(ContextStrategy), st.integers(1, 60))
def test_what_is_left_out_would_not_have_fitted_behind_what_came_before_it(
    found: list[Memory], strategy: ContextStrategy, budget: int
) -> None:
    order = make(found, strategy, 10**6).memory_ids  # everything, in the strategy's order
    taken = set(make(found, strategy, budget).memory_ids)
    by_id = {m.id: without_leading_lines(m.content) for m in found}
    for place, memory_id in enumerate(order):
        before = [by_id[i] for i in order[:place] if i in taken]
        fits = tokens.count(SEPARATOR.join([*before, by_id[memory_id]])) <= budget
        assert (memory_id in taken) is fits


def test_a_scope_has_what_belongs_to_it_and_nothing_that_has_expired() -> None:
    found = [
        memory(1, "of nobody"),
        memory(2, "of a", scope={"user": "a"}),
        memory(3, "of a's talk", scope={"user": "a", "topic": "b"}),
        memory(4, "of b", scope={"user": "b"}),
        memory(5, "of a, for a second", scope={"user": "a"}, expires_in=1),
    ]
    kept = Prepared()
    for scope, seconds, ids in [
        (None, 0, (5, 4, 3, 2, 1)),
        (None, 1, (4, 3, 2, 1)),
        ({"user": "a"}, 0, (5, 3, 2)),
        ({"user": "a"}, 1, (3, 2)),
        ({"user": "a"}, 0, (5, 3, 2)),
        ({"topic": "b", "user": "a"}, 1, (3,)),
        ({"user": "c"}, 0, ()),
    ]:
        made = make(found, ContextStrategy.RECENT, prepared=kept, scope=scope, seconds=seconds)
        assert made.memory_ids == ids, (scope, seconds)
    with pytest.raises(InvalidScopeError, match="'User'"):
        make(found, ContextStrategy.RECENT, scope={"User": "a"})


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(sets, st.none() | SCOPES, st.integers(0, 10), st.sampled_from(ContextStrategy), queries), max_size=5
    ),
    st.integers(1, 120),
)
def test_what_a_scope_does_not_show_counts_for_nothing(
    history: list[tuple[list[Memory], dict[str, str] | None, int, ContextStrategy, str | None]], budget: int
) -> None:
    kept = Prepared()
    for found, scope, seconds, strategy, query in history:
        at = NOW + timedelta(seconds=seconds)
        shown = [
            m for m in found if (scope or {}).items() <= m.scope.items() and (m.expires_at is None or m.expires_at > at)
        ]
        assert visible(found, at, scope) == shown
        made = make(found, strategy, budget, query, kept, scope=scope, seconds=seconds)
        assert made == make(shown, strategy, budget, query, seconds=seconds)


def test_nothing_is_kept_of_a_memory_that_is_gone() -> None:
    kept = Prepared()
    secret, other = memory(1, "the secret word", scope={"user": "a"}), memory(2, "another one", scope={"user": "a"})
    view = kept.view([secret, other], NOW, {"user": "a"})
    assert view.scores("secret word") != {}
    kept.view([other], NOW)  # nobody asks for the scope again
    assert ([i.id for i in view.items], view.scores("secret word")) == ([2], {})


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ArgumentError, match="max_tokens must be at least 1, not 0"):
        make(ALL, ContextStrategy.RECENT, 0)


def test_an_unknown_strategy_is_named() -> None:
    assert strategy_named("frequent") is ContextStrategy.FREQUENT
    with pytest.raises(UnknownStrategyError, match=r"'newest'.*recent, frequent, balanced"):
        strategy_named("newest")
