"""Time frames of recall: an ISO 8601 interval, a pair of times, or words ("last week"), read by ``timewords``."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, tzinfo

from robotgroups import timewords
from robotgroups.errors import ArgumentError
from robotgroups.limits import shown
from robotgroups.timewords import Frame

Timeframe = str | tuple[datetime | None, datetime | None]

# As a time frame: take the time out of the query.
AUTO = "auto"
_KNOWN = (
    "write since/until in ISO 8601 with .. for an open end, or words such as 'yesterday', 'last week', 'past 3 days', "
    "'2 weeks ago', 'since Monday', 'in March', 'before 2026-01-01', 'between March and April'"
)


def parse(timeframe: Timeframe | None, *, now: datetime, zone: tzinfo = UTC) -> Frame:
    """Return (since, until): ``since`` is inclusive, ``until`` is not, None is open.

    ``2026-01-01/2026-02-01``, ``2026-01-01T08:00Z/..`` and ``../2026-02-01`` are intervals; a time in them, or in a
    pair, without a zone is UTC. Words and dates alone are read as ``timewords`` and ``timepoints`` tell, with ``now``
    and the days of ``zone``; weeks begin on Monday.

    Raises:
        ArgumentError: it cannot be read, or ends before it begins.

    """
    if timeframe is None:
        return None, None
    if not isinstance(timeframe, str):
        return _ordered(_pair(timeframe), timeframe)
    if "/" in timeframe:
        return _ordered(_interval(timeframe), timeframe)
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


def interval(pair: tuple[datetime | None, datetime | None]) -> str:
    """A pair of times as the ISO 8601 interval that ``parse`` reads. ArgumentError as there."""
    since, until = _ordered(_pair(pair), pair)
    return f"{since.isoformat() if since else '..'}/{until.isoformat() if until else '..'}"


def resolve(
    query: str, timeframe: Timeframe | None, *, now: datetime, zone: tzinfo = UTC
) -> tuple[str, datetime | None, datetime | None]:
    """What recall searches for, and when: (query, since, until). "auto" takes the time out of the query.

    Raises:
        ArgumentError: as ``parse``, or the query is nothing but a time.

    """
    if timeframe != AUTO:
        return query, *parse(timeframe, now=now, zone=zone)
    rest, frame = extract(query, now, zone)
    if not rest.strip():
        raise ArgumentError(f"query {shown(query)} is nothing but a time: say what to look for")
    return rest, *(frame or (None, None))


async def resolve_aside(
    query: str, timeframe: Timeframe | None, *, now: datetime, zone: tzinfo = UTC
) -> tuple[str, datetime | None, datetime | None]:
    """As ``resolve``, words in a thread: the first of them can take 0.3 s, which would hold up the event loop."""
    if isinstance(timeframe, str) and "/" not in timeframe:
        return await asyncio.to_thread(resolve, query, timeframe, now=now, zone=zone)
    return resolve(query, timeframe, now=now, zone=zone)


def _interval(timeframe: str) -> Frame:
    halves = timeframe.split("/")
    if len(halves) != len(("since", "until")):
        raise ArgumentError(f"timeframe {shown(timeframe)} is no interval: {_KNOWN}")
    since, until = (_time(half, timeframe) for half in halves)
    return since, until


def _pair(timeframe: tuple[datetime | None, datetime | None]) -> Frame:
    pair = tuple(timeframe)
    if len(pair) != len(("since", "until")) or any(not isinstance(t, datetime | None) for t in pair):
        raise ArgumentError(
            f"timeframe {shown(timeframe)} is no pair of times: give (since, until), None for open ends"
        )
    since, until = (t and _zoned(t) for t in pair)
    return since, until


def _ordered(frame: Frame, timeframe: Timeframe) -> Frame:
    since, until = frame
    if since and until and since >= until:
        raise ArgumentError(f"timeframe {shown(timeframe)} ends before it begins")
    return frame


def _time(text: str, whole: str) -> datetime | None:
    if text in {"", ".."}:
        return None
    try:
        return _zoned(datetime.fromisoformat(text))
    except ValueError:
        raise ArgumentError(f"timeframe {shown(whole)}: {text!r} is no ISO 8601 time") from None


def _zoned(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
