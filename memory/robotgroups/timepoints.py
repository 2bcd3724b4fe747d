"""One point or period of time, named in English: what such a name looks like, and when it is. No clock.

What counts as a name is decided by ``POINT``; when a named day or "two months ago" is, by dateparser. It was chosen
over parsedatetime (not kept up since 2020, reads "last 3 days" as the future), timefhuman (knows no "last week") and
metadate (reads "Monday" as the future): it is well kept, knows how precise a time is and prefers the past. Its own
search in texts takes "we" for Wednesday, hence the pattern. It is imported when it is needed first: 9 MB, 0.3 s.

Days, weeks (from Monday, ISO 8601), months, quarters and years are those of the calendar in the zone. "last week" is
the calendar's week before this one; "past week" and "last 7 days" reach back from now. "2 weeks ago" is that whole
week, "2 hours ago" the hour that began then. A weekday is the last one before today; a day or month without a year is
the latest that has begun. A few and several are 3 (as in HTM), a couple 2; "recently" is since 3 days ago. Seasons,
times of day ("5pm") and the future ("tomorrow") are not read.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

FEW = 3
# dateparser's loaders and caches are shared by its parsers.
_reading = threading.Lock()

_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_SHORT_MONTHS = "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_NUMBER = (
    r"\d{1,4}|a\s+few|few|several|a\s+couple(?:\s+of)?|couple\s+of"
    r"|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
)
_CLOCK_UNITS = "second|minute|hour"
_UNITS = f"{_CLOCK_UNITS}|day|week|month|quarter|year"
_DAY_NUMBER = r"(?:[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?\b"
_YEAR = r"(?:19|20)\d\d"

POINT = re.compile(
    rf"""(?:
      (?P<iso> \d{{4}}-\d\d-\d\d (?: [T ]\d\d:\d\d (?: :\d\d (?: \.\d{{1,6}} )? )? (?: Z | [+-]\d\d:?\d\d )? )? )
    | (?P<iso_month> {_YEAR} - (?: 0[1-9] | 1[0-2] ) )
    | (?P<part> (?: last\s+night | tonight
        | (?: this | yesterday ) \s+ (?: morning | afternoon | evening ) | yesterday\s+night ) )
    | (?P<day> (?: the\s+ )? day\s+before\s+yesterday | yesterday | today )
    | (?P<recent> recently | lately )
    | (?P<ago> (?P<ago_number> {_NUMBER} ) \s+ (?P<ago_unit> {_UNITS} | weekend ) s? \s+ ago )
    | (?P<rolling> (?: the\s+ )? (?: (?: last | past | previous ) \s+ (?P<rolling_number> {_NUMBER} ) \s+ | past \s+
        | last \s+ (?=hour) ) (?P<rolling_unit> {_UNITS} ) s? )
    | (?P<before_last> (?: the\s+ )? (?P<before_last_unit> week | weekend | month | quarter | year )
        \s+ before \s+ last )
    | (?P<calendar> (?: the\s+ )? (?P<which> this | current | last | previous ) \s+
        (?P<calendar_unit> week | weekend | month | quarter | year ) )
    | (?P<weekday> (?: (?P<which_day> this | last ) \s+ )? (?P<weekday_name> {_DAYS} ) )
    | (?P<quarter> q (?P<quarter_number> [1-4] ) \s+ (?P<quarter_year> {_YEAR} ) )
    | (?P<date> (?: the\s+ )? (?P<date_day> {_DAY_NUMBER} ) \s+ (?: of\s+ )?
        (?P<date_month> {_MONTHS} | {_SHORT_MONTHS} ) (?: ,? \s+ (?P<date_year> {_YEAR} ) )?
        | (?P<date_month2> {_MONTHS} | {_SHORT_MONTHS} ) \s+ (?: the\s+ )? (?P<date_day2> {_DAY_NUMBER} )
        (?: ,? \s+ (?P<date_year2> {_YEAR} ) )? )
    | (?P<month> (?: {_MONTHS} | {_SHORT_MONTHS} ) (?: ,? | \s+of ) \s+ (?P<month_year> {_YEAR} )
        | (?P<month_name> {_MONTHS} ) )
    | (?P<year> {_YEAR} )
    )(?!\w)""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_PARTS = {"morning": (6, 6), "afternoon": (12, 6), "evening": (18, 6), "night": (20, 10), "tonight": (20, 10)}


