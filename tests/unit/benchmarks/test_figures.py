import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.debian import Description, parsed
from benchmarks.harness.figures import complete, median_of_rounds, percentile, rotated, rounded
from benchmarks.harness.options import PEERS, peers_of
from benchmarks.harness.report import shown
from benchmarks.harness.texts import Query, QueryKind, query, text
from benchmarks.harness.vectors import DIMENSIONS, embed

finite = st.floats(-1e9, 1e9)


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile([float(n) for n in range(101)], 99) == 99.0
    assert percentile([7.0], 99) == 7.0


@given(st.lists(finite, min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_percentiles_lie_between_the_values_and_grow(values: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert min(values) <= percentile(values, low) <= max(values)
    assert percentile(values, low) <= percentile(values, high) + 1e-6
    assert (percentile(values, 0), percentile(values, 100)) == (min(values), max(values))


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_percentiles_of_nothing_are_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


def test_the_median_of_rounds_leaves_out_what_a_round_has_not() -> None:
    assert median_of_rounds([{"a": 1.0, "b": None}, {"a": 3.0, "b": 5.0}, {"a": 2.0}]) == {"a": 2.0, "b": 5.0}


def test_figures_are_under_exactly_the_keys() -> None:
    assert list(complete(["b", "a"], {"a": 1.23456, "c": 1.0}).items()) == [("b", None), ("a", 1.235)]


def test_figures_as_shown() -> None:
    assert [rounded(None), rounded(123456.0), rounded(0.0123456)] == [None, 123500.0, 0.01235]
    assert [shown(None), shown(12345.6), shown(1.2345), shown(0.01234)] == ["-", "12,346", "1.23", "0.0123"]


def test_everybody_begins_once() -> None:
    assert [rotated(["a", "b", "c"], by) for by in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_peers_are_chosen_by_name() -> None:
    assert peers_of("all") == PEERS
    assert peers_of("none") == ()
    assert peers_of("mem0,htm") == ("mem0", "htm")
    with pytest.raises(argparse.ArgumentTypeError, match="no peer zep"):
        peers_of("zep")


def test_texts_are_the_same_everywhere() -> None:
    assert (
        text(1).content
        == "to want error and it covers novice broadband driver component predicates is the the taglib to kf 1"
    )
    assert text(1) == text(1)
    assert len({text(number).content for number in range(500)}) == 500


def test_queries_are_drawn_from_the_texts() -> None:
    texts = [text(number) for number in range(50)]
    asked = [query(number, texts, 10) for number in range(40)]
    assert asked == [query(number, texts, 10) for number in range(40)]
    assert {q.kind for q in asked} == set(QueryKind)
    for q in asked:
        assert isinstance(q, Query)
        if q.kind is not QueryKind.COMMON:
            assert any(set(q.words.split()) <= set(t.content.split()) and t.number % 10 == q.group for t in texts)


def test_vectors_are_near_when_words_are_shared() -> None:
    def nearness(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(embed(one), embed(other), strict=True))

    assert len(embed("database")) == DIMENSIONS
    assert nearness("postgres vacuum", "postgres vacuum") == pytest.approx(1)
    assert nearness("postgres vacuum index", "postgres vacuum lock") > nearness("postgres vacuum index", "chess engine")
    assert embed("") == [0.0] * DIMENSIONS


def test_debians_descriptions_are_read() -> None:
    stanzas = (
        "Package: one\nDescription-md5: 1\nDescription-en: a first\n It is one.\n .\n Really.\n\n"
        "Package: none\nDescription-en: nothing more\n\n"
        "Package: two\nDescription-en: a second\n It is two.\n"
    )
    assert list(parsed(stanzas)) == [
        Description("one", "a first", "It is one.\n\nReally."),
        Description("two", "a second", "It is two."),
    ]
