"""The tags that memories have: what passes between the layers, and how long a list of them is good. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from robotgroups.errors import ArgumentError

# Of more different tags, the least used are left out of the tree and of searches.
MOST_TAGS = 10_000
TAGS_LIMIT = 1000
# Groups that share a space tag memories without a change of this group's revision.
FRESH_S = 5.0


@dataclass(frozen=True, slots=True)
class TagCount:
    """A tag, and how many memories have it."""

    tag: str
    count: int


@dataclass(frozen=True, slots=True)
class Tagged:
    """The acknowledgement of tag and untag: the tags that the memory has now, and its ``version``."""

    id: int
    tags: tuple[str, ...]
    version: int
    revision: int
    epoch: int


@dataclass(frozen=True, slots=True)
class TagsInUse:
    """Tags with their counts, the most used first, at one revision of the group."""

    revision: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TagList:
    """Tags that were read at ``read_at`` (seconds of a monotonic clock)."""

    tags: TagsInUse
    read_at: float

    def known(self, now: float) -> int | None:
        """The revision at which these tags need not be read again; None when they are too old for that."""
        return self.tags.revision if now - self.read_at < FRESH_S else None


NOTHING = TagList(TagsInUse(-1, MappingProxyType({})), float("-inf"))


def check_tags_limit(limit: int) -> int:
    """Return how many tags are asked for. ArgumentError when it is not in 1..10000."""
    if not 1 <= limit <= MOST_TAGS:
        raise ArgumentError(f"limit must be between 1 and {MOST_TAGS}, not {limit}")
    return limit