class Span(NamedTuple):
    """``end`` None: until now. ``floating``: another year or week would do as well."""

    start: datetime
    end: datetime | None
    floating: bool = False


def kind_of(point: re.Match[str]) -> str:
    """The kind of name that ``POINT`` has found: the name of its group."""
    return next(name for name in _KINDS if point[name] is not None)


def span_of(point: re.Match[str], now: datetime, zone: tzinfo, prefer: str = "past") -> Span | None:
    """When a point is, for one who says it at ``now`` (in ``zone``); None when there is no such time."""
    try:
        return _KINDS[kind_of(point)](point, now, zone, prefer)
    except OverflowError:  # beyond the calendar
        return None


def both_of(first: re.Match[str], second: re.Match[str], now: datetime, zone: tzinfo) -> tuple[Span, Span] | None:
    """Two ends: the second is the latest that has begun and the first the latest before it, unless they say more."""
    since, until = span_of(first, now, zone), span_of(second, now, zone)
    if since and until and since.floating:
        since = span_of(first, until.start, zone)
    elif since and until and until.floating:
        until = span_of(second, since.start, zone, "future")
    return (since, until) if since and until else None


def _dateparser(words: str, base: datetime, prefer: str = "past") -> datetime | None:
    """What dateparser reads, without a zone. ``base`` is its now."""
    from dateparser.date import DateDataParser  # noqa: PLC0415

    settings = {
        "RELATIVE_BASE": base.replace(tzinfo=None),
        "PREFER_DATES_FROM": prefer,
        "DATE_ORDER": "DMY",
        "RETURN_AS_TIMEZONE_AWARE": False,
        "PARSERS": ["relative-time", "absolute-time"],
    }
    with _reading:
        data = DateDataParser(languages=["en"], settings=settings).get_date_data(words)
    return data.date_obj


def _before(number: str, unit: str, now: datetime, zone: tzinfo) -> datetime | None:
    """The moment so long before now, on the clock for hours and less, else on the calendar."""
    number = re.sub(r"^(?:a\s+few|few|several)$", str(FEW), number, flags=re.IGNORECASE)
    number = re.sub(r"^(?:a\s+)?couple(?:\s+of)?$", "2", number, flags=re.IGNORECASE)
    on_clock = unit in _CLOCK_UNITS.split("|")
    if unit == "quarter":
        got: datetime | None = now
        for _ in range(3):  # the number may be a word, and the library knows no quarters: so many months, three times
            got = _dateparser(f"{number} month ago", got) if got else None
    else:
        base = now.astimezone(UTC) if on_clock else now
        got = _dateparser(f"{number} {'week' if unit == 'weekend' else unit} ago", base)
    return got.replace(tzinfo=UTC if on_clock else zone) if got else None


