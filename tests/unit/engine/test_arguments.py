"""What recall and tokenizers accept."""

from datetime import UTC, datetime
from typing import Any

import pytest

from robotgroups import tokens
from robotgroups.errors import ArgumentError, UnknownStrategyError
from robotgroups.recall import RecallStrategy, request_of


def test_full_text_recall_is_accepted() -> None:
    assert request_of("customer", limit=1).strategy is RecallStrategy.FULLTEXT
    assert request_of("customer", limit=1000, strategy="hybrid").candidates == 1000


def test_a_time_alone_needs_no_words_but_a_meaning_does() -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert request_of("", limit=1, since=since).query == ""
    for strategy in ("vector", "hybrid"):
        with pytest.raises(ArgumentError, match=f"^the query is nothing but a time, which {strategy} cannot find: say"):
            request_of("", limit=1, strategy=strategy, until=since)


@pytest.mark.parametrize(
    ("query", "limit", "strategy", "error", "message"),
    [
        ("customer", 5, "psychic", UnknownStrategyError, "'psychic': choose one of fulltext, vector, hybrid"),
        (" \n", 5, "fulltext", ArgumentError, "query must not be blank"),
        ("customer", 0, "fulltext", ArgumentError, "limit must be between 1 and 1000, not 0"),
        ("customer", 1001, "fulltext", ArgumentError, "not 1001"),
    ],
)
def test_recall_refuses_and_names_the_value(
    query: str, limit: int, strategy: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        request_of(query, limit=limit, strategy=strategy)


def test_tokens_are_counted_offline() -> None:
    assert tokens.count("") == 0
    # the example of OpenAI's cookbook, "How to count tokens with tiktoken"
    assert tokens.encoding("cl100k_base").encode("tiktoken is great!") == [83, 1609, 5963, 374, 2294, 0]
    assert tokens.count("tiktoken is great!") == 6
    assert tokens.count("<|endoftext|>") == 7  # text, not a special token


def test_an_encoding_that_needs_the_network_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'o200k_base': choose one of cl100k_base"):
        tokens.count("x", "o200k_base")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"originators": "writer"}, "originators must be a list of names, not the text 'writer'"),
        ({"originators": ["a\0"]}, "originator holds a NUL character"),
        ({"tags": "a:b"}, "tags must be a list of tags, not the text 'a:b'"),
        ({"weights": "1"}, "weights must be a mapping such as {'fulltext': 1.0}, not '1'"),
        ({"weights": {"fulltext": 1e308}}, "weight of fulltext must be a number between 0 and 1000000, not 1e+308"),
        ({"weights": {"vector": -0.5}}, "weight of vector must be a number between 0 and 1000000, not -0.5"),
        ({"weights": {"vector": float("nan")}}, "weight of vector must be a number between 0 and 1000000, not nan"),
        ({"weights": {"vector": "1"}}, "weight of vector must be a number between 0 and 1000000, not '1'"),
        ({"weights": {"fulltext": 0, "vector": 0}}, "one of the weights fulltext and vector must be above 0"),
        ({"weights": {"k": 0}}, "k must be a whole number between 1 and 1000000, not 0"),
        ({"weights": {"k": float("nan")}}, "k must be a whole number between 1 and 1000000, not nan"),
        ({"weights": {"k": float("inf")}}, "k must be a whole number between 1 and 1000000, not inf"),
        ({"weights": {"k": "60"}}, "k must be a whole number between 1 and 1000000, not '60'"),
        ({"relevance": "high"}, "relevance must be true, false or a mapping such as {'recency': 0.5}, not 'high'"),
        ({"relevance": {"similarity": 1e308}}, "weight of similarity must be a number between 0 and 1000000, not 1e"),
    ],
)
def test_what_recall_cannot_go_by_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        request_of("x", limit=1, **arguments)
    assert str(refused.value).startswith(message)
