"""What recall accepts, decided before anything is asked of Postgres."""

from __future__ import annotations

from enum import StrEnum

from robotgroups.errors import ArgumentError, MissingFeatureError, UnknownStrategyError

MAX_LIMIT = 1000


class RecallStrategy(StrEnum):
    """How recall searches."""

    FULLTEXT = "fulltext"
    VECTOR = "vector"
    HYBRID = "hybrid"


def check_recall(query: str, limit: int, strategy: str) -> None:
    """Refuse what recall cannot do.

    Raises:
        ArgumentError: blank query, or a limit out of 1..1000.
        UnknownStrategyError: no strategy has this name.
        MissingFeatureError: vector and hybrid need embeddings, which this version does not make.

    """
    try:
        wanted = RecallStrategy(strategy)
    except ValueError:
        raise UnknownStrategyError(
            f"unknown recall strategy {strategy!r}: choose one of {', '.join(RecallStrategy)}"
        ) from None
    if wanted is not RecallStrategy.FULLTEXT:
        raise MissingFeatureError(
            f"recall strategy {strategy!r} needs embeddings, and this version has no embedding provider: use 'fulltext'"
        )
    if not query.strip():
        raise ArgumentError("query must not be blank")
    if not 1 <= limit <= MAX_LIMIT:
        raise ArgumentError(f"limit must be between 1 and {MAX_LIMIT}, not {limit}")
