"""The picture of a result: one panel a figure, one bar a contender; or what went on, as lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from benchmarks.harness.figures import Figures
from benchmarks.harness.report import Result, shown

mpl.use("Agg")

from matplotlib import pyplot as plt

PER_ROW = 3
COLOURS = {"ours": "#1a6faf", "limit": "#8a8a8a"}
PEER = "#d9a441"


@dataclass(frozen=True)
class Panel:
    """Lines by their names, each a value of a sample, in one unit."""

    unit: str
    lines: Mapping[str, Callable[[Mapping[str, float]], float]]


def draw(what: Result, path: Path) -> None:
    """Writes the PNG. Panels are in the figures' order; a contender without the figure has a dash."""
    columns = {"ours": what.figures, "limit": what.limit, **what.peers}
    keys = [key for key in what.figures if any(figures[key] is not None for figures in columns.values())]
    rows = math.ceil(len(keys) / PER_ROW)
    height = 0.32 * len(columns) + 0.7
    figure, axes = plt.subplots(rows, PER_ROW, figsize=(13, rows * height + 0.5), squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= len(keys):
            axis.axis("off")
            continue
        _panel(axis, keys[place], columns)
    figure.suptitle(f"bench-{what.name}: ours, the limit and peers in one run")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_course(samples: Sequence[Mapping[str, float]], x: str, panels: Sequence[Panel], path: Path) -> None:
    """Writes the PNG of what went on: a panel above the other, over the figure ``x`` of the samples."""
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 3.5 * len(panels)), sharex=True, squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=True):
        for name, value in panel.lines.items():
            axis.plot([sample[x] for sample in samples], [value(sample) for sample in samples], label=name)
        axis.set_ylabel(panel.unit)
        axis.legend()
    axes.flat[-1].set_xlabel(x)
    figure.savefig(path)
    plt.close(figure)


def _panel(axis: plt.Axes, key: str, columns: Mapping[str, Figures]) -> None:
    names = list(columns)[::-1]
    values = [columns[name][key] for name in names]
    colours = [COLOURS.get(name, PEER) for name in names]
    axis.barh(names, [value or 0 for value in values], color=colours)
    widest = max((value or 0 for value in values), default=0) or 1
    for place, value in enumerate(values):
        axis.text((value or 0) + widest * 0.01, place, shown(value), va="center", fontsize=8)
    axis.set_xlim(0, widest * 1.18)
    axis.set_title(key, fontsize=9)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
