"""Relations between memories: what may be said of them, and what is told of what is related. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robotgroups.errors import ArgumentError
from robotgroups.limits import check_limit, check_words, shown
from robotgroups.models import Memory
from robotgroups.remembering import scope_texts

# Kept up in the background, by the tags that memories share; every other kind is somebody's word.
TAGS = "tags"
MAX_KIND_CHARACTERS = 100
MAX_DEPTH = 5
MIN_WEIGHT = 1e-6
RELATED_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Related:
    """A memory that another is related to.

    ``weight``, 0.0-1.0, is the product of the weights on the way there, the best way of all: ``path`` are its ids, the
    first memory's and this one's too, ``kinds`` the kinds of its relations. ``depth`` is how many these are.
    """

    memory: Memory
    weight: float
    depth: int
    path: tuple[int, ...]
    kinds: tuple[str, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Related:
        """Read a row of SQL's ``related``, or an object of the HTTP API."""
        return cls(
            Memory.from_json(data["memory"]), data["weight"], data["depth"], tuple(data["path"]), tuple(data["kinds"])
        )


@dataclass(frozen=True, slots=True)
class Walk:
    """How to go from a memory to what it is related to; ``kinds`` None: by any."""

    depth: int
    min_weight: float
    kinds: tuple[str, ...] | None
    scope: tuple[str, ...]
    limit: int


def check_kind(kind: str) -> str:
    """Return the name of a kind of relation without the white space around it.

    Raises:
        InvalidTextError: it is blank or cannot be stored.
        ArgumentError: it is longer than 100 characters, or "tags".

    """
    clean = _kind(kind)
    if clean == TAGS:
        raise ArgumentError(f"kind {TAGS!r} is kept for relations by tags: tag the memories, or choose another kind")
    return clean


def check_weight(weight: float) -> float:
    """Return the weight of a relation. ArgumentError unless it is above 0 (a millionth) and at most 1."""
    if not (math.isfinite(weight) and MIN_WEIGHT <= weight <= 1):
        raise ArgumentError(f"weight must be above 0 and at most 1, not {weight}")
    return float(weight)


def walk_of(
    *,
    depth: int = 1,
    min_weight: float = 0.0,
    kinds: Sequence[str] | None = None,
    scope: Mapping[str, str] | None = None,
    limit: int = RELATED_LIMIT,
) -> Walk:
    """Check how to walk.

    Raises:
        ArgumentError: a depth out of 1..5, a least weight out of 0..1, a limit out of 1..1000.
        InvalidTextError, InvalidScopeError.

    """
    if not 1 <= depth <= MAX_DEPTH:
        raise ArgumentError(f"depth must be between 1 and {MAX_DEPTH}, not {depth}")
    if not (math.isfinite(min_weight) and 0 <= min_weight <= 1):
        raise ArgumentError(f"min_weight must be between 0.0 and 1.0, not {min_weight}")
    if isinstance(kinds, str):
        raise ArgumentError(f"kinds must be a list of kinds, not the text {shown(kinds)}")
    wanted = None if kinds is None else tuple(map(_kind, kinds))
    return Walk(depth, float(min_weight), wanted, tuple(scope_texts(scope)), check_limit(limit))


def _kind(kind: str) -> str:
    clean = check_words(kind, "kind").strip()
    if len(clean) > MAX_KIND_CHARACTERS:
        raise ArgumentError(f"kind has {len(clean)} characters; at most {MAX_KIND_CHARACTERS} are taken")
    return clean
