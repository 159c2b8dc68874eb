"""Which stretch of time a report is about, wherever and whenever."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insights.periods import Frequency, before, last_complete

WANTED = [frequency for frequency in Frequency if frequency is not Frequency.OFF]
zones = st.sampled_from(sorted(zoneinfo.available_timezones()))
moments = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("frequency", "now", "first", "last"),
    [
        (Frequency.DAILY, "2026-03-10T00:00", "2026-03-09", "2026-03-09"),
        (Frequency.WEEKLY, "2026-03-10T12:00", "2026-03-02", "2026-03-08"),
        (Frequency.WEEKLY, "2026-03-08T23:59", "2026-02-23", "2026-03-01"),
        (Frequency.BIWEEKLY, "2026-03-10T12:00", "2026-02-23", "2026-03-08"),
        (Frequency.MONTHLY, "2026-03-01T00:00", "2026-02-01", "2026-02-28"),
        (Frequency.MONTHLY, "2024-03-31T12:00", "2024-02-01", "2024-02-29"),
    ],
)
def test_it_is_the_last_one_that_is_over(frequency: Frequency, now: str, first: str, last: str):
    period = last_complete(frequency, datetime.fromisoformat(now).replace(tzinfo=UTC), "UTC")
    assert (str(period.first), str(period.last)) == (first, last)


def test_a_day_ends_by_the_teams_clock():
    now = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    assert last_complete(Frequency.DAILY, now, "Europe/Zurich").last == date(2026, 7, 1)
    assert last_complete(Frequency.DAILY, now, "UTC").last == date(2026, 6, 30)


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 5, 1), 24)])
def test_a_day_is_as_long_as_clocks_make_it(day: date, hours: int):
    noon_after = datetime.combine(day + timedelta(days=1), datetime.min.time(), tzinfo=UTC) + timedelta(hours=12)
    period = last_complete(Frequency.DAILY, noon_after, "Europe/Zurich")
    assert period.first == day
    assert period.ends_at - period.starts_at == timedelta(hours=hours)


@given(st.sampled_from(WANTED), moments, zones)
def test_periods_join_without_a_gap_and_the_last_one_is_over(frequency: Frequency, now: datetime, zone: str):
    period = last_complete(frequency, now, zone)
    assert period.starts_at < period.ends_at <= now
    assert last_complete(frequency, period.ends_at, zone) == period
    earlier = before(frequency, period)
    assert earlier.ends_at == period.starts_at
    assert last_complete(frequency, period.starts_at, zone) == earlier
    following = last_complete(frequency, now + timedelta(days=32), zone)
    assert following.first >= period.end


def test_who_wants_none_has_none():
    with pytest.raises(ValueError, match="no report"):
        last_complete(Frequency.OFF, datetime.now(UTC), "UTC")
