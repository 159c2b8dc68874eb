"""Users of teams that were asked things, and reports that are due to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from insights.models import Report, ReportPreference, ReportState
from insights.periods import Frequency, last_complete
from insights.reports.planning import CATCHING_UP, Choices
from query.models import QuestionAnswer, Thread
from teams.models import Project, Team, User
from tests.factories.teams import ProjectFactory, UserFactory

WEEKLY_FROM_SEVEN = Choices(Frequency.WEEKLY, 7)
MONDAY = datetime(2026, 3, 9, 8, 0, tzinfo=UTC)


def make_team(*emails: str, time_zone: str = "UTC", days: int = 14) -> Team:
    """A team with these users, whose one project was asked something on each of the last days."""
    project = ProjectFactory(team__time_zone=time_zone)
    for email in emails:
        UserFactory(email=email).teams.add(project.team)
    ask(project, timezone.now() - timedelta(days=days))
    return project.team


def ask(project: Project, since: datetime) -> None:
    """A conversation of one question a day, from then on."""
    times = [since + timedelta(days=day) for day in range((timezone.now() - since).days + 1)]
    threads = Thread.objects.bulk_create(
        Thread(project=project, first_question="What?", created_at=at, last_activity_at=at) for at in times
    )
    QuestionAnswer.objects.bulk_create(
        QuestionAnswer(
            thread=thread, question=f"What about day {day}?", answer="This.", is_uncertain=False, created_at=at
        )
        for day, (thread, at) in enumerate(zip(threads, times, strict=True))
    )


def make_due(team: Team, frequency: Frequency = Frequency.WEEKLY) -> list[Report]:
    """A report on the latest period for each user of the team, due now."""
    period = last_complete(frequency, timezone.now(), team.time_zone)
    return [
        Report.objects.create(
            user=user,
            team=team,
            frequency=frequency.value,
            period_start=period.first,
            period_end=period.end,
            time_zone=period.time_zone,
            send_until=timezone.now() + CATCHING_UP,
        )
        for user in team.users.order_by("email")
    ]


def choose(user: User, team: Team, frequency: str) -> ReportPreference:
    preference, _ = ReportPreference.objects.update_or_create(user=user, team=team, defaults={"frequency": frequency})
    return preference


def end_leases(of: QuerySet[Report] | None = None) -> None:
    """As if every lease and every pause were over, or those of these reports."""
    for pk in (Report.objects.all() if of is None else of).values_list("pk", flat=True):
        Report.objects.filter(pk=pk).update(act_after=timezone.now() - timedelta(seconds=1))


def states() -> dict[str, str]:
    """By the users' addresses."""
    return {report.user.email: report.state for report in Report.objects.select_related("user")}


def the_report(**values: Any) -> Report:
    return Report.objects.get(**values)


DUE, SENT, UNKNOWN, FAILED, SKIPPED = (
    ReportState.DUE,
    ReportState.SENT,
    ReportState.UNKNOWN,
    ReportState.FAILED,
    ReportState.SKIPPED,
)
