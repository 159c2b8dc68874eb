"""Figures and texts as people read them. Imports neither Django nor Celery."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime
from html import escape
from itertools import accumulate
from zoneinfo import ZoneInfo

from insights.figures import Count
from insights.periods import Frequency, Period

# Characters that turn the text around them, beyond their own line: a name must not write over its neighbours.
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ADJECTIVES = {
    Frequency.DAILY: "daily",
    Frequency.WEEKLY: "weekly",
    Frequency.BIWEEKLY: "two-weekly",
    Frequency.MONTHLY: "monthly",
}
SPANS = {
    Frequency.DAILY: "the day before",
    Frequency.WEEKLY: "the week before",
    Frequency.BIWEEKLY: "the two weeks before",
    Frequency.MONTHLY: "the month before",
}


def clean(text: str, length: int) -> str:
    """On one line, without control characters, and at most that long; in bytes, escaped for HTML, about twice that.

    So a mail is bounded whatever names and questions hold: mail programs cut one of more than 102,400 bytes.
    """
    text = text[: 10 * length]  # what is left out makes no difference, but by its length
    kept = (character if unicodedata.category(character) not in ("Cc", "Cs", "Co") else " " for character in text)
    line = " ".join(_DIRECTIONS.sub("", "".join(kept)).split())
    short = _bound(line[:length], 2 * length)
    return line if short == line else f"{short[:-1].rstrip()}…"


def _bound(text: str, escaped_bytes: int) -> str:
    sizes = accumulate(len(escape(character).encode()) for character in text)
    return text[: sum(size <= escaped_bytes for size in sizes)]


def write_number(number: int) -> str:
    return f"{number:,}"


def write_change(count: Count) -> str:
    """Against the span before: "+12 %", "as before"."""
    if count.now == count.before:
        return "as before"
    if not count.before:
        return "none before"
    percent = round(100 * (count.now - count.before) / count.before)
    if not percent:
        return "about as before"
    return f"+{percent:,} %" if percent > 0 else f"\N{MINUS SIGN}{-percent} %"


def write_share(part: int, whole: int) -> str:
    """In per cent; of nothing it is "none"."""
    if not whole:
        return "none"
    percent = 100 * part / whole
    if part and percent < 1:
        return "below 1 %"
    if part < whole and percent > 99:
        return "above 99 %"
    return f"{percent:.0f} %"


def write_period(frequency: Frequency, period: Period) -> str:
    """ "2 to 8 March 2026", "February 2026", "Monday 9 March 2026"."""
    if frequency is Frequency.DAILY:
        return f"{period.first:%A} {_day(period.first)}"
    if frequency is Frequency.MONTHLY:
        return f"{period.first:%B %Y}"
    first, last = period.first, period.last
    if first.year != last.year:
        return f"{_day(first)} to {_day(last)}"
    if first.month != last.month:
        return f"{first.day} {first:%B} to {_day(last)}"
    return f"{first.day} to {_day(last)}"


def write_time(moment: datetime, time_zone: str) -> str:
    """ "9 March, 14:05", by the clocks of that zone."""
    local = moment.astimezone(ZoneInfo(time_zone))
    return f"{local.day} {local:%B}, {local:%H:%M}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
