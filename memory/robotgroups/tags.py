"""Hierarchical tags, ``database:postgresql:index``: their rules, their tree, their likeness. No I/O.

A tag is kept as it is given, upper case and all, without the white space around it and around its levels. A tag stands
for the ones above it: a filter by ``database`` finds ``database:postgresql``. A group may hold older tags that break
these rules: everything here but ``check_tag`` and ``check_tags`` takes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from robotgroups.errors import ArgumentError, InvalidTagError, InvalidTextError
from robotgroups.limits import check_text, shown

SEPARATOR = ":"
MAX_TAGS = 64
MAX_TAG_CHARACTERS = 200
MAX_LEVELS = 5

# What an older tag has beyond this many levels counts as one level.
_DEEPEST = 50

DEFAULT_MIN_SCORE = 0.7
# What a query that begins a level, or a tag that stands below it, scores at least: half typed is no typo.
_BEGINS = 0.9


def check_tag(tag: str) -> str:
    """Return a tag without the white space around it and its levels.

    Raises:
        InvalidTagError: it is blank, has a blank level, more than 5 levels or 200 characters, or cannot be stored.

    """
    try:
        check_text(tag, "")
    except InvalidTextError as error:
        raise _invalid(tag, str(error).strip()) from None
    levels = [level.strip() for level in tag.split(SEPARATOR)]
    clean = SEPARATOR.join(levels)
    if len(clean) > MAX_TAG_CHARACTERS:
        raise _invalid(tag, f"has {len(clean)} characters; at most {MAX_TAG_CHARACTERS} are taken")
    if not clean:
        raise _invalid(tag, "must not be blank")
    if not all(levels):
        raise _invalid(tag, "has a blank level: write a:b, with a name on both sides of each colon")
    if len(levels) > MAX_LEVELS:
        raise _invalid(tag, f"has {len(levels)} levels; at most {MAX_LEVELS} are taken")
    return clean


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as ``check_tag`` does, each once, in the order given.

    Raises:
        InvalidTagError: one of them, which is named, or more than 64.

    """
    if isinstance(tags, str):
        raise InvalidTagError(f"tags must be a list of tags, not the text {shown(tags)}")
    clean = tuple(dict.fromkeys(map(check_tag, tags)))
    if len(clean) > MAX_TAGS:
        raise InvalidTagError(f"a memory may have {MAX_TAGS} tags, not {len(clean)}")
    return clean


def ancestors(tag: str) -> tuple[str, ...]:
    """The tags above a tag, the root first: ``a:b:c`` has ``a`` and ``a:b``."""
    levels = _levels(tag)
    return tuple(SEPARATOR.join(levels[:depth]) for depth in range(1, len(levels)))


def matches(tag: str, wanted: str) -> bool:
    """Whether a filter by ``wanted`` finds ``tag``: it is the same or stands below it."""
    return tag == wanted or tag.startswith(wanted + SEPARATOR)


# -- the tree --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TagNode:
    """A level of the tree. The root has no name.

    ``count`` is how often the tag itself is used (0: it only stands above others), ``total`` with all below it; a
    memory with two tags below counts twice. ``children`` are in the order of their names.
    """

    name: str
    tag: str
    count: int
    total: int
    children: tuple[TagNode, ...] = field(default=())

    def mapping(self) -> dict[str, Any]:
        """The names below, nested: ``{"database": {"postgresql": {}}}``."""
        return {child.name: child.mapping() for child in self.children}

    def lines(self) -> list[str]:
        """The tree below as text, a tag a line with its total."""
        return list(_lines(self, ""))

    def walk(self) -> Iterator[TagNode]:
        """Every node below, a parent before its children."""
        for child in self.children:
            yield child
            yield from child.walk()


def _lines(node: TagNode, indent: str) -> Iterator[str]:
    for child in node.children:
        last = child is node.children[-1]
        yield f"{indent}{'└── ' if last else '├── '}{child.name} ({child.total})"
        yield from _lines(child, indent + ("    " if last else "│   "))


def tree(counts: Mapping[str, int]) -> TagNode:
    """The tree of all tags; ``counts`` maps each tag to the number of memories that have it."""
    below: dict[str, set[str]] = {"": set()}
    for tag in counts:
        path = (*ancestors(tag), tag)
        for parent, child in zip(("", *path), path, strict=False):
            below.setdefault(parent, set()).add(child)

    def node(tag: str) -> TagNode:
        children = tuple(node(child) for child in sorted(below.get(tag, ())))
        count = counts.get(tag, 0)
        return TagNode(_levels(tag)[-1], tag, count, count + sum(c.total for c in children), children)

    return node("")


