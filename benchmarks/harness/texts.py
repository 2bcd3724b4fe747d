"""Texts to remember and queries to recall them by: deterministic, with the word frequencies of real English.

A text is a bag of words: most are drawn from the vocabulary of Debian's package descriptions (data/vocabulary.txt) by
their frequency there, the rest from the text's topic, so that texts of one topic are nearer to each other than to the
rest. The same number gives the same text on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import accumulate

from benchmarks.harness.debian import VOCABULARY

WORDS_LOW, WORDS_MODE, WORDS_HIGH = 8, 20, 60
TOPICS = 500
TOPIC_WORDS = 60
TOPIC_SHARE = 0.3
# Topics are of words that are neither in every text nor in hardly any.
TOPIC_FROM, TOPIC_TO = 300, 12_000
COMMON_FROM, COMMON_TO = 60, 200  # below are stop words, mostly: no query is made of these alone
TAGS = tuple(f"area:{number}" for number in range(10))


@dataclass(frozen=True, slots=True)
class Text:
    """One memory to be: its number, content and one of ten tags."""

    number: int
    content: str
    tag: str


class QueryKind(StrEnum):
    """What a query is made of."""

    MIXED = "mixed"  # two or three words of one text, common and rare
    RARE = "rare"  # the rarest word of one text
    COMMON = "common"  # one of the commonest words


@dataclass(frozen=True, slots=True)
class Query:
    """A query of words that the corpus has, for one of its groups."""

    kind: QueryKind
    words: str
    group: int
    tag: str


@cache
def vocabulary() -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Words, commonest first, and the running sum of their counts."""
    lines = [line.split() for line in VOCABULARY.read_text().splitlines()]
    return tuple(line[0] for line in lines), tuple(accumulate(int(line[1]) for line in lines))


@cache
def rank(word: str) -> int:
    """The word's place in the vocabulary, 0 for the commonest; its length for a word that it has not."""
    return _ranks().get(word, len(_ranks()))


@cache
def _ranks() -> dict[str, int]:
    return {word: place for place, word in enumerate(vocabulary()[0])}


@cache
def _topic(number: int) -> tuple[str, ...]:
    chosen = random.Random(f"topic {number}")  # noqa: S311  not a secret
    return tuple(chosen.sample(vocabulary()[0][TOPIC_FROM:TOPIC_TO], TOPIC_WORDS))


def text(number: int, series: str = "") -> Text:
    """The text of a number. Another ``series`` has other texts."""
    chosen = random.Random(f"{series} {number}")  # noqa: S311
    words, weights = vocabulary()
    count = round(chosen.triangular(WORDS_LOW, WORDS_HIGH, WORDS_MODE))
    topical = round(count * TOPIC_SHARE)
    content = chosen.choices(words, cum_weights=weights, k=count - topical)
    content += chosen.choices(_topic(chosen.randrange(TOPICS)), k=topical)
    chosen.shuffle(content)
    # the number makes it one of a kind: the same content twice would be one memory
    return Text(number, f"{' '.join(content)} {series}{number}", chosen.choice(TAGS))


def query(number: int, texts: Sequence[Text], groups: int) -> Query:
    """The query of a number: half are mixed, a quarter each one rare and one common word."""
    chosen = random.Random(f"query {number}")  # noqa: S311
    source = texts[chosen.randrange(len(texts))]
    words = source.content.split()[:-1]
    kind = (QueryKind.MIXED, QueryKind.RARE, QueryKind.MIXED, QueryKind.COMMON)[number % 4]
    if kind is QueryKind.MIXED:
        asked = chosen.sample(words, chosen.choice((2, 3)))
    elif kind is QueryKind.RARE:
        asked = [max(words, key=rank)]
    else:
        asked = [vocabulary()[0][chosen.randrange(COMMON_FROM, COMMON_TO)]]
    return Query(kind, " ".join(asked), group_of(source.number, groups), source.tag)


def group_of(number: int, groups: int) -> int:
    """The group that a text belongs to."""
    return number % groups
