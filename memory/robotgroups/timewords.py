"""English words for times in a text: "since Monday", "between March and April", "last week". No clock.

"since" and "before" count from the beginning of what follows, "after" and "until" from its end; "between" and "from ...
to" take both ends in whole. What a single name of a time means is told in ``timepoints``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from robotgroups.timepoints import POINT, both_of, kind_of, span_of

Frame = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True)
class Found:
    """A time in a text: where its words stand, and the time, ``since`` inclusive and ``until`` not."""

    start: int
    end: int
    since: datetime | None
    until: datetime | None


def read(text: str, now: datetime, zone: tzinfo) -> Frame | None:
    """The time that a whole text names, None when it names none. ``now`` has a zone."""
    text = text.strip()
    found = _Reader(text, now.astimezone(zone), zone, whole=True).at(0)
    return (found.since, found.until) if found and found.end == len(text) else None


def find(text: str, now: datetime, zone: tzinfo) -> Found | None:
    """The first time that is named in a text, with its preposition.

    A word that can be another is no time where nothing says so: "in May" is one, "it may" is not; nor is what stands
    in double quotes, a possessive ("last year's budget") or a part of something else ("the last week of the trial").
    """
    reader = _Reader(text, now.astimezone(zone), zone, whole=False)
    for begin in _BEGINS.finditer(text):
        if text.count('"', 0, begin.start()) % 2 == 0 and (found := reader.at(begin.start())):
            return found
    return None


# A time begins where a word does, and no word, version, path or negation goes on before it; it ends likewise.
_BEGINS = re.compile(r"(?<![\w'\u2019/.:@#-])(?=\w)")
_ENDS = re.compile(r"(?![\w'\u2019/@-]|[.:]\w)")
_DIRECTION = re.compile(r"(?:ever\s+)?(since|after|before|until|till|up\s+to)\s+", re.IGNORECASE)
_BETWEEN = re.compile(r"(?:(between)|from)\s+", re.IGNORECASE)
_AND, _TO = (re.compile(rf"\s+(?:{word})\s+", re.IGNORECASE) for word in ("and", "to|until|till|through"))
_NOW = re.compile(r"now", re.IGNORECASE)
_ONWARDS = re.compile(r"\s+onwards?", re.IGNORECASE)
_PREPOSITION = re.compile(r"(in|on|during|from|of|over|within|for|throughout)\s+", re.IGNORECASE)
_OF = re.compile(r"\s+of\b", re.IGNORECASE)
# What may follow a word that is only perhaps a time: the end, or a word that begins something else.
_PAUSE = re.compile(
    r"\s*(?:$|[,.;:!?)]|(?:about|regarding|concerning|for|on|with|without|by|and|or|but|to|from|at|as|if|did|do|does|was"
    r"|were|is|are|has|have|had|will|would|can|could|we|i|you|they|he|she|it|the|a|an|this|that|these|those|my|our|your"
    r"|his|her|their|what|who|which|how|when|where|why)\b)",
    re.IGNORECASE,
)

# Kinds of POINT that are a time wherever they stand; the others need a word before them that says so.
_ALWAYS = {"part", "day", "recent", "ago", "rolling", "before_last", "calendar", "quarter", "date"}
_LONG = {"in", "during", "over", "throughout"}
_INTRODUCED_BY = {
    "date": {"on"},
    "weekday": {"on", "from", "of", "during", "over"},
    "iso": {"in", "on", "for", "from", "of", "during", "over"},
    "iso_month": _LONG | {"for", "from", "of"},
    "month": _LONG,
    "year": _LONG,
}
# "since may" is a time; "before may" and "after march" may be the other words.
_DOUBTFUL = {"after", "before", "until", "till"}
_DIRECTIONS = _DOUBTFUL | {"since", "up to", "between"}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the time that begins at a place of a text. ``whole``: the text is nothing but a time."""

    text: str
    now: datetime
    zone: tzinfo
    whole: bool

    def at(self, start: int) -> Found | None:
        """The time whose words begin at ``start``."""
        for form in (self._range, self._directed, self._plain):
            found = form(start)
            if found and _ENDS.match(self.text, found.end) and not (found.since and found.until and _empty(found)):
                return found
        return None

    def _range(self, start: int) -> Found | None:
        """Between X and Y, from X to Y."""
        opening = _BETWEEN.match(self.text, start)
        first = opening and POINT.match(self.text, opening.end())
        middle = first and (_AND if opening and opening[1] else _TO).match(self.text, first.end())
        if not (first and middle):
            return None
        if now := _NOW.match(self.text, middle.end()):
            since = span_of(first, self.now, self.zone)
            return Found(start, now.end(), since.start, None) if since else None
        second = POINT.match(self.text, middle.end())
        if not (second and self._certain(second, "between")):
            return None
        spans = both_of(first, second, self.now, self.zone)
        return Found(start, second.end(), spans[0].start, spans[1].end) if spans else None

    def _directed(self, start: int) -> Found | None:
        """Since X, after X, before X, until X."""
        opening = _DIRECTION.match(self.text, start)
        point = opening and POINT.match(self.text, opening.end())
        if not (opening and point):
            return None
        word = " ".join(opening[1].lower().split())
        span = span_of(point, self.now, self.zone) if self._certain(point, word) else None
        if span is None:
            return None
        match word:
            case "since":
                return Found(start, point.end(), span.start, None)
            case "before":
                return Found(start, point.end(), None, span.start)
            case "after":
                return Found(start, point.end(), span.end, None) if span.end else None
            case _:
                return Found(start, point.end(), None, span.end) if span.end else None

    def _plain(self, start: int) -> Found | None:
        """In X, during X, X."""
        opening = _PREPOSITION.match(self.text, start)
        point = POINT.match(self.text, opening.end() if opening else start)
        word = opening[1].lower() if opening else ""
        if not (point and self._certain(point, word)):
            return None
        span = span_of(point, self.now, self.zone)
        if span is None:
            return None
        if word == "from" and (onwards := _ONWARDS.match(self.text, point.end())):
            return Found(start, onwards.end(), span.start, None)
        return Found(start, point.end(), span.start, span.end)

    def _certain(self, point: re.Match[str], word: str) -> bool:
        """Whether a point after this word is a time at all."""
        if self.whole:
            return True
        if _OF.match(self.text, point.end()):
            return False
        kind = kind_of(point)
        # "order 3 may be late" and "may 5 people come" are no dates
        other_words = {"may", "march"} & {point["month_name"], point["date_month"], point["date_month2"]}
        doubtful = kind == "year" or bool(other_words and not (point["date_year"] or point["date_year2"]))
        if doubtful and not _PAUSE.match(self.text, point.end()):
            return False
        if not doubtful and (kind in _ALWAYS or point["which_day"] or point["month_year"]):
            return True
        if kind == "month" and doubtful and word in _DOUBTFUL:
            return False
        return word in _DIRECTIONS or word in _INTRODUCED_BY[kind]


def _empty(found: Found) -> bool:
    return found.since is not None and found.until is not None and found.since >= found.until
