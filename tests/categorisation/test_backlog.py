"""What waits to be labelled, counted as a naive reader would."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from categorisation.models import Category, Run, Taxonomy
from categorisation.services import backlog, runs
from categorisation.services.backlog import OpenRuns, Unlabelled
from categorisation.services.history import SHELL
from query.models import MAX_ATTEMPTS, Thread
from teams.models import Project
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db

AGES_H = (0.1, 3, 23, 25, 500)


def fill(project: Project, begun: datetime) -> None:
    """Threads of all ages that wait, and of each kind that does not."""
    for hours in AGES_H:
        at = begun - timedelta(hours=hours)
        ThreadFactory(project=project, created_at=at)
        ThreadFactory(project=project, created_at=at, classify_attempts=MAX_ATTEMPTS)
        ThreadFactory(project=project, created_at=at, category_source="user", categorised_at=at)
        ThreadFactory(
            project=project,
            created_at=at,
            category=project.categories.first(),
            category_source="classifier",
            categorised_at=at,
        )


def count_naively(now: datetime) -> dict[str, Unlabelled]:
    waiting: dict[str, list[float]] = {"live": [], "old": []}
    for thread in Thread.objects.select_related("project__taxonomy"):
        is_wanted = thread.project.taxonomy.is_enabled and thread.project.categories.filter(deleted_at=None).exists()
        if is_wanted and thread.category_source is None and thread.classify_attempts < MAX_ATTEMPTS:
            age_s = (now - thread.created_at).total_seconds()
            waiting["old" if age_s >= 86_400 else "live"].append(age_s)
    return {age: Unlabelled(len(each), max(each, default=0.0)) for age, each in waiting.items()}


def test_what_waits_is_what_a_naive_reader_counts():
    now = timezone.now()
    projects = [ProjectFactory() for _ in range(4)]
    for project in projects:
        fill(project, now)
    Taxonomy.objects.filter(project=projects[1]).update(is_enabled=False)
    Category.objects.filter(project=projects[2]).update(deleted_at=now)
    expected, counted = count_naively(now), backlog.count_unlabelled()
    assert expected["live"].threads == 6
    assert expected["old"].threads == 4
    for age in expected:
        assert counted[age].threads == expected[age].threads
        assert counted[age].oldest_s == pytest.approx(expected[age].oldest_s, abs=30)
    assert backlog.count_given_up() == 4 * len(AGES_H)


def test_nothing_waits_for_nobody(settings: pytest.FixtureRequest):
    assert backlog.count_unlabelled() == {"live": Unlabelled(0, 0.0), "old": Unlabelled(0, 0.0)}
    ThreadFactory()
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"classification_enabled": False})
    assert backlog.count_unlabelled()["live"] == Unlabelled(0, 0.0)


def test_counting_ends_somewhere(monkeypatch: pytest.MonkeyPatch):
    for project in (ProjectFactory(), ProjectFactory()):
        fill(project, timezone.now())
    monkeypatch.setattr(backlog, "MOST", 3)
    assert backlog.count_unlabelled()["live"].threads == 3
    assert backlog.count_given_up() == 3


def test_it_is_read_from_the_indexes_of_what_waits():
    project = ProjectFactory()
    fill(project, timezone.now())
    at = timezone.now() - timedelta(hours=2)
    decided = {"project": project, "category_source": "user", "categorised_at": at, "created_at": at}
    Thread.objects.bulk_create(Thread(first_question="a", **decided) for _ in range(2_000))
    with CaptureQueriesContext(connection) as asked:
        backlog.count_unlabelled()
        backlog.count_given_up()
    assert len(asked) == 5
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE query_thread")
        for query in asked.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            # thread_by_label leads to unlabelled ones as well, and a small table makes no difference
            assert re.search("using thread_(to_classify|by_label|given_up) on", plan), plan


def test_open_runs_are_told_with_what_they_have_left():
    first, second, third = (ProjectFactory() for _ in range(3))
    for project in (first, second, third):
        runs.start_backfill(project_id=project.pk, actor=SHELL)
    Run.objects.filter(project=first).update(total=10, done=3, failed=1)
    Run.objects.filter(project=second).update(total=10, done=12)
    runs.pause_run(project_id=second.pk, run_id=Run.objects.get(project=second).pk, actor=SHELL)
    runs.cancel_run(project_id=third.pk, run_id=Run.objects.get(project=third).pk, actor=SHELL)
    assert sorted(backlog.count_open_runs(), key=lambda each: each.state) == [
        OpenRuns("backfill", "paused", 1, 0),
        OpenRuns("backfill", "running", 1, 6),
    ]
