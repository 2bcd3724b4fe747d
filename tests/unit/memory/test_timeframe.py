"""Time frames: intervals, pairs, words, and words in a query. Now is a Wednesday."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotgroups import timeframe
from robotgroups.errors import ArgumentError

NOW = datetime(2026, 7, 15, 10, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: tzinfo = UTC) -> datetime | None:
    return None if text == ".." else datetime.fromisoformat(text).replace(tzinfo=zone)


# -- intervals and pairs ---------------------------------------------------------------------------------------------

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NEXT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        (None, None, None),
        ("2026-01-01/2026-01-02", DAY, NEXT),
        ("2026-01-01T00:00:00Z/..", DAY, None),
        ("../2026-01-02T02:00:00+02:00", None, NEXT),
        ("/2026-01-02", None, NEXT),
        ((DAY, NEXT), DAY, NEXT),
        ((None, NEXT.astimezone(timezone(timedelta(hours=5)))), None, NEXT),
        ((datetime(2026, 1, 1), None), DAY, None),  # noqa: DTZ001  a time without a zone is UTC
        ("2026-01-01/P1D", DAY, NEXT),
        ("P1D/2026-01-02", DAY, NEXT),
        ("2026-01-01/PT24H", DAY, NEXT),
        ("2026-01-01/pt1440m", DAY, NEXT),
        ("2025-12-25/P1W", at("2025-12-25"), DAY),
        ("2025-12-01/P1M", at("2025-12-01"), DAY),
        ("P1M/2026-02-01", DAY, at("2026-02-01")),
        ("2024-02-29/P1Y", at("2024-02-29"), at("2025-02-28")),
        ("2026-01-31/P1M", at("2026-01-31"), at("2026-02-28")),
        ("P13M/2026-03-31", at("2025-02-28"), at("2026-03-31")),
        ("2026-01-01T08:00Z/P1Y2M3DT4H5M6.5S", at("2026-01-01T08:00"), at("2027-03-04T12:05:06.500")),
    ],
)
def test_time_frames(given: Any, since: datetime | None, until: datetime | None) -> None:
    assert timeframe.parse(given, now=NOW) == (since, until)


@pytest.mark.parametrize(
    "given",
    [
        "soon",
        "2026-01-01/2026-13-01",
        "1/2/3",
        "soon/later",
        "tomorrow/..",
        "auto",
        "P1M/..",
        "../P1M",
        "P1M/P1D",
        "2026-01-01/P",
        "2026-01-01/PT",
        "2026-01-01/P1",
        "2026-01-01/P1H",
        "2026-01-01/-P1D",
        "2026-01-01/P1M1Y",
        "2026-01-01/P9000Y",
        "P3000Y/2026-01-01",
        "2026-01-01/P999999M999999D",
        "P999999D/2026-01-01",
    ],
)
def test_a_time_frame_that_cannot_be_read_is_named(given: str) -> None:
    with pytest.raises(ArgumentError, match=f"timeframe '{given}'"):
        timeframe.parse(given, now=NOW)


@pytest.mark.parametrize("given", ["2026-01-02/2026-01-01", (DAY, DAY), "2026-01-01/P0D", "PT0S/2026-01-01"])
def test_a_time_frame_that_ends_before_it_begins_is_refused(given: Any) -> None:
    with pytest.raises(ArgumentError, match="ends before it begins"):
        timeframe.parse(given, now=NOW)


@pytest.mark.parametrize("given", [(DAY,), (DAY, "2026-01-02"), ()])
def test_a_pair_of_something_else_is_refused(given: Any) -> None:
    with pytest.raises(ArgumentError, match="is no pair of times"):
        timeframe.parse(given, now=NOW)


times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(times | st.none(), times | st.none())
def test_a_pair_written_as_an_interval_is_read_again(since: datetime | None, until: datetime | None) -> None:
    if since and until and since >= until:
        with pytest.raises(ArgumentError, match="ends before it begins"):
            timeframe.interval((since, until))
    else:
        assert timeframe.parse(timeframe.interval((since, until)), now=NOW) == (since, until)


# -- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "since", "until"),
    [
        # days
        ("today", "2026-07-15", "2026-07-16"),
        ("yesterday", "2026-07-14", "2026-07-15"),
        ("the day before yesterday", "2026-07-13", "2026-07-14"),
        ("Yesterday", "2026-07-14", "2026-07-15"),
        ("this morning", "2026-07-15T06:00", "2026-07-15T12:00"),
        ("yesterday afternoon", "2026-07-14T12:00", "2026-07-14T18:00"),
        ("this evening", "2026-07-15T18:00", "2026-07-16"),
        ("last night", "2026-07-14T20:00", "2026-07-15T06:00"),
        ("tonight", "2026-07-15T20:00", "2026-07-16T06:00"),
        # weekdays: the last one before today
        ("Monday", "2026-07-13", "2026-07-14"),
        ("last Monday", "2026-07-13", "2026-07-14"),
        ("on thursday", "2026-07-09", "2026-07-10"),
        ("Wednesday", "2026-07-08", "2026-07-09"),
        ("this Wednesday", "2026-07-15", "2026-07-16"),
        ("this Friday", "2026-07-17", "2026-07-18"),
        # the calendar's weeks, from Monday, months, quarters and years
        ("this week", "2026-07-13", "2026-07-20"),
        ("last week", "2026-07-06", "2026-07-13"),
        ("the previous week", "2026-07-06", "2026-07-13"),
        ("the week before last", "2026-06-29", "2026-07-06"),
        ("this weekend", "2026-07-18", "2026-07-20"),
        ("last weekend", "2026-07-11", "2026-07-13"),
        ("weekend before last", "2026-07-04", "2026-07-06"),
        ("this month", "2026-07-01", "2026-08-01"),
        ("last month", "2026-06-01", "2026-07-01"),
        ("month before last", "2026-05-01", "2026-06-01"),
        ("this quarter", "2026-07-01", "2026-10-01"),
        ("last quarter", "2026-04-01", "2026-07-01"),
        ("current year", "2026-01-01", "2027-01-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        # back from now: open, for a memory may be younger than this clock's now
        ("last 3 days", "2026-07-12T10:30", ".."),
        ("in the last three days", "2026-07-12T10:30", ".."),
        ("past week", "2026-07-08T10:30", ".."),
        ("the past hour", "2026-07-15T09:30", ".."),
        ("last hour", "2026-07-15T09:30", ".."),
        ("last 90 minutes", "2026-07-15T09:00", ".."),
        ("past 30 seconds", "2026-07-15T10:29:30", ".."),
        ("last couple of months", "2026-05-15T10:30", ".."),
        ("last few weeks", "2026-06-24T10:30", ".."),
        ("past two quarters", "2026-01-15T10:30", ".."),
        ("past year", "2025-07-15T10:30", ".."),
        ("recently", "2026-07-12T10:30", ".."),
        # so long ago
        ("2 weeks ago", "2026-06-29", "2026-07-06"),
        ("a week ago", "2026-07-06", "2026-07-13"),
        ("3 days ago", "2026-07-12", "2026-07-13"),
        ("a few days ago", "2026-07-12", "2026-07-13"),
        ("several days ago", "2026-07-12", "2026-07-13"),
        ("a couple of days ago", "2026-07-13", "2026-07-14"),
        ("twelve months ago", "2025-07-01", "2025-08-01"),
        ("two quarters ago", "2026-01-01", "2026-04-01"),
        ("2 weekends ago", "2026-07-04", "2026-07-06"),
        ("5 years ago", "2021-01-01", "2022-01-01"),
        ("2 hours ago", "2026-07-15T08:30", "2026-07-15T09:30"),
        ("an hour ago", "2026-07-15T09:30", "2026-07-15T10:30"),
        # dates
        ("2026-01-01", "2026-01-01", "2026-01-02"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2025", "2025-01-01", "2026-01-01"),
        ("Q4 2025", "2025-10-01", "2026-01-01"),
        ("March", "2026-03-01", "2026-04-01"),
        ("in march", "2026-03-01", "2026-04-01"),
        ("May", "2026-05-01", "2026-06-01"),
        ("in July", "2026-07-01", "2026-08-01"),
        ("August", "2025-08-01", "2025-09-01"),
        ("March 2024", "2024-03-01", "2024-04-01"),
        ("March of 2024", "2024-03-01", "2024-04-01"),
        ("Sept 2025", "2025-09-01", "2025-10-01"),
        ("3 March", "2026-03-03", "2026-03-04"),
        ("March 3rd", "2026-03-03", "2026-03-04"),
        ("the 3rd of March", "2026-03-03", "2026-03-04"),
        ("March 3, 2024", "2024-03-03", "2024-03-04"),
        ("20 July", "2025-07-20", "2025-07-21"),
        ("15 July", "2026-07-15", "2026-07-16"),
        ("29 February", "2024-02-29", "2024-03-01"),
        ("1 Jan", "2026-01-01", "2026-01-02"),
        # open at one end
        ("since Monday", "2026-07-13", ".."),
        ("since yesterday", "2026-07-14", ".."),
        ("since 2 hours ago", "2026-07-15T08:30", ".."),
        ("since 2026-07-15T08:00Z", "2026-07-15T08:00", ".."),
        ("since 2026-07-15 08:00+02:00", "2026-07-15T06:00", ".."),
        ("since last month", "2026-06-01", ".."),
        ("from last week onwards", "2026-07-06", ".."),
        ("after last week", "2026-07-13", ".."),
        ("after 2026-07-01", "2026-07-02", ".."),
        ("before 2026-01-01", "..", "2026-01-01"),
        ("before last week", "..", "2026-07-06"),
        ("before March", "..", "2026-03-01"),
        ("until yesterday", "..", "2026-07-15"),
        ("till 2024", "..", "2025-01-01"),
        ("up to March 3", "..", "2026-03-04"),
        # both ends, in whole
        ("between March and April", "2026-03-01", "2026-05-01"),
        ("between november and february", "2025-11-01", "2026-03-01"),
        ("between September and October", "2025-09-01", "2025-11-01"),
        ("from Monday to Tuesday", "2026-07-13", "2026-07-15"),
        ("between Friday and Monday", "2026-07-10", "2026-07-14"),
        ("from Monday to Friday", "2026-07-06", "2026-07-11"),
        ("from Monday to now", "2026-07-13", ".."),
        ("from March through yesterday", "2026-03-01", "2026-07-15"),
        ("between 3 March and 5 April 2024", "2024-03-03", "2024-04-06"),
        ("between March 2024 and April", "2024-03-01", "2024-05-01"),
        ("between 2024-12-30 and January 2", "2024-12-30", "2025-01-03"),
        ("from 2024-01-01 to 2024-06-30", "2024-01-01", "2024-07-01"),
        ("between 2020 and 2022", "2020-01-01", "2023-01-01"),
        ("  last   week ", "2026-07-06", "2026-07-13"),
    ],
)
def test_words(words: str, since: str, until: str) -> None:
    assert timeframe.parse(words, now=NOW) == (at(since), at(until))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "soon",
        "tomorrow",
        "next week",
        "last summer",
        "last",
        "week",
        "we",
        "second",
        "5pm",
        "1.2.2026",
        "31 April",
        "29 February 2025",
        "2026-02-30",
        "2026-13",
        "2026-07-15T08:00Z",
        "2026-07-15T25:00",
        "9999-12-31",
        "9999 years ago",
        "between today and yesterday",
        "after the past week",
        "last week about billing",
        "2020 2021",
        "la\u017ft week",
        "\u0663 days ago",
        "x" * 500,
    ],
)
def test_what_is_no_time_is_refused_and_named(words: str) -> None:
    with pytest.raises(ArgumentError, match="is no time that can be read: write since/until in ISO 8601") as refused:
        timeframe.parse(words, now=NOW)
    assert words[:100] in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("words", "now", "since", "until"),
    [
        ("last week", "2026-01-01", "2025-12-22", "2025-12-29"),
        ("last week", "2026-07-13", "2026-07-06", "2026-07-13"),  # on a Monday
        ("last week", "2026-07-19T23:59", "2026-07-06", "2026-07-13"),  # on a Sunday
        ("last weekend", "2026-07-19", "2026-07-11", "2026-07-13"),
        ("last month", "2026-03-31", "2026-02-01", "2026-03-01"),
        ("a month ago", "2026-03-31", "2026-02-01", "2026-03-01"),
        ("last month", "2026-01-31", "2025-12-01", "2026-01-01"),
        ("last quarter", "2026-02-28", "2025-10-01", "2026-01-01"),
        ("March", "2026-03-01", "2026-03-01", "2026-04-01"),
        ("March", "2026-02-28", "2025-03-01", "2025-04-01"),
        ("a year ago", "2024-02-29", "2023-01-01", "2024-01-01"),
        ("between March and April", "2026-03-15", "2025-03-01", "2025-05-01"),
        ("Sunday", "2026-07-19", "2026-07-12", "2026-07-13"),
    ],
)
def test_the_calendar_turns(words: str, now: str, since: str, until: str) -> None:
    moment = at(now)
    assert moment is not None
    assert timeframe.parse(words, now=moment) == (at(since), at(until))


@pytest.mark.parametrize(
    ("words", "since", "until"),
    [
        # 23:30 in UTC on 28 March is 00:30 on the 29th in Berlin, whose clocks go on an hour that night
        ("today", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("yesterday", "2026-03-28T00:00+01:00", "2026-03-29T00:00+01:00"),
        ("past 2 hours", "2026-03-28T21:30+00:00", None),
        ("an hour ago", "2026-03-28T22:30+00:00", "2026-03-28T23:30+00:00"),
        ("since 2026-03-30", "2026-03-30T00:00+02:00", None),
        ("since 2026-03-30T08:00", "2026-03-30T08:00+02:00", None),
    ],
)
def test_days_are_those_of_the_zone(words: str, since: str, until: str | None) -> None:
    frame = timeframe.parse(words, now=datetime(2026, 3, 28, 23, 30, tzinfo=UTC), zone=BERLIN)
    assert frame == (datetime.fromisoformat(since), datetime.fromisoformat(until) if until else None)


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        ("2026-03-29/2026-03-30", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("2026-03-29/P1D", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),  # 23 hours long
        ("2026-03-29/PT24H", "2026-03-28T23:00Z", "2026-03-29T23:00Z"),
        ("P1M/2026-04-01", "2026-02-28T23:00Z", "2026-03-31T22:00Z"),
        ("2026-03-29T12:00+00:00/..", "2026-03-29T12:00Z", None),
        ((datetime(2026, 3, 29), None), "2026-03-28T23:00Z", None),  # noqa: DTZ001
        # the clocks show half past two twice
        ("2026-10-25T02:30+02:00/2026-10-25T02:30+01:00", "2026-10-25T00:30Z", "2026-10-25T01:30Z"),
        ("2026-10-25T01:30/PT2H", "2026-10-24T23:30Z", "2026-10-25T01:30Z"),
    ],
)
def test_intervals_without_a_zone_are_of_the_zone(given: Any, since: str, until: str | None) -> None:
    frame = timeframe.parse(given, now=NOW, zone=BERLIN)
    assert frame == (datetime.fromisoformat(since), datetime.fromisoformat(until) if until else None)
    if not isinstance(given, str):
        assert timeframe.interval(given, BERLIN) == "2026-03-28T23:00:00+00:00/.."


@pytest.mark.parametrize(
    "name", ["Mars/Base", "", "../etc/passwd", "/etc/passwd", "Europe", "a\0b", "zone.tab", 7, None]
)
def test_an_unknown_timezone_is_named(name: Any) -> None:
    with pytest.raises(ArgumentError) as refused:
        timeframe.zone_named(name)
    assert str(refused.value) == (f"unknown timezone {name!r}: give an IANA name such as 'Europe/Berlin', or 'UTC'")


def test_hours_are_counted_on_the_clock_when_summer_begins() -> None:
    now = datetime(2026, 3, 29, 4, 0, tzinfo=BERLIN)  # three hours after midnight
    since, _ = timeframe.parse("past 3 hours", now=now, zone=BERLIN)
    assert since == datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN)


def test_now_without_a_zone_is_utc() -> None:
    assert timeframe.parse("past hour", now=NOW.replace(tzinfo=None)) == (NOW - timedelta(hours=1), None)


WORDS = [
    "today", "yesterday", "last week", "this month", "past 3 days", "2 weeks ago", "since Monday", "before last month",
    "in March", "3 March", "between March and April", "until yesterday", "recently", "an hour ago", "last night",
    "between Friday and Monday", "Q1 2026", "after 2024", "weekend before last", "two quarters ago",
]  # fmt: skip


@settings(max_examples=150)
@given(st.sampled_from(WORDS), times, st.sampled_from([UTC, BERLIN, ZoneInfo("Asia/Kathmandu")]))
def test_words_are_a_time_before_the_end_of_today_whenever_they_are_said(
    words: str, now: datetime, zone: tzinfo
) -> None:
    since, until = timeframe.parse(words, now=now, zone=zone)
    assert since or until
    if since and until:
        assert since < until
    if since and words not in {"last night", "Q1 2026", "after 2024"}:
        assert since <= now
    assert timeframe.parse(words.upper(), now=now, zone=zone) == (since, until)
    assert timeframe.extract(f"so {words}", now, zone) == ("so", (since, until))


# -- words in a query ------------------------------------------------------------------------------------------------

LAST_WEEK = ("2026-07-06", "2026-07-13")
YESTERDAY = ("2026-07-14", "2026-07-15")
MARCH = ("2026-03-01", "2026-04-01")
MAY = ("2026-05-01", "2026-06-01")


@pytest.mark.parametrize(
    ("query", "rest", "frame"),
    [
        ("what did the customer say last week about billing", "what did the customer say about billing", LAST_WEEK),
        ("What did we discuss yesterday?", "What did we discuss?", YESTERDAY),
        ("Yesterday, the customer called", "the customer called", YESTERDAY),
        ("notes from last week", "notes", LAST_WEEK),
        ("show me decisions of last week", "show me decisions", LAST_WEEK),
        ("the invoice (last week) was late", "the invoice was late", LAST_WEEK),
        ("invoices, last week, unpaid", "invoices, unpaid", LAST_WEEK),
        ("errors in the last 3 days on node 7", "errors on node 7", ("2026-07-12T10:30", "..")),
        ("notes from a few days ago", "notes", ("2026-07-12", "2026-07-13")),
        ("what did we recently discuss", "what did we discuss", ("2026-07-12T10:30", "..")),
        (
            "what happened two weekends ago with the server",
            "what happened with the server",
            ("2026-07-04", "2026-07-06"),
        ),
        ("deployments since Monday", "deployments", ("2026-07-13", "..")),
        ("what changed on monday?", "what changed?", ("2026-07-13", "2026-07-14")),
        ("prices before 2026-01-01 in euro", "prices in euro", ("..", "2026-01-01")),
        ("sales between March and April for the shop", "sales for the shop", ("2026-03-01", "2026-05-01")),
        ("sales from Monday to Tuesday", "sales", ("2026-07-13", "2026-07-15")),
        ("sales between march and may", "sales", ("2026-03-01", "2026-06-01")),
        ("what was decided in March", "what was decided", MARCH),
        ("In march we agreed on a price", "we agreed on a price", MARCH),
        ("May I ask what happened in May?", "May I ask what happened?", MAY),
        ("it may be that may was said in may", "it may be that may was said", MAY),
        ("march orders since may", "march orders", ("2026-05-01", "..")),
        ("budget of March 2024", "budget", ("2024-03-01", "2024-04-01")),
        ("budget 3 March 2024", "budget", ("2024-03-03", "2024-03-04")),
        ("what was said on may 5", "what was said", ("2026-05-05", "2026-05-06")),
        ("on 3 march we met", "we met", ("2026-03-03", "2026-03-04")),
        ("notes since 3 may", "notes", ("2026-05-03", "..")),
        ("paid May 5th in full", "paid in full", ("2026-05-05", "2026-05-06")),
        ("in March of 2024 we moved", "we moved", ("2024-03-01", "2024-04-01")),
        ("on Monday of last week", "on Monday", LAST_WEEK),
        ("revenue in 2025", "revenue", ("2025-01-01", "2026-01-01")),
        ("revenue in 2025 by country", "revenue by country", ("2025-01-01", "2026-01-01")),
        ("the second invoice of yesterday", "the second invoice", YESTERDAY),
        ("what did I say 30 seconds ago", "what did I say", ("2026-07-15T10:29:30", "2026-07-15T10:29:31")),
        ("yesterday or last week", "or last week", YESTERDAY),
        ('"two  spaces" yesterday', '"two  spaces"', YESTERDAY),
        ("what was said on 31 April or yesterday", "what was said on 31 April or", YESTERDAY),
        ("LAST WEEK", "", LAST_WEEK),
    ],
)
def test_a_time_is_taken_out_of_a_query(query: str, rest: str, frame: tuple[str, str]) -> None:
    assert timeframe.extract(query, NOW) == (rest, (at(frame[0]), at(frame[1])))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "how do I reset my password",
        "it may happen that march orders come second",
        "may we march",
        "order 3 may be late",
        "one of 3 may fail, may 5 people come",
        "they march 3 miles",
        "on march 3 miles long",
        "on the last Friday of the month",
        "in March of that year",
        "the march of progress",
        "soldiers in march formation",
        "the march on Rome: before march on Rome",
        "what did May say to April and August",
        "mail from May to the customer",
        "ask June on Friday's plan",
        "a second opinion on the second floor",
        "at the last second",
        "last minute changes",
        "on the last day",
        "a month of work, a week of rest",
        "monday blues, sunday roast",
        "last year's budget",
        "yesterday\u2019s meeting",
        "the last week of the trial",
        "the last 3 days of June",
        "this week of all weeks",
        "week 12, quarter 3, day 5",
        "before 2000 requests failed",
        "between 1900 and 2000 requests",
        "in 2025 places",
        "python 2025",
        "release 2026-01-01",
        "since 2025.3 it works",
        "in 2025.3",
        "port 2025",
        "the file log/2026-01-01 and the path today/x",
        'the report "last week"',
        'the band "yesterday once more"',
        "songs -yesterday",
        "post-yesterday",
        "yesterday_backup",
        "@today #today",
        "todays",
        "next week",
        "tomorrow",
        "at 5pm",
        "since we met, until they left",
        "between you and me",
        "from A to B",
        "now or never",
        "spring cleaning last summer",
        "sat in the sun",
        "dec alpha, jan hammer, mar a lago",
        "on 31 April",
    ],
)
def test_ordinary_text_names_no_time(query: str) -> None:
    assert timeframe.extract(query, NOW) == (query, None)


words_of_no_time = st.sampled_from(
    ["may", "march", "second", "customer", "a", "about", "500", "node", "sun", "of", "past", "last", "week", "ago"]
)


@settings(max_examples=150)
@given(st.lists(words_of_no_time, max_size=6), st.sampled_from(WORDS), st.lists(words_of_no_time, max_size=6))
def test_what_is_taken_out_is_one_time_and_nothing_else(before: list[str], words: str, after: list[str]) -> None:
    query = " ".join([*before, words, *after])
    rest, frame = timeframe.extract(query, NOW)
    if frame is None:
        assert rest == query
    else:
        kept = rest.split()
        first = next((n for n, (a, b) in enumerate(zip(kept, query.split(), strict=False)) if a != b), len(kept))
        taken = query.split()[first : first + len(query.split()) - len(kept)]
        assert kept == query.split()[:first] + query.split()[first + len(taken) :]


@given(st.text(st.characters(categories=["L", "N", "P", "Z", "S"]), max_size=60))
def test_any_text_is_taken(text: str) -> None:
    rest, frame = timeframe.extract(text, NOW)
    assert frame is not None or rest == text


# -- what recall asks for --------------------------------------------------------------------------------------------


def test_auto_takes_the_time_out_of_the_query() -> None:
    since, until = at(LAST_WEEK[0]), at(LAST_WEEK[1])
    assert timeframe.resolve("billing last week", "auto", now=NOW) == ("billing", since, until)
    assert timeframe.resolve("billing last week", "last week", now=NOW) == ("billing last week", since, until)
    assert timeframe.resolve("billing last week", None, now=NOW) == ("billing last week", None, None)
    assert timeframe.resolve("billing", "auto", now=NOW) == ("billing", None, None)
    assert timeframe.resolve("x", "2026-07-01T00:00Z/..", now=NOW) == ("x", at("2026-07-01"), None)
    assert timeframe.resolve("last week", "auto", now=NOW) == ("", since, until)
    assert timeframe.resolve(" ", "auto", now=NOW) == ("", None, None)


@pytest.mark.parametrize("given", [None, "auto", "3 March", "2026-01-01/..", (NOW, None)])
async def test_aside_it_is_the_same(given: Any) -> None:
    query = "billing last week"
    assert await timeframe.resolve_aside(query, given, now=NOW) == timeframe.resolve(query, given, now=NOW)


def test_most_words_need_no_library_and_it_is_not_imported_before() -> None:
    """In a process of its own, as a robot is."""
    code = """
import sys
from datetime import UTC, datetime
from robotgroups import client, group, timeframe
for words in ("2026-01-01/..", "today", "yesterday", "last week", "this month", "2025", "2026-01-01", "recently"):
    timeframe.parse(words, now=datetime.now(UTC))
assert "dateparser" not in sys.modules
assert "rapidfuzz" not in sys.modules
timeframe.parse("3 March", now=datetime.now(UTC))
assert "dateparser" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
