"""Who had which role at which revision, by the role events of the feed."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.chaos.history import Event, Place


@dataclass(frozen=True)
class Standing:
    """The membership from one role event to the next."""

    revision: int
    epoch: int
    roles: Mapping[str, Place]

    def active(self) -> tuple[str, ...]:
        """Names of the active robots."""
        return tuple(sorted(name for name, place in self.roles.items() if place.role == "active"))


class Timeline:
    """Standings in the order of their revisions."""

    def __init__(self, events: Iterable[Event]) -> None:
        roles = sorted((event for event in events if event.roles is not None), key=lambda event: event.revision)
        self.standings = [Standing(event.revision, event.epoch, event.roles or {}) for event in roles]
        self._revisions = [standing.revision for standing in self.standings]

    def at(self, revision: int) -> Standing | None:
        """What held for a write that got this revision; None before the first role event."""
        place = bisect_left(self._revisions, revision)
        return self.standings[place - 1] if place else None

    def during(self, low: int, high: float) -> list[Standing]:
        """What held when the group was at revision `low`, and whatever began to hold before revision `high`."""
        first = bisect_right(self._revisions, low)
        last = bisect_left(self._revisions, high)
        return self.standings[max(first - 1, 0) : last]
