"""The text that an LLM gets: from a robot's cache, within a token budget, in a deterministic order. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from robotgroups import tokens
from robotgroups.errors import ArgumentError, UnknownStrategyError
from robotgroups.models import Memory

SEPARATOR = "\n\n"


class ContextStrategy(StrEnum):
    """What comes first when not everything fits."""

    RECENT = "recent"
    FREQUENT = "frequent"
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True)
class Context:
    """Assembled text: ``tokens`` counted on the text itself; ``memory_ids`` in its order; ``revision`` of the cache."""

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
    tokenizer: str,
) -> Context:
    """Take memories in the strategy's order while they fit into ``max_tokens``; ties go to the newer one.

    Raises:
        ArgumentError: ``max_tokens`` is below 1.

    """
    if max_tokens < 1:
        raise ArgumentError(f"max_tokens must be at least 1, not {max_tokens}")
    orders: dict[ContextStrategy, Callable[[Memory], tuple[float, ...]]] = {
        ContextStrategy.RECENT: lambda m: (-(m.last_accessed_at or m.remembered_at).timestamp(), -m.id),
        ContextStrategy.FREQUENT: lambda m: (-m.access_count, -m.id),
        ContextStrategy.BALANCED: lambda m: (-value(m, now), -m.id),
    }
    chosen: list[Memory] = []
    used, separator = 0, tokens.count(SEPARATOR, tokenizer)
    for memory in sorted(memories, key=orders[strategy]):
        cost = memory.tokens + (separator if chosen else 0)
        if used + cost <= max_tokens:
            chosen.append(memory)
            used += cost
    text = SEPARATOR.join(m.content for m in chosen)
    total = tokens.count(text, tokenizer)
    while total > max_tokens:  # joined text can count a token more than its parts
        chosen.pop()
        text = SEPARATOR.join(m.content for m in chosen)
        total = tokens.count(text, tokenizer)
    return Context(text, total, tuple(m.id for m in chosen), revision)
