"""Every figure of a report is what counting by hand comes to, wherever the team is, and over a change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from insights.figures import Count, ProjectFigures, TeamFigures
from insights.periods import Frequency, Period, last_complete
from insights.reports.sending import count_for
from insights.selectors import MAX_DETAILED
from query.models import Thread
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory, TeamFactory
from tests.insights.naive import Everything
from tests.insights.past import DAYS, make_past

pytestmark = pytest.mark.django_db

WANTED = [frequency for frequency in Frequency if frequency is not Frequency.OFF]
# each with a stretch in which its clocks change; at Santiago's a midnight does not exist, and another comes twice
PASTS = [
    ("Europe/Zurich", datetime(2026, 2, 20, tzinfo=UTC)),
    ("America/Santiago", datetime(2025, 8, 1, tzinfo=UTC)),
    *(
        pytest.param(time_zone, first, marks=pytest.mark.ci)
        for time_zone, first in [
            ("Europe/Zurich", datetime(2025, 9, 20, tzinfo=UTC)),
            ("America/New_York", datetime(2026, 2, 1, tzinfo=UTC)),
            ("America/New_York", datetime(2025, 10, 1, tzinfo=UTC)),
            ("America/Santiago", datetime(2026, 3, 1, tzinfo=UTC)),
            ("Australia/Lord_Howe", datetime(2026, 3, 1, tzinfo=UTC)),
            ("Pacific/Kiritimati", datetime(2026, 3, 1, tzinfo=UTC)),
        ]
    ),
]


def periods_of_interest(frequency: Frequency, time_zone: str, first: datetime) -> set[Period]:
    """Some of the past, and all that touch, or come after, one of an unusual length."""
    noons = [first + timedelta(days=days, hours=12) for days in range(16, DAYS)]
    periods = list(dict.fromkeys(last_complete(frequency, noon, time_zone) for noon in noons))
    odd = [place for place, each in enumerate(periods) if (each.ends_at - each.starts_at) % timedelta(days=1)]
    near = {periods[place + step] for place in odd for step in (-1, 0, 1) if 0 <= place + step < len(periods)}
    return near | set(periods[::11])


def as_told(figures: TeamFigures) -> dict[str, Any]:
    return {each.name: _as_told(each) for each in figures.projects}


def _as_told(project: ProjectFigures) -> dict[str, Any]:
    def pair(count: Count) -> tuple[int, int]:
        return count.now, count.before

    return {
        "threads": pair(project.threads),
        "questions": pair(project.questions),
        "uncertain": pair(project.uncertain),
        "categories": {each.title: pair(each.threads) for each in project.categories},
        "latest": [each.text for each in project.latest],
        "latest_uncertain": [each.text for each in project.latest_uncertain],
    }


@pytest.mark.parametrize(("time_zone", "first"), PASTS, ids=lambda value: str(value)[:16])
def test_they_are_what_counting_by_hand_comes_to(time_zone: str, first: datetime):
    past = make_past(time_zone, first)
    everything = Everything.read(past)
    for frequency in WANTED:
        for period in periods_of_interest(frequency, time_zone, first):
            figures = count_for(past.team, frequency, period)
            assert as_told(figures) == everything.count(frequency, period)


def test_a_question_is_of_the_period_in_which_it_was_asked_not_of_its_conversations():
    thread = ThreadFactory(created_at=datetime(2026, 3, 8, 23, 59, tzinfo=UTC))
    for minute in (0, 1):
        QuestionAnswerFactory(
            thread=thread, created_at=datetime(2026, 3, 8, 23, 59, tzinfo=UTC) + timedelta(minutes=minute)
        )
    period = last_complete(Frequency.WEEKLY, datetime(2026, 3, 16, tzinfo=UTC), "UTC")
    (project,) = count_for(thread.project.team, Frequency.WEEKLY, period).projects
    assert (project.threads, project.questions) == (Count(0, 1), Count(1, 1))


def test_what_is_erased_is_in_no_figure():
    thread = QuestionAnswerFactory(
        thread__created_at=datetime(2026, 3, 10, tzinfo=UTC), created_at=datetime(2026, 3, 10, tzinfo=UTC)
    ).thread
    team = thread.project.team
    period = last_complete(Frequency.WEEKLY, datetime(2026, 3, 16, tzinfo=UTC), "UTC")
    assert count_for(team, Frequency.WEEKLY, period).questions == Count(1, 0)
    Thread.objects.all().delete()
    assert not count_for(team, Frequency.WEEKLY, period).is_active


def test_another_teams_projects_are_in_none():
    make_past("UTC", datetime(2026, 2, 1, tzinfo=UTC), threads=20)
    team = ProjectFactory().team
    period = last_complete(Frequency.MONTHLY, datetime(2026, 4, 1, tzinfo=UTC), "UTC")
    assert not count_for(team, Frequency.MONTHLY, period).is_active
    assert count_for(TeamFactory(), Frequency.MONTHLY, period).projects == ()


def test_details_are_of_the_projects_that_were_asked_most_and_queries_do_not_grow_with_the_others():
    team = TeamFactory()
    at = datetime(2026, 3, 10, tzinfo=UTC)
    for number in range(MAX_DETAILED + 15):
        project = ProjectFactory(team=team, name=f"{number:02}")
        for _ in range(1 + number % 3):
            QuestionAnswerFactory(thread__project=project, thread__created_at=at, created_at=at)
    period = last_complete(Frequency.WEEKLY, datetime(2026, 3, 16, tzinfo=UTC), "UTC")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        figures = count_for(team, Frequency.WEEKLY, period)
    assert len(queries) <= 3 + 4 * MAX_DETAILED
    assert [bool(each.latest) for each in figures.projects] == [True] * MAX_DETAILED + [False] * 15
    assert [each.questions.now for each in figures.projects] == sorted(
        (1 + n % 3 for n in range(len(figures.projects))), reverse=True
    )
