"""Threads older than a day that are announced, because people's decisions on them were forgotten."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from categorisation import services
from categorisation.models import Run, Taxonomy
from categorisation.services import Outcome, runs
from categorisation.services.history import SHELL
from query.models import Thread
from schema.locks import session_lock
from teams.models import Project
from tests.categorisation.fakes import FakeClassifier
from tests.categorisation.two_connections import on_another_connection
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db


def announce(thread: Thread) -> Outcome:
    return services.label_old_thread(thread.pk, FakeClassifier(), "test")


def make_old_thread(project: Project) -> Thread:
    return ThreadFactory(project=project, created_at=timezone.now() - timedelta(days=3))


def test_one_is_classified_by_itself(project: Project):
    assert announce(make_old_thread(project)) is Outcome.LABELLED
    assert not Run.objects.exists()


def test_it_is_left_to_a_backfill_that_runs(project: Project):
    runs.start_backfill(project_id=project.pk, actor=SHELL)
    assert announce(make_old_thread(project)) is Outcome.NOT_CLAIMED


@pytest.mark.parametrize("hindrance", ["paused", "limited"])
def test_it_does_not_wait_for_a_backfill_that_may_never_come_to_it(project: Project, hindrance: str):
    run = runs.start_backfill(project_id=project.pk, actor=SHELL, limit=1 if hindrance == "limited" else None)
    if hindrance == "paused":
        runs.pause_run(project_id=project.pk, run_id=run.pk, actor=SHELL)
    assert announce(make_old_thread(project)) is Outcome.LABELLED


def test_many_at_once_are_left_to_a_backfill(transactional_db: None):
    threads = [make_old_thread(ProjectFactory()) for _ in range(2)]
    Taxonomy.objects.filter(project=threads[1].project).update(backfill_is_suspended=True)
    with session_lock("old thread of test"):
        outcomes = [on_another_connection(partial(announce, thread)) for thread in threads for _ in range(2)]
    assert outcomes == [Outcome.NOT_CLAIMED, Outcome.NOT_CLAIMED, Outcome.LABELLED, Outcome.NOT_CLAIMED]
    assert Run.objects.get().project == threads[0].project


def test_one_that_is_not_due_begins_no_backfill(transactional_db: None):
    thread = make_old_thread(ProjectFactory())
    Thread.objects.update(classify_after=timezone.now() + timedelta(hours=1))
    with session_lock("old thread of test"):
        assert on_another_connection(partial(announce, thread)) is Outcome.NOT_CLAIMED
    assert not Run.objects.exists()
