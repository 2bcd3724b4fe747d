"""Durations of ISO 8601, ``P1M`` or ``P2DT12H``, as one end of an interval. No clock."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import NamedTuple

_NUMBER = r"\d{1,6}"
_FORM = re.compile(
    rf"P(?=.)(?:(?P<years>{_NUMBER})Y)?(?:(?P<months>{_NUMBER})M)?(?:(?P<weeks>{_NUMBER})W)?(?:(?P<days>{_NUMBER})D)?"
    rf"(?:T(?=.)(?:(?P<hours>{_NUMBER})H)?(?:(?P<minutes>{_NUMBER})M)?(?:(?P<seconds>{_NUMBER}(?:[.,]\d{{1,6}})?)S)?)?",
    re.ASCII | re.IGNORECASE,
)


class Duration(NamedTuple):
    """Months and days are those of the calendar in a time's zone, what is shorter is counted on the clock."""

    months: int
    days: int
    clock: timedelta

    def after(self, time: datetime) -> datetime:
        """The time so long after another that has a zone. OverflowError: beyond the calendar."""
        return self._from(time, 1)

    def before(self, time: datetime) -> datetime:
        """The time so long before another that has a zone. OverflowError: beyond the calendar."""
        return self._from(time, -1)

    def _from(self, time: datetime, sign: int) -> datetime:
        year, month = divmod(time.year * 12 + time.month - 1 + sign * self.months, 12)
        if not MINYEAR <= year <= MAXYEAR:
            raise OverflowError("date value out of range")
        # a month after the 31st of January is the last day of February
        day = min(time.day, monthrange(year, month + 1)[1])
        moved = time.replace(year=year, month=month + 1, day=day) + timedelta(days=sign * self.days)
        return (moved.astimezone(UTC) + sign * self.clock).astimezone(time.tzinfo)


def duration_of(text: str) -> Duration | None:
    """Read a duration; None when it is none."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    whole = {name: int(form[name] or 0) for name in ("years", "months", "weeks", "days", "hours", "minutes")}
    return Duration(
        12 * whole["years"] + whole["months"],
        7 * whole["weeks"] + whole["days"],
        timedelta(
            hours=whole["hours"], minutes=whole["minutes"], seconds=float((form["seconds"] or "0").replace(",", "."))
        ),
    )
