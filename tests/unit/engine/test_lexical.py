"""BM25 in memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotgroups.lexical import Index, words

TEXTS = {1: "the invoice of march", 2: "the invoice was paid the day before", 3: "a customer"}


def index(texts: dict[int, str]) -> Index:
    made = Index()
    made.update(texts)
    return made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It's the INVOICE, no. 7!", ["it", "s", "the", "invoice", "no", "7"]),
        ("Straße_1 café", ["strasse_1", "café"]),
        ("請求書 2024 テスト", ["請", "求", "書", "2024", "テ", "ス", "ト"]),
        (" \n?!", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_scores_are_bm25s() -> None:
    # N = 3, 13 words: on average 13/3; "march" is in 1 text, "invoice" and "the" in 2
    def weight(holders: int, times: int, length: int) -> float:
        idf = math.log(1 + (3 - holders + 0.5) / (holders + 0.5))
        return idf * times * 2.2 / (times + 1.2 * (1 - 0.75 + 0.75 * length / (13 / 3)))

    assert index(TEXTS).scores("March: the invoice, the invoice") == pytest.approx(
        {1: weight(1, 1, 4) + 2 * weight(2, 1, 4), 2: weight(2, 2, 7) + weight(2, 1, 7)}
    )


def test_a_word_that_every_text_has_still_counts() -> None:
    scores = index({1: "red", 2: "red apple"}).scores("red")
    assert scores.keys() == {1, 2}
    assert scores[1] > scores[2] > 0


def test_nothing_matches() -> None:
    assert index(TEXTS).scores("zebra") == {}
    assert index(TEXTS).scores("") == {}
    assert index({}).scores("invoice") == {}
    assert index({1: "?!"}).scores("?!") == {}


texts = st.dictionaries(st.integers(1, 6), st.lists(st.sampled_from("abcde"), max_size=6).map(" ".join), max_size=6)


@given(st.lists(texts, min_size=1, max_size=5), st.sampled_from(["a", "a b", "c d e", "z"]))
def test_an_index_that_has_changed_is_as_one_made_anew(history: list[dict[int, str]], query: str) -> None:
    kept = Index()
    for current in history:
        kept.update(current)
        assert kept.scores(query) == index(current).scores(query)
        assert kept.scores(query).keys() == {k for k, text in current.items() if set(text.split()) & set(query.split())}
