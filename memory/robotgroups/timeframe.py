"""Time frames of recall: an ISO 8601 interval, a pair of times, or words ("last week"), read by ``timewords``."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from robotgroups import timewords
from robotgroups.duration import Duration, duration_of
from robotgroups.errors import ArgumentError
from robotgroups.limits import check_time, shown
from robotgroups.timewords import Frame

Timeframe = str | tuple[datetime | None, datetime | None]

# As a time frame: take the time out of the query.
AUTO = "auto"
_KNOWN = (
    "write since/until in ISO 8601 with .. for an open end, a time and a duration such as P1M, or words such as "
    "'yesterday', 'last week', 'past 3 days', '2 weeks ago', 'since Monday', 'in March', 'before 2026-01-01', "
    "'between March and April'"
)


def parse(timeframe: Timeframe | None, *, now: datetime, zone: tzinfo = UTC) -> Frame:
    """Return (since, until): ``since`` is inclusive, ``until`` is not, None is open.

    ``2026-01-01/2026-02-01``, ``2026-01-01T08:00Z/..``, ``../2026-02-01``, ``2026-01-01/P1M`` and ``P1M/2026-02-01``
    are intervals; a time in them, or in a pair, without a zone is of ``zone``. Words and dates alone are read as
    ``timewords`` and ``timepoints`` tell, with ``now`` and the days of ``zone``; weeks begin on Monday.

    Raises:
        ArgumentError: it cannot be read, or ends before it begins.

    """
    if timeframe is None:
        return None, None
    if not isinstance(timeframe, str):
        return _ordered(_pair(timeframe, zone), timeframe)
    if "/" in timeframe:
        return _ordered(_interval(timeframe, zone), timeframe)
    frame = timewords.read(timeframe, _zoned(now), zone)
    if frame is None:
        raise ArgumentError(f"timeframe {shown(timeframe)} is no time that can be read: {_KNOWN}")
    return frame


def extract(query: str, now: datetime, zone: tzinfo = UTC) -> tuple[str, Frame | None]:
    """Take the first time out of a query: ("what was said about billing", last week) of "what was said last week ...".

    A query that names none comes back as it is, with None. The rest may be blank.
    """
    found = timewords.find(query, _zoned(now), zone)
    if found is None:
        return query, None
    before, after = query[: found.start].rstrip(), query[found.end :].lstrip()
    if before.endswith("(") and after.startswith(")"):
        before, after = before[:-1].rstrip(), after[1:].lstrip()
    if not before or before.endswith(","):
        after = re.sub(r"^[,;:]\s*", "", after)
    gap = " " if before and after and after[0] not in ",.;:!?)" else ""
    return before + gap + after, (found.since, found.until)


def zone_named(name: str) -> tzinfo:
    """The time zone of an IANA name. ArgumentError, which names it."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, TypeError, AttributeError, OSError):
        raise ArgumentError(
            f"unknown timezone {shown(name)}: give an IANA name such as 'Europe/Berlin', or 'UTC'"
        ) from None


def interval(pair: tuple[datetime | None, datetime | None], zone: tzinfo = UTC) -> str:
    """A pair of times as the ISO 8601 interval that ``parse`` reads. ArgumentError as there."""
    since, until = _ordered(_pair(pair, zone), pair)
    return f"{since.isoformat() if since else '..'}/{until.isoformat() if until else '..'}"


def resolve(
    query: str, timeframe: Timeframe | None, *, now: datetime, zone: tzinfo = UTC
) -> tuple[str, datetime | None, datetime | None]:
    """What recall searches for, and when: (query, since, until). "auto" takes the time out of the query.

    Nothing is left of a query that is nothing but a time. ArgumentError as ``parse``.
    """
    if timeframe != AUTO:
        return query, *parse(timeframe, now=now, zone=zone)
    rest, frame = extract(query, now, zone)
    return rest.strip() and rest, *(frame or (None, None))


async def resolve_aside(
    query: str, timeframe: Timeframe | None, *, now: datetime, zone: tzinfo = UTC
) -> tuple[str, datetime | None, datetime | None]:
    """As ``resolve``, words in a thread: the first of them can take 0.3 s, which would hold up the event loop."""
    if isinstance(timeframe, str) and "/" not in timeframe:
        return await asyncio.to_thread(resolve, query, timeframe, now=now, zone=zone)
    return resolve(query, timeframe, now=now, zone=zone)


def _interval(timeframe: str, zone: tzinfo) -> Frame:
    halves = timeframe.split("/")
    if len(halves) != len(("since", "until")):
        raise ArgumentError(f"timeframe {shown(timeframe)} is no interval: {_KNOWN}")
    since, until = (duration_of(half) or _time(half, timeframe, zone) for half in halves)
    try:
        if isinstance(since, Duration) and isinstance(until, datetime):
            return _utc(since.before(until)), _utc(until)
        if isinstance(since, datetime) and isinstance(until, Duration):
            return _utc(since), _utc(until.after(since))
    except OverflowError:
        raise ArgumentError(f"timeframe {shown(timeframe)} reaches beyond the years 1 to 9999") from None
    if isinstance(since, Duration) or isinstance(until, Duration):
        raise ArgumentError(f"timeframe {shown(timeframe)}: a duration needs a time at its other end")
    return _utc(since), _utc(until)


def _pair(timeframe: tuple[datetime | None, datetime | None], zone: tzinfo) -> Frame:
    pair = tuple(timeframe)
    if len(pair) != len(("since", "until")) or any(not isinstance(t, datetime | None) for t in pair):
        raise ArgumentError(
            f"timeframe {shown(timeframe)} is no pair of times: give (since, until), None for open ends"
        )
    since, until = (_utc(t and _zoned(t, zone)) for t in pair)
    return since, until


def _ordered(frame: Frame, timeframe: Timeframe) -> Frame:
    since, until = frame
    if since and until and since >= until:
        raise ArgumentError(f"timeframe {shown(timeframe)} ends before it begins")
    return frame


def _time(text: str, whole: str, zone: tzinfo) -> datetime | None:
    if text in {"", ".."}:
        return None
    try:
        return _zoned(datetime.fromisoformat(text), zone)
    except ValueError:
        raise ArgumentError(f"timeframe {shown(whole)}: {text!r} is no ISO 8601 time or duration") from None


def _zoned(time: datetime, zone: tzinfo = UTC) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=zone)


def _utc(time: datetime | None) -> datetime | None:
    # two times of one zone are compared by their clocks, which show an hour twice when summer ends
    return time and check_time(time, "timeframe")
