"""What somebody who opens a group in a process declares of it, checked before anything is done. No I/O."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robotgroups import fields
from robotgroups.embedding import EmbeddingConfig
from robotgroups.errors import ArgumentError
from robotgroups.extraction import ExtractionConfig
from robotgroups.models import Eviction, GroupSettings
from robotgroups.names import check_name
from robotgroups.updating import Unchanged

LONGEST = timedelta(days=999_999)
MOST_MEMORIES = 1_000_000_000

Age = timedelta | Unchanged | None
Number = int | Unchanged | None


def declared(
    *,
    max_tokens: int | None,
    eviction: str | None,
    language: str | None,
    space: str | None,
    expire_after: Age,
    keep_memories: Number,
    embedding: EmbeddingConfig | None,
    extraction: ExtractionConfig | None,
) -> tuple[GroupSettings, frozenset[str]]:
    """The settings, and the names of those that were not said: they stay as they are stored.

    Raises:
        ArgumentError: a value that cannot be, named.

    """
    said: dict[str, Any] = {}
    if max_tokens is not None:
        fields.whole("max_tokens", max_tokens, 1, 2**31 - 1)
        said["max_tokens"] = max_tokens
    if eviction is not None:
        said["eviction"] = fields.choice("eviction", eviction, Eviction)
    if language is not None:
        fields.text("language", language)
        said["language"] = language
    if space is not None:
        said["space"] = check_name("space", space)
    if not isinstance(expire_after, Unchanged):
        said["expire_after_s"] = _seconds(expire_after)
    if not isinstance(keep_memories, Unchanged):
        if keep_memories is not None:
            fields.whole("keep_memories", keep_memories, 1, MOST_MEMORIES)
        said["keep_memories"] = keep_memories
    if embedding is not None:
        said["embedding"] = embedding.as_json()
    if extraction is not None:
        said["extraction"] = extraction.as_json()
    return GroupSettings(**said), _UNSAID - said.keys()


_UNSAID = frozenset({"eviction", "language", "space", "expire_after_s", "keep_memories"})


def _seconds(age: timedelta | None) -> int | None:
    if age is None:
        return None
    given: object = age  # what callers really give
    if not isinstance(given, timedelta) or not timedelta(seconds=1) <= age <= LONGEST:
        raise ArgumentError(
            f"expire_after must be a timedelta between 1 second and {LONGEST.days} days, or None, not {given!r}"
        )
    return int(age.total_seconds())
