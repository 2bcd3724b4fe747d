"""The text that an LLM gets: from a robot's cache, within a token budget, in a deterministic order. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter

from robotgroups.errors import ArgumentError, UnknownStrategyError
from robotgroups.limits import check_scope
from robotgroups.memories import Memory
from robotgroups.prepared import SEPARATOR, Item, Prepared

__all__ = ["SEPARATOR", "Context", "ContextStrategy", "assemble", "strategy_named", "value"]


class ContextStrategy(StrEnum):
    """What comes first when not everything fits."""

    RECENT = "recent"
    FREQUENT = "frequent"
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True)
class Context:
    """Assembled text: ``tokens`` are exactly its; ``memory_ids`` in its order; ``revision`` of the cache."""

    text: str
    tokens: int
    memory_ids: tuple[int, ...]
    revision: int


def value(memory: Memory, now: datetime) -> float:
    """HTM's value of a memory, its sign right; the same as make_room's in sql/.

    ln(1 + accesses) + 1 / (1 + hours since the last access)
    """
    accessed = memory.last_accessed_at or memory.remembered_at
    hours = max((now - accessed).total_seconds(), 0.0) / 3600
    return math.log1p(memory.access_count) + 1 / (1 + hours)


def strategy_named(name: str) -> ContextStrategy:
    """The strategy of a name. Raises UnknownStrategyError, which names it."""
    try:
        return ContextStrategy(name)
    except ValueError:
        known = ", ".join(ContextStrategy)
        raise UnknownStrategyError(f"unknown context strategy {name!r}: choose one of {known}") from None


def assemble(
    memories: Iterable[Memory],
    *,
    strategy: ContextStrategy,
    max_tokens: int,
    revision: int,
    now: datetime,
    prepared: Prepared,
    query: str | None = None,
    scope: Mapping[str, str] | None = None,
) -> Context:
    """Take memories in the strategy's order while they fit into ``max_tokens``; ties go to the newer one.

    Of all memories those that belong to ``scope`` and have not expired at ``now``; the others count for nothing.

    With a ``query``, the memories that share a word with it come first, the best match (BM25) before the others; of
    equals, and of those that do not match, the strategy decides. What does not fit is passed over for what does.

    Between two contents is SEPARATOR; the blank lines that a content begins with are left out.

    ``prepared`` keeps what is known of the memories from one call to the next: one for each cache.

    Raises:
        ArgumentError: ``max_tokens`` is below 1; InvalidScopeError.

    """
    if max_tokens < 1:
        raise ArgumentError(f"max_tokens must be at least 1, not {max_tokens}")
    view = prepared.view(memories, now, check_scope(scope))
    order = _ordered(view.items, strategy, now)
    if query is not None:
        scores = view.scores(query)
        matching = [item for item in order if item.id in scores]
        matching.sort(key=lambda item: scores[item.id], reverse=True)
        order = matching + [item for item in order if item.id not in scores]
    return _packed(order, max_tokens, revision)


def _ordered(newest_first: Sequence[Item], strategy: ContextStrategy, now: datetime) -> list[Item]:
    """By the strategy. Sorting is stable in both directions: the newer one of equals comes first."""
    match strategy:
        case ContextStrategy.RECENT:
            return sorted(newest_first, key=attrgetter("accessed"), reverse=True)
        case ContextStrategy.FREQUENT:
            return sorted(newest_first, key=attrgetter("frequency"), reverse=True)
        case ContextStrategy.BALANCED:  # `value` of each
            at = now.timestamp()
            then = at + 3600
            values = [i.frequency + 3600 / (then - t if (t := i.accessed) < at else 3600) for i in newest_first]
            return [newest_first[n] for n in sorted(range(len(values)), key=values.__getitem__, reverse=True)]


def _packed(order: Iterable[Item], max_tokens: int, revision: int) -> Context:
    chosen: list[Item] = []
    before = total = 0  # tokens of what was chosen: with a separator behind it, and without
    for item in order:
        if before + item.last <= max_tokens:
            chosen.append(item)
            total, before = before + item.last, before + item.followed
    ids = tuple([item.id for item in chosen])
    return Context(SEPARATOR.join([item.text for item in chosen]), total, ids, revision)
