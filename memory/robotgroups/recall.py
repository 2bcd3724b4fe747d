"""What recall is asked for, checked before Postgres is asked, and what it gives, ranked and explained. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from robotgroups import relevance as scorer
from robotgroups.errors import ArgumentError, UnknownStrategyError
from robotgroups.fields import weight
from robotgroups.limits import check_limit, check_metadata, check_query, check_text, shown
from robotgroups.models import Memory
from robotgroups.remembering import scope_texts
from robotgroups.tags import check_tags

# How many candidates are scored for each memory that is asked for, when they are scored by relevance.
SCORED = 5
MAX_CANDIDATES = 1000
MAX_WIDEN = 5
MAX_K = 1_000_000


class RecallStrategy(StrEnum):
    """How recall searches."""

    FULLTEXT = "fulltext"
    VECTOR = "vector"
    HYBRID = "hybrid"


class Recalled(list[Memory]):
    """Memories, best match first. ``unembedded``: how many of the group are still to be embedded (None: not asked).

    Until then vector search does not find those, and hybrid finds them by their words alone.
    """

    def __init__(self, memories: Iterable[Memory] = (), unembedded: int | None = None) -> None:
        super().__init__(memories)
        self.unembedded = unembedded


@dataclass(frozen=True, slots=True)
class Fusion:
    """Reciprocal rank fusion: sum of weight / (k + rank), k = 60 (Cormack, Clarke and Büttcher 2009)."""

    fulltext: float = 1.0
    vector: float = 1.0
    k: float = 60

    def __post_init__(self) -> None:
        for name in ("fulltext", "vector"):
            weight(name, getattr(self, name))
        if self.fulltext == self.vector == 0:
            raise ArgumentError("one of the weights fulltext and vector must be above 0")
        k: object = self.k  # what callers really give
        number = isinstance(k, int | float) and not isinstance(k, bool)
        if not (number and 1 <= self.k <= MAX_K and self.k == int(self.k)):
            raise ArgumentError(f"k must be a whole number between 1 and {MAX_K}, not {k!r}")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a memory must be to be found, beside matching the query. Empty ones do not count."""

    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    scope: tuple[str, ...] = ()
    originators: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    include_forgotten: bool = False

    def as_json(self) -> dict[str, Any]:
        """The JSON of SQL's ``recall``: only what is filtered by."""
        data: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, datetime):
                data[name] = value.isoformat()
            elif value:
                data[name] = list(value) if isinstance(value, tuple) else value
        return data


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request."""

    query: str
    strategy: RecallStrategy
    limit: int
    filters: Filters
    fusion: Fusion
    relevance: scorer.Weights | None
    widen: int = 0

    @property
    def candidates(self) -> int:
        """How many are to be fetched."""
        return self.limit if self.relevance is None else min(SCORED * self.limit, MAX_CANDIDATES)


def strategy_named(name: str) -> RecallStrategy:
    """The strategy of a name. UnknownStrategyError, which names it."""
    try:
        return RecallStrategy(name)
    except ValueError:
        raise UnknownStrategyError(
            f"unknown recall strategy {name!r}: choose one of {', '.join(RecallStrategy)}"
        ) from None


def check_originators(originators: Iterable[str]) -> tuple[str, ...]:
    """Return names of robots. ArgumentError for a single text, InvalidTextError for one that cannot be stored."""
    if isinstance(originators, str):
        raise ArgumentError(f"originators must be a list of names, not the text {shown(originators)}")
    return tuple(check_text(name, "originator") for name in originators)


def request_of(
    query: str,
    *,
    limit: int,
    strategy: str = "fulltext",
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    scope: Mapping[str, str] | None = None,
    originators: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    include_forgotten: bool = False,
    weights: Mapping[str, float] | None = None,
    relevance: bool | Mapping[str, float] = False,
    widen: int = 0,
) -> Request:
    """Check what recall is asked for.

    ``weights`` are those of hybrid's fusion: {"fulltext": 1.0, "vector": 1.0, "k": 60}. ``relevance`` True scores by
    HTM's weights, a mapping by its own (fields of ``relevance.Weights``). Of a time alone the query may be blank.

    Raises:
        InvalidTextError, InvalidTagError, InvalidMetadataError, InvalidScopeError: ArgumentErrors that name the field.
        ArgumentError: a limit out of 1..1000, a weight that is none or has an unknown name.
        UnknownStrategyError.

    """
    chosen = strategy_named(strategy)
    filters = Filters(
        tags=check_tags(tags),
        metadata=check_metadata(metadata),
        scope=tuple(scope_texts(scope)),
        originators=check_originators(originators),
        since=since,
        until=until,
        include_forgotten=include_forgotten,
    )
    if not isinstance(weights, Mapping | None):
        raise ArgumentError(f"weights must be a mapping such as {{'fulltext': 1.0}}, not {shown(weights)}")
    given = dict(weights or {})
    if unknown := given.keys() - {"fulltext", "vector", "k"}:
        raise ArgumentError(f"weights has {sorted(unknown)[0]!r}: give fulltext, vector or k")
    if not 0 <= widen <= MAX_WIDEN:
        raise ArgumentError(f"widen must be between 0 and {MAX_WIDEN} steps, not {widen}")
    fusion = Fusion(given.get("fulltext", 1.0), given.get("vector", 1.0), given.get("k", 60))
    query = _check_query(query, chosen, timed=since is not None or until is not None)
    return Request(query, chosen, check_limit(limit), filters, fusion, _relevance(relevance), widen)


def _check_query(query: str, strategy: RecallStrategy, *, timed: bool) -> str:
    """Full text finds the newest of a time of which nothing else is asked; a meaning is needed by the others."""
    if query or not timed:
        return check_query(query)
    if strategy is not RecallStrategy.FULLTEXT:
        raise ArgumentError(f"the query is nothing but a time, which {strategy} cannot find: say more, or use fulltext")
    return query


def _relevance(given: bool | Mapping[str, float]) -> scorer.Weights | None:
    if isinstance(given, bool):
        return scorer.DEFAULT_WEIGHTS if given else None
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f"relevance must be true, false or a mapping such as {{'recency': 0.5}}, not {shown(given)}"
        )
    try:
        return scorer.Weights(**given)
    except TypeError:
        known = ", ".join(scorer.Weights.__dataclass_fields__)
        raise ArgumentError(f"relevance has an unknown weight in {sorted(given)}: known are {known}") from None


def ranked(found: Sequence[Memory], request: Request, now: datetime) -> list[Memory]:
    """Score candidates by relevance when that is asked for, and take the best; ``parts`` tells of each what counted."""
    if request.relevance is None:
        return list(found)
    by_id = {memory.id: memory for memory in found}
    scores = scorer.rank(_candidates(found), request.filters.tags, now, request.relevance)
    best = []
    for candidate, relevance in scores[: request.limit]:
        memory = by_id[candidate.id]
        parts = {**(memory.parts or {}), "relevance": asdict(relevance)}
        best.append(replace(memory, score=relevance.total, parts=parts))
    return best


def _candidates(found: Sequence[Memory]) -> list[scorer.Candidate]:
    # a cosine similarity is one; the scores of words have no upper bound: the best of them counts as 1
    lexical = scorer.scaled([float((m.parts or {}).get("fulltext_score") or 0.0) for m in found])
    candidates = []
    for memory, words in zip(found, lexical, strict=True):
        parts = memory.parts or {}
        cosine = parts.get("vector_score")
        similarity = max(words, float(cosine)) if cosine is not None else words
        candidates.append(
            scorer.Candidate(
                memory.id, min(similarity, 1.0), memory.remembered_at, int(parts.get("accesses", 0)), memory.tags
            )
        )
    return candidates