# -- search ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TagMatch:
    """A tag that was found, and how like it is, 0.0-1.0 (1.0: the query is the tag, or one of its levels)."""

    tag: str
    score: float


def fuzzy(query: str, tags: Iterable[str], *, limit: int = 20, min_score: float = DEFAULT_MIN_SCORE) -> list[TagMatch]:
    """Tags like a query with typos, the likest first, then by name; case does not matter.

    The query is compared with the tag and with every run of its levels; the best counts. The measure is the normalised
    optimal string alignment similarity (1 - edits / length of the longer; an edit inserts, deletes or replaces a
    letter or swaps two neighbours), by rapidfuzz. A run that begins with the query scores 0.9 at least.

    Raises:
        ArgumentError: the query is blank, ``limit`` is below 1 or ``min_score`` is not in 0.0-1.0.

    """
    from rapidfuzz.distance import OSA  # noqa: PLC0415  4 MB, and most processes never search tags

    wanted = SEPARATOR.join(level.strip() for level in check_text(query, "query").casefold().split(SEPARATOR))
    if not wanted.strip(SEPARATOR):
        raise ArgumentError("query must not be blank")
    if limit < 1:
        raise ArgumentError(f"limit must be at least 1, not {limit}")
    if not 0.0 <= min_score <= 1.0:
        raise ArgumentError(f"min_score must be between 0.0 and 1.0, not {min_score}")

    def score(tag: str) -> float:
        best = 0.0
        for run in _runs(tag.casefold()):
            likeness = OSA.normalized_similarity(wanted, run)
            best = max(best, likeness, _BEGINS if run.startswith(wanted) else 0.0)
        return best

    found = [TagMatch(tag, score(tag)) for tag in set(tags)]
    return sorted((m for m in found if m.score >= min_score), key=lambda m: (-m.score, m.tag))[:limit]


def _levels(tag: str) -> list[str]:
    return tag.split(SEPARATOR, _DEEPEST - 1)


def _runs(tag: str) -> Iterator[str]:
    levels = _levels(tag)
    for start in range(len(levels)):
        for end in range(start + 1, len(levels) + 1):
            yield SEPARATOR.join(levels[start:end])


# -- likeness --------------------------------------------------------------------------------------------------------


def expand(tags: Iterable[str]) -> frozenset[str]:
    """Tags with all that stand above them."""
    return frozenset(t for tag in tags for t in (*ancestors(tag), tag))


def inverse_frequency(counts: Mapping[str, int], memories: int) -> dict[str, float]:
    """Weights for ``weighted_jaccard``: ln(1 + memories / count), the smoothed inverse document frequency.

    Sharing a rare tag says more than sharing one that everything has. ``counts`` maps each tag, those above others
    too, to how many of the ``memories`` have it or one below it. A tag that none has weighs as if one had it.
    """
    return {tag: math.log1p(max(memories, 1) / max(count, 1)) for tag, count in counts.items()}


def weighted_jaccard(tags_a: Iterable[str], tags_b: Iterable[str], weights: Mapping[str, float] | None = None) -> float:
    """How like two sets of tags are, 0.0-1.0: the weight of the edge between the memories that have them.

    With A and B the sets and all tags above theirs: the sum of w(t) over both, divided by that over either. Two tags
    with a common beginning are thus partly alike, the more the deeper they part. Symmetric; 1.0 for equal sets, 0.0
    when nothing is common, and for two empty sets: no tags are no likeness. Without ``weights`` all weigh the same; a
    tag that they lack weighs as the heaviest of them: it is new, so rare.

    Raises:
        ArgumentError: a weight is not above 0 or not finite.

    """
    a, b = expand(tags_a), expand(tags_b)
    if a.isdisjoint(b):
        return 0.0
    if a == b:
        return 1.0
    known = weights or {}
    missing = max(known.values(), default=1.0)

    def total(tags: frozenset[str]) -> float:
        chosen = [(tag, known.get(tag, missing)) for tag in tags]
        for tag, weight in chosen:
            if not (weight > 0 and math.isfinite(weight)):
                raise ArgumentError(f"the weight of tag {tag!r} must be above 0, not {weight}")
        return math.fsum(weight for _, weight in chosen)

    return total(a & b) / total(a | b)


def _invalid(tag: object, reason: str) -> InvalidTagError:
    return InvalidTagError(f"tag {shown(tag)} {reason}", reason)
