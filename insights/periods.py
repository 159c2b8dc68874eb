"""The stretches of time that a report is about, in the calendar of its team. Imports neither Django nor Celery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

# A Monday, from which fortnights are counted: every team has the same ones.
FIRST_FORTNIGHT = date(2024, 1, 1)
WEEK = timedelta(weeks=1)


class Frequency(StrEnum):
    """How often a user wants reports."""

    DAILY = "daily"
    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    MONTHLY = "monthly"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Period:
    """From midnight of `first` to midnight of `end`, which is no part of it, by the clocks of `time_zone`.

    A day has 23 or 25 hours where clocks change. A midnight that a change leaves out is the first moment after it; of
    one that comes twice it is the first.
    """

    first: date
    end: date
    time_zone: str

    @property
    def starts_at(self) -> datetime:
        return _midnight(self.first, self.time_zone)

    @property
    def ends_at(self) -> datetime:
        return _midnight(self.end, self.time_zone)

    @property
    def last(self) -> date:
        """Its last day."""
        return self.end - timedelta(days=1)


def find_zone(name: str) -> ZoneInfo | None:
    """The time zone of that name; None where there is none: data comes by other ways than forms, too."""
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        return None


def last_complete(frequency: Frequency, now: datetime, time_zone: str) -> Period:
    """The latest period that has ended by `now` (aware). Raises ValueError for OFF, which has none."""
    today = now.astimezone(ZoneInfo(time_zone)).date()
    end = _start_of_current(frequency, today)
    return Period(_start_before(frequency, end), end, time_zone)


def before(frequency: Frequency, period: Period) -> Period:
    """The period that the given one is compared with: the one just before it."""
    return Period(_start_before(frequency, period.first), period.first, period.time_zone)


def _start_of_current(frequency: Frequency, today: date) -> date:
    match frequency:
        case Frequency.DAILY:
            return today
        case Frequency.WEEKLY:
            return today - timedelta(days=today.weekday())
        case Frequency.BIWEEKLY:
            fortnights = (today - FIRST_FORTNIGHT) // (2 * WEEK)
            return FIRST_FORTNIGHT + 2 * WEEK * fortnights
        case Frequency.MONTHLY:
            return today.replace(day=1)
        case Frequency.OFF:
            raise ValueError("no report is wanted")


def _start_before(frequency: Frequency, start: date) -> date:
    return _start_of_current(frequency, start - timedelta(days=1))


def _midnight(day: date, time_zone: str) -> datetime:
    """In UTC. A wall time that does not exist is taken by the clock before the change, which is the moment of it."""
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(time_zone)).astimezone(ZoneInfo("UTC"))
