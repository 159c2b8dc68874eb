"""Which reports are due, as rows: one for each user, team and period, however often and by however many it is planned.

A report is due from a civil hour on, by the clocks of its team, on the day after its period's last. A service that was
down catches up within three days of the period's end, and with the latest period alone: of several days that it missed,
a daily report tells of the last. Older periods are not told of: nobody wants a heap of old mails when reports are
switched on, or come back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from django.db import connection

from insights.models import Report, ReportState
from insights.periods import Frequency, Period, find_zone, last_complete
from insights.reports import claims
from teams.models import Team

logger = logging.getLogger(__name__)

CATCHING_UP = timedelta(days=3)
KEPT = timedelta(days=400)
ROWS_AT_ONCE = 1_000
MAKE_DUE = """
INSERT INTO insights_report (
    id, user_id, team_id, frequency, period_start, period_end, time_zone, send_until,
    state, act_after, attempts, error, sent_again_by, created_at
)
SELECT gen_random_uuid(), member.user_id, member.team_id, %(frequency)s, %(first)s, %(end)s, %(time_zone)s,
    %(send_until)s, 'due', STATEMENT_TIMESTAMP(), 0, '', '', STATEMENT_TIMESTAMP()
FROM teams_user_teams AS member
JOIN teams_user AS person ON person.id = member.user_id AND person.is_active
JOIN teams_team AS team ON team.id = member.team_id AND team.deleted_at IS NULL AND team.time_zone = %(time_zone)s
LEFT JOIN insights_reportpreference AS choice
    ON choice.user_id = member.user_id AND choice.team_id = member.team_id
WHERE coalesce(nullif(choice.frequency, ''), %(default)s) = %(frequency)s
ORDER BY member.id  -- another one may plan at this moment: in the same order they cannot wait in a ring
ON CONFLICT DO NOTHING
"""
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
        zone = find_zone(time_zone)
        if zone is None:
            logger.error("there is no time zone %s: its teams get no reports", time_zone)
            continue
        for frequency in FREQUENCIES:
            period = last_complete(frequency, now, time_zone)
            sent_from = datetime.combine(period.end, time(choices.from_hour), tzinfo=zone)
            if sent_from <= now < period.ends_at + CATCHING_UP:
                yield frequency, period


def _make_due(frequency: Frequency, period: Period, choices: Choices) -> int:
    """Rows for all who want that report and have none. How many were made."""
    values = {
        "frequency": frequency.value,
        "default": choices.default_frequency.value,
        "first": period.first,
        "end": period.end,
        "time_zone": period.time_zone,
        "send_until": period.ends_at + CATCHING_UP,
    }
    with connection.cursor() as cursor:
        cursor.execute(MAKE_DUE, values)
        return int(cursor.rowcount)


def _forget_old(now: datetime) -> None:
    """Rows that no period will ask for again."""
    old = Report.objects.filter(created_at__lt=now - KEPT).exclude(state=ReportState.HANDING_OVER)
    Report.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:ROWS_AT_ONCE])).delete()


def is_any_due() -> bool:
    """Whether there is a report that may be claimed now."""
    return claims.claimable().exists()


def count_due() -> int:
    return claims.claimable().count()
