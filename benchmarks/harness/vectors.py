"""Embeddings without a model: a random projection of a text's words, weighted by their rarity.

Texts with words in common are near to each other, as with a model, and every contender embeds at the same (small) cost.
How hard neighbours are to find hangs on the vectors' intrinsic dimension. It was measured (Levina and Bickel's estimate
of 2004, k = 20) on 3,000 of Debian's descriptions: 14 with all-MiniLM-L6-v2. These have 18, and a query is as near to
its best text as there (a cosine of 0.65): so they are projected to ``LATENT`` dimensions, and then spread over
``DIMENSIONS`` by turned copies, which keeps all angles.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

from benchmarks.harness.texts import rank

DIMENSIONS = 384
LATENT = 24
COPIES = DIMENSIONS // LATENT


@cache
def _word(word: str) -> tuple[float, ...]:
    chosen = random.Random(f"word {word}")  # noqa: S311  not a secret
    weight = math.log(2 + rank(word))  # by Zipf's law, the inverse frequency is as the rank
    return tuple(chosen.gauss(0, weight) for _ in range(LATENT))


@cache
def _turns() -> tuple[tuple[int, float], ...]:
    """Which latent entry, with which sign, is where: each copy has all of them in another order."""
    chosen = random.Random("turns")  # noqa: S311
    scale = 1 / math.sqrt(COPIES)
    return tuple(
        (entry, chosen.choice((-scale, scale))) for _ in range(COPIES) for entry in chosen.sample(range(LATENT), LATENT)
    )


def embed(text: str) -> list[float]:
    """The text's vector, of length 1 (of zeros for a text without words)."""
    latent = [math.fsum(entries) for entries in zip(*map(_word, text.lower().split()), strict=True)]
    if not latent:
        return [0.0] * DIMENSIONS
    length = math.sqrt(math.fsum(value * value for value in latent))
    unit = [value / length for value in latent]
    return [unit[entry] * sign for entry, sign in _turns()]


def literal(vector: Sequence[float]) -> str:
    """The vector as pgvector reads it."""
    return "[" + ",".join(f"{value:.6g}" for value in vector) + "]"
