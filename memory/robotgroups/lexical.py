"""Which of a few thousand short texts match some words, and how well: BM25 in memory, without I/O.

Words are compared as they are written, their case aside; a Han or Kana character is a word of its own. Nothing is
stemmed and no word is left out: recall, in Postgres, does both.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

# The usual constants: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009), 3.4.
K1, B = 1.2, 0.75
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


def words(text: str) -> list[str]:
    """The words of a text, in its order."""
    return _WORD.findall(text.casefold())


class Index:
    """An inverted index of texts by id."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._lengths: dict[int, int] = {}
        self._occurrences: dict[str, dict[int, int]] = {}  # word -> text -> how often
        self._total = 0  # words of all texts

    def update(self, texts: Mapping[int, str]) -> None:
        """Make these the indexed texts; only what differs is worked on."""
        for key in [k for k, text in self._texts.items() if texts.get(k) != text]:
            self._remove(key)
        for key, text in texts.items():
            if key not in self._texts:
                self._add(key, text)

    def scores(self, query: str) -> dict[int, float]:
        """How well each text matches a query: above 0 for those that share a word with it, which alone are in.

        BM25 with the inverse document frequency ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative (Lucene's).
        """
        found: dict[int, float] = {}
        count, lengths = len(self._texts), self._lengths
        base, each = K1 * (1 - B), K1 * B * count / max(self._total, 1)
        for word in dict.fromkeys(words(query)):
            holders = self._occurrences.get(word, {})
            weight = (K1 + 1) * math.log1p((count - len(holders) + 0.5) / (len(holders) + 0.5))
            for key, times in holders.items():
                found[key] = found.get(key, 0.0) + weight * times / (times + base + each * lengths[key])
        return found

    def _add(self, key: int, text: str) -> None:
        counts = Counter(words(text))
        self._texts[key] = text
        self._lengths[key] = counts.total()
        self._total += counts.total()
        for word, times in counts.items():
            self._occurrences.setdefault(word, {})[key] = times

    def _remove(self, key: int) -> None:
        for word in set(words(self._texts.pop(key))):
            holders = self._occurrences[word]
            del holders[key]
            if not holders:
                del self._occurrences[word]
        self._total -= self._lengths.pop(key)
