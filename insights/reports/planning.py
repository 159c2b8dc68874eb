"""Which reports are due, as rows: one for each user, team and period, however often and by however many it is planned.

A report is due from a civil hour on, by the clocks of its team, on the day after its period's last; and for three days
more, in which a service that was down catches up. Older periods are not told of: nobody wants a heap of old mails when
reports are switched on, or come back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce, NullIf

from insights.models import DEFAULT, Report, ReportPreference, ReportState
from insights.periods import Frequency, Period, last_complete
from insights.reports import claims
from teams.models import Team, User

logger = logging.getLogger(__name__)

CATCHING_UP = timedelta(days=3)
KEPT = timedelta(days=400)
ROWS_AT_ONCE = 1_000
FREQUENCIES = tuple(frequency for frequency in Frequency if frequency is not Frequency.OFF)


@dataclass(frozen=True, slots=True)
class Choices:
    """What holds where a user chose nothing, and from which hour of the day on reports are sent."""

    default_frequency: Frequency
    from_hour: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn of planning did."""

    due: int
    unknown: int
    late: int


def plan(now: datetime, choices: Choices) -> Plan:
    """Make rows for what is due, and note what became of those that nobody noted."""
    unknown, late = claims.note_stale(), claims.note_late()
    if unknown:
        logger.warning("%d reports may have been sent, or not: the admin lists them, and sends them again", unknown)
    due = sum(_make_due(*each, choices) for each in due_periods(now, choices))
    _forget_old(now)
    return Plan(due, unknown, late)


def due_periods(now: datetime, choices: Choices) -> Iterator[tuple[Frequency, Period]]:
    """The periods that are to be told of now, for each time zone that a team has."""
    for time_zone in Team.objects.order_by().values_list("time_zone", flat=True).distinct():
        try:
            zone = ZoneInfo(time_zone)
        except (ValueError, LookupError, OSError):  # a form refuses it, but data comes by other ways, too
            logger.error("there is no time zone %s: its teams get no reports", time_zone)
            continue
        for frequency in FREQUENCIES:
            period = last_complete(frequency, now, time_zone)
            sent_from = datetime.combine(period.end, time(choices.from_hour), tzinfo=zone)
            if sent_from <= now < period.ends_at + CATCHING_UP:
                yield frequency, period


def _make_due(frequency: Frequency, period: Period, choices: Choices) -> int:
    """Rows for all who want that report and have none. How many were made here."""
    made, last = 0, 0
    while members := _without_report(frequency, period, choices, last):
        rows = [
            Report(
                user_id=user_id,
                team_id=team_id,
                frequency=frequency.value,
                period_start=period.first,
                period_end=period.end,
                time_zone=period.time_zone,
                send_until=period.ends_at + CATCHING_UP,
            )
            for _, user_id, team_id in members
        ]
        Report.objects.bulk_create(rows, ignore_conflicts=True)  # another one may plan at this moment
        made += len(rows)
        last = members[-1][0]
    return made


def _without_report(frequency: Frequency, period: Period, choices: Choices, after: int) -> list[tuple[int, UUID, UUID]]:
    """The next memberships, with user and team, that want such a report and have none of that period."""
    of_pair = {"user_id": OuterRef("user_id"), "team_id": OuterRef("team_id")}
    chosen = ReportPreference.objects.filter(**of_pair).values("frequency")
    there = Report.objects.filter(**of_pair, frequency=frequency.value, period_start=period.first)
    wants = Coalesce(NullIf(Subquery(chosen), Value(DEFAULT)), Value(choices.default_frequency.value))
    members = User.teams.through.objects.alias(wants=wants).filter(  # type: ignore[misc]  # the plugin misses the alias
        ~Exists(there),
        pk__gt=after,
        wants=frequency.value,
        team__time_zone=period.time_zone,
        team__deleted_at=None,
        user__is_active=True,
    )
    return list(members.order_by("pk").values_list("pk", "user_id", "team_id")[:ROWS_AT_ONCE])


def _forget_old(now: datetime) -> None:
    """Rows that no period will ask for again."""
    old = Report.objects.filter(created_at__lt=now - KEPT).exclude(state=ReportState.HANDING_OVER)
    Report.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:ROWS_AT_ONCE])).delete()


def is_any_due() -> bool:
    """Whether there is a report that may be claimed now."""
    return claims.claimable().exists()


def count_due() -> int:
    return claims.claimable().count()
