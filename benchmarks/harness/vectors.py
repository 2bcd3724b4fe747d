"""Embeddings without a model: a sparse random projection of a text's words, weighted by their rarity.

Texts with words in common are near to each other, as with a model, and every contender embeds at the same (small) cost.
The projection is Achlioptas' (Database-friendly random projections, 2003) with 16 entries a word.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

from benchmarks.harness.texts import rank

DIMENSIONS = 384
ENTRIES = 16


@cache
def _word(word: str) -> tuple[tuple[int, float], ...]:
    chosen = random.Random(f"word {word}")  # noqa: S311
    weight = math.log(2 + rank(word))  # by Zipf's law, the inverse frequency is as the rank
    places = chosen.sample(range(DIMENSIONS), ENTRIES)
    return tuple((place, weight if chosen.random() < 0.5 else -weight) for place in places)  # noqa: PLR2004


def embed(text: str) -> list[float]:
    """The text's vector, of length 1 (of zeros for a text without words)."""
    vector = [0.0] * DIMENSIONS
    for word in text.lower().split():
        for place, weight in _word(word):
            vector[place] += weight
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else vector


def literal(vector: Sequence[float]) -> str:
    """The vector as pgvector reads it."""
    return "[" + ",".join(f"{value:.6g}" for value in vector) + "]"
