"""What recall, time frames and tokenizers accept."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from robotgroups import timeframe, tokens
from robotgroups.errors import ArgumentError, MissingFeatureError, UnknownStrategyError
from robotgroups.recall import check_recall


def test_full_text_recall_is_accepted() -> None:
    check_recall("customer", 1, "fulltext")
    check_recall("customer", 1000, "fulltext")


@pytest.mark.parametrize(
    ("query", "limit", "strategy", "error", "message"),
    [
        ("customer", 5, "vector", MissingFeatureError, "'vector' needs embeddings"),
        ("customer", 5, "hybrid", MissingFeatureError, "'hybrid' needs embeddings"),
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
        check_recall(query, limit, strategy)


DAY = datetime(2026, 1, 1, tzinfo=UTC)
NEXT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        (None, None, None),
        ("2026-01-01/2026-01-02", DAY, NEXT),
        ("2026-01-01T00:00:00Z/..", DAY, None),
        ("../2026-01-02T02:00:00+02:00", None, NEXT),
        ("/2026-01-02", None, NEXT),
        ((DAY, NEXT), DAY, NEXT),
        ((None, NEXT.astimezone(timezone(timedelta(hours=5)))), None, NEXT),
        ((datetime(2026, 1, 1), None), DAY, None),  # noqa: DTZ001  a time without a zone is UTC
    ],
)
def test_time_frames(given: Any, since: datetime | None, until: datetime | None) -> None:
    assert timeframe.parse(given) == (since, until)


@pytest.mark.parametrize("given", ["last week", "2026-01-01", "2026-01-01/2026-13-01", "1/2/3", "soon/later"])
def test_a_time_frame_that_cannot_be_read_is_named(given: str) -> None:
    with pytest.raises(ArgumentError, match=f"timeframe '{given}'"):
        timeframe.parse(given)


@pytest.mark.parametrize("given", ["2026-01-02/2026-01-01", (DAY, DAY)])
def test_a_time_frame_that_ends_before_it_begins_is_refused(given: Any) -> None:
    with pytest.raises(ArgumentError, match="ends before it begins"):
        timeframe.parse(given)


def test_tokens_are_counted_offline() -> None:
    assert tokens.count("") == 0
    # the example of OpenAI's cookbook, "How to count tokens with tiktoken"
    assert tokens.encoding("cl100k_base").encode("tiktoken is great!") == [83, 1609, 5963, 374, 2294, 0]
    assert tokens.count("tiktoken is great!") == 6
    assert tokens.count("<|endoftext|>") == 7  # text, not a special token


def test_an_encoding_that_needs_the_network_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'o200k_base': choose one of cl100k_base"):
        tokens.count("x", "o200k_base")
