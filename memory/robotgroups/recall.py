"""What recall accepts, decided before anything is asked of Postgres."""

from __future__ import annotations

from enum import StrEnum

from robotgroups.errors import MissingFeatureError, UnknownStrategyError
from robotgroups.limits import check_limit, check_query


class RecallStrategy(StrEnum):
    """How recall searches."""

    FULLTEXT = "fulltext"
    VECTOR = "vector"
    HYBRID = "hybrid"


def check_recall(query: str, limit: int, strategy: str) -> None:
    """Refuse what recall cannot do.

    Raises:
        InvalidTextError: the query is blank, too long or nothing that Postgres takes.
        ArgumentError: a limit out of 1..1000.
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
    check_query(query)
    check_limit(limit)
