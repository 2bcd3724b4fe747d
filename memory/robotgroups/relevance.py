"""How relevant a memory is to a query: similarity, tags, recency and access, mixed. No I/O, no clock.

The parts and their default weights are those of HTM's relevance scorer (similarity 0.5, tags 0.3, recency 0.1, access
0.1; a week's half-life). Otherwise than there every part stays within 0.0-1.0, recency halves with each half-life (HTM
divides by e), and a memory without tags is not half alike to tags that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from robotgroups.errors import ArgumentError
from robotgroups.fields import weight
from robotgroups.tags import weighted_jaccard

# Of a part that nothing is known of: neither for the memory nor against it.
NEUTRAL = 0.5
MAX_HALF_LIFE_HOURS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts, 0 to a million. They need not add up to 1: the total is their weighted mean.

    ``half_life_hours`` is the age at which recency is 0.5.
    """

    similarity: float = 0.5
    tags: float = 0.3
    recency: float = 0.1
    access: float = 0.1
    half_life_hours: float = 168.0

    def __post_init__(self) -> None:
        for name in ("similarity", "tags", "recency", "access"):
            weight(name, getattr(self, name))
        if not self.sum > 0:
            raise ArgumentError("one of the weights similarity, tags, recency and access must be above 0")
        hours: object = self.half_life_hours  # what callers really give
        number = isinstance(hours, int | float) and not isinstance(hours, bool)
        if not (number and 0 < self.half_life_hours <= MAX_HALF_LIFE_HOURS):
            raise ArgumentError(
                f"half_life_hours must be a number above 0 and at most {MAX_HALF_LIFE_HOURS}, not {hours!r}"
            )

    @property
    def sum(self) -> float:
        """What the weighted parts are divided by."""
        return math.fsum((self.similarity, self.tags, self.recency, self.access))


DEFAULT_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is scored: a memory that a search has found.

    ``similarity`` is how like the query it is, 0.0-1.0 (a cosine similarity, or ``scaled`` ranks; what is below 0
    counts as 0), None when it is not known, as for a memory that has no embedding yet. ``remembered_at`` is when it was
    remembered last.
    """

    id: int
    similarity: float | None
    remembered_at: datetime
    access_count: int = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relevance:
    """The total and its parts, each 0.0-1.0."""

    total: float
    similarity: float
    tags: float
    recency: float
    access: float


def score(
    candidate: Candidate,
    query_tags: Iterable[str],
    now: datetime,
    weights: Weights = DEFAULT_WEIGHTS,
    tag_weights: Mapping[str, float] | None = None,
) -> Relevance:
    """Score one candidate.

    - similarity: as given, 0.5 when it is not known.
    - tags: ``weighted_jaccard`` of the query's and the memory's (with ``tag_weights``), 0.5 when the query has none.
    - recency: 0.5 ** (age / half-life), 1.0 for what is younger than ``now``.
    - access: l / (1 + l) with l = ln(1 + accesses): 0.0 for none, 0.41 for one, 0.71 for ten, 0.82 for a hundred.

    Raises:
        ArgumentError: a similarity that is no number or above 1, or a negative count.

    """
    wanted = tuple(query_tags)
    parts = {
        "similarity": _similarity(candidate),
        "tags": weighted_jaccard(wanted, candidate.tags, tag_weights) if wanted else NEUTRAL,
        "recency": _recency(candidate, now, weights.half_life_hours),
        "access": _access(candidate),
    }
    total = math.fsum(getattr(weights, name) * part for name, part in parts.items()) / weights.sum
    return Relevance(total=min(total, 1.0), **parts)


def rank(
    candidates: Iterable[Candidate],
    query_tags: Iterable[str],
    now: datetime,
    weights: Weights = DEFAULT_WEIGHTS,
    tag_weights: Mapping[str, float] | None = None,
) -> list[tuple[Candidate, Relevance]]:
    """Candidates with their scores, the most relevant first; of equal ones the lower id. ArgumentError as ``score``."""
    wanted = tuple(query_tags)
    scored = [(c, score(c, wanted, now, weights, tag_weights)) for c in candidates]
    return sorted(scored, key=lambda pair: (-pair[1].total, pair[0].id))


def scaled(scores: Sequence[float]) -> list[float]:
    """Scores of one search, which have no upper bound (ts_rank, reciprocal ranks), as similarities: the best is 1.0.

    Proportions stay: half the best score is 0.5. All zero stay zero.

    Raises:
        ArgumentError: a score is negative or not finite.

    """
    for value in scores:
        if not (math.isfinite(value) and value >= 0):
            raise ArgumentError(f"a score must be 0 or more, not {value}")
    best = max(scores, default=0.0)
    return [value / best if best else 0.0 for value in scores]


def _similarity(candidate: Candidate) -> float:
    if candidate.similarity is None:
        return NEUTRAL
    # a cosine of equal vectors can be a rounding above 1
    if not candidate.similarity <= 1 + 1e-6:
        raise ArgumentError(f"similarity of memory {candidate.id} must be at most 1.0, not {candidate.similarity}")
    return min(max(candidate.similarity, 0.0), 1.0)


def _recency(candidate: Candidate, now: datetime, half_life_hours: float) -> float:
    hours = max((now - candidate.remembered_at).total_seconds(), 0.0) / 3600
    return math.pow(0.5, hours / half_life_hours)


def _access(candidate: Candidate) -> float:
    if candidate.access_count < 0:
        raise ArgumentError(f"access_count of memory {candidate.id} must be 0 or more, not {candidate.access_count}")
    accesses = math.log1p(candidate.access_count)
    return accesses / (1 + accesses)
