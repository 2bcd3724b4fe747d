"""Time frames of recall: an ISO 8601 interval, or a pair of times."""

from __future__ import annotations

from datetime import UTC, datetime

from robotgroups.errors import ArgumentError

Timeframe = str | tuple[datetime | None, datetime | None]


def parse(timeframe: Timeframe | None) -> tuple[datetime | None, datetime | None]:
    """Return (since, until): ``since`` is inclusive, ``until`` is not, None is open. A time without a zone is UTC.

    ``2026-01-01/2026-02-01``, ``2026-01-01T08:00Z/..`` and ``../2026-02-01`` are intervals.

    Raises:
        ArgumentError: it cannot be read, or ends before it begins.

    """
    if timeframe is None:
        return None, None
    if isinstance(timeframe, str):
        halves = timeframe.split("/")
        if len(halves) != len(("since", "until")):
            raise ArgumentError(
                f"timeframe {timeframe!r} is no interval: write since/until in ISO 8601, .. for open ends"
            )
        since, until = (_time(half, timeframe) for half in halves)
    else:
        pair = tuple(timeframe)
        if len(pair) != len(("since", "until")) or any(not isinstance(t, datetime | None) for t in pair):
            raise ArgumentError(f"timeframe {timeframe!r} is no pair of times: give (since, until), None for open ends")
        since, until = map(_zoned, pair)
    if since and until and since >= until:
        raise ArgumentError(f"timeframe {timeframe!r} ends before it begins")
    return since, until


def _time(text: str, whole: str) -> datetime | None:
    if text in {"", ".."}:
        return None
    try:
        return _zoned(datetime.fromisoformat(text))
    except ValueError:
        raise ArgumentError(f"timeframe {whole!r}: {text!r} is no ISO 8601 time") from None


def _zoned(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
