"""Each user is owed one report a period, from the morning after it, by the clocks of the team."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from insights.models import Report
from insights.periods import Frequency
from insights.reports.planning import KEPT, Choices, Plan, plan
from teams.models import Team
from tests.categorisation.two_connections import on_another_connection, uncommitted_on_another_connection
from tests.factories.teams import TeamFactory, UserFactory
from tests.insights.reports import FAILED, MONDAY, SENT, UNKNOWN, WEEKLY_FROM_SEVEN, choose, make_due, make_team

pytestmark = pytest.mark.django_db


def member(time_zone: str = "UTC", email: str = "ada@example.com") -> Team:
    team = TeamFactory(time_zone=time_zone)
    UserFactory(email=email).teams.add(team)
    return team


def owed() -> list[tuple[str, str, date]]:
    rows = Report.objects.order_by("user__email", "frequency", "period_start")
    return list(rows.values_list("user__email", "frequency", "period_start"))


@pytest.mark.parametrize(
    ("now", "is_due"),
    [
        ("2026-03-09T06:59:59", False),  # Monday
        ("2026-03-09T07:00:00", True),
        ("2026-03-11T23:59:59", True),
        ("2026-03-12T00:00:00", False),
    ],
)
def test_a_report_is_owed_from_the_morning_on_and_for_three_days(now: str, is_due: bool):
    member()
    assert plan(datetime.fromisoformat(now).replace(tzinfo=UTC), WEEKLY_FROM_SEVEN) == Plan(int(is_due), 0, 0)
    assert owed() == ([("ada@example.com", "weekly", date(2026, 3, 2))] if is_due else [])


def test_of_the_days_of_an_outage_a_daily_report_tells_of_the_last():
    team = member()
    choose(team.users.get(), team, "daily")
    plan(MONDAY, WEEKLY_FROM_SEVEN)
    plan(MONDAY + timedelta(days=3), WEEKLY_FROM_SEVEN)
    assert [first for *_, first in owed()] == [date(2026, 3, 8), date(2026, 3, 11)]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "Europe/Zurich", "Asia/Kolkata"])
def test_the_morning_is_the_teams(zone: str):
    member(zone)
    seven = datetime(2026, 3, 9, 7, 0, tzinfo=ZoneInfo(zone))  # a day after New York's clocks changed
    plan(seven - timedelta(seconds=1), WEEKLY_FROM_SEVEN)
    assert owed() == []
    plan(seven, WEEKLY_FROM_SEVEN)
    assert owed() == [("ada@example.com", "weekly", date(2026, 3, 2))]


def test_however_often_it_is_planned_a_period_is_told_of_once():
    member()
    for minutes in range(0, 4_000, 100):
        plan(MONDAY + timedelta(minutes=minutes), WEEKLY_FROM_SEVEN)
    assert len(owed()) == 1


def test_two_that_plan_at_once_make_it_once(transactional_db: None):
    member()
    with uncommitted_on_another_connection(lambda: plan(MONDAY, WEEKLY_FROM_SEVEN)) as commit:
        commit()
        plan(MONDAY, WEEKLY_FROM_SEVEN)
    on_another_connection(lambda: plan(MONDAY, WEEKLY_FROM_SEVEN))
    assert len(owed()) == 1


@pytest.mark.parametrize("frequency", ["daily", "weekly", "biweekly", "monthly"])
def test_each_user_has_their_own_choice(frequency: str):
    team = member()
    choose(team.users.get(), team, frequency)
    begun = datetime(2026, 1, 1, 8, tzinfo=UTC)
    for day in range(35):
        plan(begun + timedelta(days=day), WEEKLY_FROM_SEVEN)
    first_days = [period_start for _, _, period_start in owed()]
    assert {each for _, each, _ in owed()} == {frequency}
    assert len(first_days) == len(set(first_days))
    assert len(first_days) == {"daily": 35, "weekly": 5, "biweekly": 2, "monthly": 2}[frequency]


def test_a_choice_is_of_one_team():
    first, second = member(), TeamFactory()
    user = first.users.get()
    user.teams.add(second)
    choose(user, first, "off")
    plan(MONDAY, WEEKLY_FROM_SEVEN)
    assert list(Report.objects.values_list("team", flat=True)) == [second.pk]


@pytest.mark.parametrize("chosen", [None, ""])
@pytest.mark.parametrize("default", [Frequency.DAILY, Frequency.OFF])
def test_who_chose_nothing_gets_what_the_service_does_by_default(chosen: str | None, default: Frequency):
    team = member()
    if chosen is not None:
        choose(team.users.get(), team, chosen)
    plan(MONDAY, Choices(default, 7))
    assert [frequency for _, frequency, _ in owed()] == ([] if default is Frequency.OFF else ["daily"])


def test_who_is_no_user_of_a_team_or_deactivated_is_owed_none():
    team = member()
    UserFactory()
    UserFactory(is_active=False).teams.add(team)
    plan(MONDAY, WEEKLY_FROM_SEVEN)
    assert len(owed()) == 1


def test_a_deleted_team_is_told_of_nothing():
    team = member()
    Team.objects.filter(pk=team.pk).update(deleted_at=timezone.now())
    plan(MONDAY, WEEKLY_FROM_SEVEN)
    assert owed() == []


def test_a_service_that_was_down_tells_of_the_latest_period_alone():
    team = member()
    choose(team.users.get(), team, "daily")
    plan(MONDAY, WEEKLY_FROM_SEVEN)
    plan(MONDAY + timedelta(days=20), WEEKLY_FROM_SEVEN)
    assert [period_start for _, _, period_start in owed()] == [date(2026, 3, 8), date(2026, 3, 28)]


def test_a_team_that_moves_to_another_zone_is_not_told_twice():
    team = member("Pacific/Kiritimati")
    plan(datetime(2026, 3, 9, 8, tzinfo=ZoneInfo("Pacific/Kiritimati")), WEEKLY_FROM_SEVEN)
    Team.objects.filter(pk=team.pk).update(time_zone="Pacific/Pago_Pago")
    plan(datetime(2026, 3, 9, 8, tzinfo=ZoneInfo("Pacific/Pago_Pago")), WEEKLY_FROM_SEVEN)
    assert len(owed()) == 1


def test_a_zone_that_does_not_exist_is_told_and_holds_up_nobody(caplog: pytest.LogCaptureFixture):
    for nonsense in ("Europe/Nowhere", "../../etc/passwd"):
        Team.objects.filter(pk=member(email=f"{nonsense.count('.')}@example.com").pk).update(time_zone=nonsense)
    member()
    plan(MONDAY, WEEKLY_FROM_SEVEN)
    assert len(owed()) == 1
    assert "Europe/Nowhere" in caplog.text


def test_what_nobody_noted_and_what_comes_too_late_is_noted():
    team = make_team("ada@example.com", "bob@example.com", "cyd@example.com")
    stale, late, refused = make_due(team)
    now = timezone.now()
    Report.objects.filter(pk=stale.pk).update(state="handing_over", act_after=now - timedelta(seconds=1))
    Report.objects.filter(pk__in=[late.pk, refused.pk]).update(send_until=now)
    Report.objects.filter(pk=refused.pk).update(error="450 later")
    assert plan(MONDAY - timedelta(days=1), WEEKLY_FROM_SEVEN) == Plan(0, 1, 2)
    told = dict(Report.objects.values_list("pk", "state"))
    assert told == {stale.pk: UNKNOWN, late.pk: FAILED, refused.pk: FAILED}
    assert Report.objects.get(pk=refused.pk).error == "450 later"
    assert "in time" in Report.objects.get(pk=late.pk).error


def test_rows_of_long_ago_go():
    (report,) = make_due(make_team("ada@example.com"))
    Report.objects.update(state=SENT, sent_at=timezone.now())
    plan(report.created_at + KEPT, WEEKLY_FROM_SEVEN)
    assert Report.objects.filter(pk=report.pk).exists()
    plan(report.created_at + KEPT + timedelta(seconds=1), WEEKLY_FROM_SEVEN)
    assert not Report.objects.filter(pk=report.pk).exists()
