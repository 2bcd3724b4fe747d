"""Pictures of a run: all of it, and each fault from close by. Needs matplotlib (the benchmarks' environment)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from tests.chaos.checks.feed import acknowledgements
from tests.chaos.checks.outages import Outage
from tests.chaos.checks.timeline import Standing, Timeline
from tests.chaos.figures import longest_ms
from tests.chaos.history import SERVICE, Fault, History

mpl.use("Agg")
ROWS, COLUMNS = 5, 4
BEFORE_S, AFTER_S, LONGEST_S = 3.0, 3.0, 60.0
COLOURS = {"active": "#2a9d4a", "passive": "#c9d6df", "failed": "#d1495b"}
BIN_S = 0.1


class _Run:
    """What is drawn, made once: times of acknowledgements, and from when on each standing held."""

    def __init__(self, history: History) -> None:
        answered = list(acknowledgements(history))
        self.service = sorted(write.end for write, _ in answered if write.where == SERVICE)
        self.directly = sorted(write.end for write, _ in answered if write.where != SERVICE)
        seen = {event.revision: event.seen for event in history.events if event.roles is not None}
        self.standings = [(seen[each.revision], each) for each in Timeline(history.events).standings]
        self.robots = sorted({name for _, each in self.standings for name in each.roles})
        self.end = max([*self.service, *self.directly], default=0.0)

    def stretches(self, start: float, end: float) -> Iterator[tuple[float, float, Standing]]:
        """The standings that held between two times."""
        for place, (since, standing) in enumerate(self.standings):
            until = self.standings[place + 1][0] if place + 1 < len(self.standings) else end
            if until > start and since < end:
                yield max(since, start), min(until, end), standing


def draw(history: History, outages: Sequence[Outage], directory: Path, name: str) -> list[Path]:
    """Writes NAME.png (the whole run) and NAME-1.png, … (20 faults each); returns them."""
    run = _Run(history)
    faults = [fault for fault in history.faults if not fault.upkeep]
    made = [_whole(run, faults, directory / f"{name}.png")]
    size = ROWS * COLUMNS
    for page, first in enumerate(range(0, len(faults), size), start=1):
        made.append(_page(run, faults[first : first + size], outages, directory / f"{name}-{page}.png"))
    return made


def _whole(run: _Run, faults: Sequence[Fault], path: Path) -> Path:
    begin = min([*run.service, *run.directly, *(since for since, _ in run.standings)], default=0.0)
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(16, 5), sharex=True, height_ratios=(3, 1 + 0.3 * len(run.robots)), layout="constrained"
    )
    seconds = max(int(run.end - begin) + 1, 1)
    for times, label, colour in (
        (run.service, "through the Service", "#1d4e89"),
        (run.directly, "at a pod", "#8fb8de"),
    ):
        top.hist(
            [t - begin for t in times], bins=seconds, range=(0, seconds), label=label, color=colour, histtype="step"
        )
    for fault in faults:
        top.axvline(fault.injected - begin, color="#d1495b", linewidth=0.5, alpha=0.6)
    top.set_ylabel("acknowledged a second")
    top.legend(loc="upper right")
    _roles(bottom, run, begin, begin, run.end)
    bottom.set_xlabel("seconds")
    return _save(figure, path)


def _page(run: _Run, faults: Sequence[Fault], outages: Sequence[Outage], path: Path) -> Path:
    rows = -(-len(faults) // COLUMNS)
    figure = plt.figure(figsize=(4.2 * COLUMNS, 2.6 * rows), layout="constrained")
    for field, fault in zip(figure.subfigures(rows, COLUMNS, squeeze=False).flat, faults, strict=False):
        top, bottom = field.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        _close_by(top, bottom, run, fault)
        outage = longest_ms(fault, outages)
        field.suptitle(f"{fault.number} {fault.kind}\n{fault.detail}: {outage:.0f} ms", fontsize=7)
    return _save(figure, path)


def _close_by(top: Axes, bottom: Axes, run: _Run, fault: Fault) -> None:
    well = fault.recovered if fault.recovered is not None else fault.injected + LONGEST_S
    start, end = fault.injected - BEFORE_S, min(well + AFTER_S, fault.injected + LONGEST_S)
    bins = max(int((end - start) / BIN_S), 1)
    for times, colour in ((run.directly, "#8fb8de"), (run.service, "#1d4e89")):
        inside = [t - fault.injected for t in times if start <= t <= end]
        top.hist(inside, bins=bins, range=(start - fault.injected, end - fault.injected), color=colour, histtype="step")
    top.axvspan(0, max(fault.healed - fault.injected, 0.05), color="#d1495b", alpha=0.3)
    if fault.recovered is not None:
        top.axvline(fault.recovered - fault.injected, color="#2a9d4a", linewidth=1)
    top.tick_params(labelsize=6)
    _roles(bottom, run, fault.injected, start, end)


def _roles(axes: Axes, run: _Run, zero: float, start: float, end: float) -> None:
    for since, until, standing in run.stretches(start, end):
        for row, robot in enumerate(run.robots):
            if place := standing.roles.get(robot):
                axes.barh(row, until - since, left=since - zero, color=COLOURS[place.role], height=0.85)
    axes.set_yticks(range(len(run.robots)), run.robots, fontsize=6)
    axes.tick_params(axis="x", labelsize=6)
    axes.set_xlim(start - zero, end - zero)
    axes.invert_yaxis()
    if zero == start:
        axes.legend(handles=[Patch(color=colour, label=role) for role, colour in COLOURS.items()], fontsize=6, ncols=3)


def _save(figure: "plt.Figure", path: Path) -> Path:
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return path
