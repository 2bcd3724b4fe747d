"""Statistics of latencies, and the maps of figures that a result holds. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

Figures = Mapping[str, float | None]
DIGITS = 4


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of the values lie, interpolated linearly.

    Raises:
        ValueError: no values, or a percentage outside of 0..100.

    """
    if not values:
        raise ValueError("no values, no percentile")
    if not 0 <= percent <= 100:  # noqa: PLR2004
        raise ValueError(f"a percentile is between 0 and 100, not {percent}")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def rounded(value: float | None) -> float | None:
    """Four significant digits, which is more than any run here repeats."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def median_of_rounds(rounds: Iterable[Figures]) -> dict[str, float]:
    """Each figure's median over the rounds that have it, rounded."""
    gathered: dict[str, list[float]] = {}
    for figures in rounds:
        for key, value in figures.items():
            if value is not None:
                gathered.setdefault(key, []).append(value)
    return {key: float(f"{median(values):.{DIGITS}g}") for key, values in gathered.items()}


def complete(keys: Sequence[str], figures: Figures) -> dict[str, float | None]:
    """The figures under exactly these keys, in this order; None for what is missing."""
    return {key: rounded(figures.get(key)) for key in keys}


def rotated(names: Sequence[str], by: int) -> list[str]:
    """The names, beginning with another one each time: nobody is always measured first."""
    start = by % len(names)
    return [*names[start:], *names[:start]]