def _calendar(unit: str, day: date, zone: tzinfo, back: int = 0) -> Span:
    """The calendar's unit that contains a day, or one of those before it."""
    month = day.month - 1
    match unit:
        case "day":
            first, after = day, day + timedelta(days=1)
        case "week":
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(days=7)
        case "weekend":
            first = day + timedelta(days=5 - day.weekday())
            after = first + timedelta(days=2)
        case _:
            length = {"month": 1, "quarter": 3, "year": 12}[unit]
            begin = day.year * 12 + month - month % length
            first, after = (date(m // 12, m % 12 + 1, 1) for m in (begin, begin + length))
    if back:
        return _calendar(
            unit, (day - timedelta(days=7)) if unit == "weekend" else first - timedelta(days=1), zone, back - 1
        )
    return Span(_midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, zone)


def _iso(point: re.Match[str], _now: datetime, zone: tzinfo, _prefer: str) -> Span | None:
    try:
        moment = datetime.fromisoformat(point["iso"])
    except ValueError:
        return None
    if len(point["iso"]) == len("2026-01-01"):
        return _calendar("day", moment.date(), zone)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return Span(moment, moment)


def _iso_month(point: re.Match[str], _now: datetime, zone: tzinfo, _prefer: str) -> Span:
    return _calendar("month", date.fromisoformat(point["iso_month"] + "-01"), zone)


def _part(point: re.Match[str], now: datetime, zone: tzinfo, _prefer: str) -> Span:
    words = point["part"].lower().split()
    day = now.date() - timedelta(days=words[0] in {"last", "yesterday"})
    hour, hours = _PARTS[words[-1]]
    start = datetime.combine(day, time(hour), zone)
    return Span(start, start + timedelta(hours=hours))


def _day(point: re.Match[str], now: datetime, zone: tzinfo, _prefer: str) -> Span:
    words = point["day"].lower().split()
    back = 0 if words == ["today"] else 1 if words == ["yesterday"] else 2
    return _calendar("day", now.date(), zone, back)


def _recent(_point: re.Match[str], now: datetime, _zone: tzinfo, _prefer: str) -> Span:
    return Span(now - timedelta(days=FEW), None)


def _ago(point: re.Match[str], now: datetime, zone: tzinfo, _prefer: str) -> Span | None:
    unit = point["ago_unit"].lower()
    start = _before(point["ago_number"], unit, now, zone)
    if start is None:
        return None
    if unit in _CLOCK_UNITS.split("|"):
        start = start.astimezone(zone)
        return Span(start, (start.astimezone(UTC) + timedelta(**{f"{unit}s": 1})).astimezone(zone))
    return _calendar(unit, start.date(), zone)


def _rolling(point: re.Match[str], now: datetime, zone: tzinfo, _prefer: str) -> Span | None:
    start = _before(point["rolling_number"] or "1", point["rolling_unit"].lower(), now, zone)
    return Span(start.astimezone(zone), None) if start else None


def _before_last(point: re.Match[str], now: datetime, zone: tzinfo, _prefer: str) -> Span:
    return _calendar(point["before_last_unit"].lower(), now.date(), zone, back=2)


def _this_or_last(point: re.Match[str], now: datetime, zone: tzinfo, _prefer: str) -> Span:
    back = int(point["which"].lower() in {"last", "previous"})
    return _calendar(point["calendar_unit"].lower(), now.date(), zone, back)


def _weekday(point: re.Match[str], now: datetime, zone: tzinfo, prefer: str) -> Span | None:
    if (point["which_day"] or "").lower() == "this":
        monday = now.date() - timedelta(days=now.weekday())
        number = _DAYS.split("|").index(point["weekday_name"].lower())
        return _calendar("day", monday + timedelta(days=number), zone)
    got = _dateparser(point["weekday_name"], now, prefer)
    return _calendar("day", got.date(), zone)._replace(floating=True) if got else None


def _quarter(point: re.Match[str], _now: datetime, zone: tzinfo, _prefer: str) -> Span:
    return _calendar("quarter", date(int(point["quarter_year"]), int(point["quarter_number"]) * 3, 1), zone)


def _date(point: re.Match[str], now: datetime, zone: tzinfo, prefer: str) -> Span | None:
    got = _dateparser(point["date"], now, prefer)
    number = int(re.sub(r"\D", "", point["date_day"] or point["date_day2"]))
    year = point["date_year"] or point["date_year2"]
    if not got or got.day != number or (year and got.year != int(year)):
        return None  # the library makes something else of the 31st of April
    return _calendar("day", got.date(), zone)._replace(floating=year is None)


def _month(point: re.Match[str], now: datetime, zone: tzinfo, prefer: str) -> Span | None:
    got = _dateparser(point["month"], now, prefer)
    return _calendar("month", got.date(), zone)._replace(floating=not point["month_year"]) if got else None


def _year(point: re.Match[str], _now: datetime, zone: tzinfo, _prefer: str) -> Span:
    return _calendar("year", date(int(point["year"]), 1, 1), zone)


_KINDS = {
    "iso": _iso,
    "iso_month": _iso_month,
    "part": _part,
    "day": _day,
    "recent": _recent,
    "ago": _ago,
    "rolling": _rolling,
    "before_last": _before_last,
    "calendar": _this_or_last,
    "weekday": _weekday,
    "quarter": _quarter,
    "date": _date,
    "month": _month,
    "year": _year,
}
