"""R1 and R2: epochs are consecutive; who wrote was active at that revision, who acknowledged while it was asked."""

from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.checks.feed import REMEMBERING, Marks, acknowledgements
from tests.chaos.checks.timeline import Timeline
from tests.chaos.checks.violation import Kind, Violation
from tests.chaos.history import Event, History


def check(history: History) -> Iterator[Violation]:
    """EPOCH: role events that skip or repeat one, tenures that are not the epoch; STALE writes and acknowledgements."""
    timeline = Timeline(history.events)
    yield from _epochs(timeline, history)
    yield from _writers(timeline, history)
    marks = Marks(history)
    by_revision = {event.revision: event for event in history.events}
    for write, answer in acknowledgements(history):
        event = by_revision.get(answer.revision)
        if event is not None and answer.epoch != event.epoch:
            yield Violation(
                Kind.STALE, write.content, f"acknowledged in epoch {answer.epoch}, written in epoch {event.epoch}"
            )
        standings = timeline.during(marks.committed_before(write.start), marks.committed_after(write.end))
        if not any(answer.robot in standing.active() for standing in standings):
            yield Violation(
                Kind.STALE, write.content, f"{answer.robot} acknowledged it at {write.end:.3f} s and was not active"
            )


def _epochs(timeline: Timeline, history: History) -> Iterator[Violation]:
    for before, after in pairwise(timeline.standings):
        if after.epoch != before.epoch + 1:
            yield Violation(Kind.EPOCH, f"epoch {after.epoch}", f"follows epoch {before.epoch}")
        for name, place in after.roles.items():
            old = before.roles.get(name)
            stayed = old is not None and old.role == "active" and place.tenure == old.tenure
            if place.role == "active" and place.tenure != after.epoch and not stayed:
                yield Violation(Kind.EPOCH, f"epoch {after.epoch}", f"{name} is active under tenure {place.tenure}")
    for event in history.events:
        standing = timeline.at(event.revision)
        if event.roles is None and standing is not None and event.epoch != standing.epoch:
            yield Violation(
                Kind.EPOCH, f"revision {event.revision}", f"is of epoch {event.epoch}, not {standing.epoch}"
            )


def _writers(timeline: Timeline, history: History) -> Iterator[Violation]:
    """No originator is given in a run, so an event of a memory names the robot that wrote it."""
    for event in history.events:
        if event.kind in REMEMBERING and not _was_active(timeline, event):
            yield Violation(Kind.STALE, f"revision {event.revision}", f"written by {event.robot}, which was not active")


def _was_active(timeline: Timeline, event: Event) -> bool:
    standing = timeline.at(event.revision)
    return standing is not None and event.robot in standing.active()
