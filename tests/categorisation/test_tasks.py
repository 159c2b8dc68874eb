"""From an announcement to a label: in this process, and through a real broker and a real worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks
from rest_framework.test import APIClient

from categorisation import composition, services, tasks
from categorisation.lanes import Lanes
from categorisation.models import Category
from config.celery import app
from query.models import Thread
from query.signals import thread_started
from teams.models import Project
from tests.categorisation.conftest import SetEnvironment
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

FAKE = "tests.categorisation.fakes.factory_of_fakes"


@pytest.fixture
def eager(set_environment: SetEnvironment) -> Iterator[None]:
    """Tasks run where they are announced, with a fake classifier."""
    set_environment(classifier=FAKE)
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@pytest.mark.django_db
def test_a_thread_that_has_started_is_labelled(eager: None, project: Project):
    thread = ThreadFactory(project=project)
    thread_started.send_robust(sender=Thread, thread_id=thread.pk)
    thread.refresh_from_db()
    assert thread.category_source == "classifier"


@pytest.mark.django_db
def test_a_forgotten_decision_is_announced(
    eager: None, api: APIClient, project: Project, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
):
    thread = ThreadFactory(project=project)
    url = f"/query/v1/projects/{project.pk}/threads/{thread.pk}/"
    with django_capture_on_commit_callbacks(execute=True):
        api.patch(url, {"category": None})
    with django_capture_on_commit_callbacks(execute=True):
        api.delete(f"{url}category/")
    thread.refresh_from_db()
    assert thread.category_source == "classifier"


@pytest.mark.django_db
def test_the_threads_of_a_deleted_category_are_announced_old_ones_too(
    eager: None,
    project: Project,
    discovery: Category,
    troubleshooting: Category,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
):
    thread = ThreadFactory(project=project, created_at=timezone.now() - timedelta(days=30))
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    with django_capture_on_commit_callbacks(execute=True):
        services.delete_category(project_id=project.pk, category_id=discovery.pk)
    thread.refresh_from_db()
    assert (thread.category, thread.category_source) == (troubleshooting, "classifier")


@pytest.mark.django_db
def test_the_planner_sees_to_deletions_and_to_old_threads(eager: None, project: Project, discovery: Category):
    thread = ThreadFactory(project=project)
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    Category.objects.filter(pk=discovery.pk).update(deleted_at=timezone.now())
    old = ThreadFactory(project=project, created_at=timezone.now() - timedelta(days=30))

    for _ in range(3):  # the deletion, what it freed, and then what beat starts by itself
        tasks.plan.delay()

    for labelled in (thread, old):
        labelled.refresh_from_db()
        assert (labelled.category.title, labelled.category_source) == ("Troubleshooting", "classifier")


@pytest.mark.django_db
def test_an_old_thread_that_is_announced_is_labelled_too(eager: None, project: Project):
    thread = ThreadFactory(project=project, created_at=timezone.now() - timedelta(days=30))
    tasks.classify_thread.delay(str(thread.pk))
    thread.refresh_from_db()
    assert thread.category_source == "classifier"


@pytest.mark.django_db
def test_nothing_is_classified_while_it_is_switched_off(eager: None, project: Project, set_environment: SetEnvironment):
    set_environment(classification_enabled=False, classifier="nowhere.Classifier")
    thread = ThreadFactory(project=project)
    thread_started.send_robust(sender=Thread, thread_id=thread.pk)
    tasks.sweep_unlabelled_threads.delay()
    tasks.run_batch.delay()
    thread.refresh_from_db()
    assert thread.category_source is None


@pytest.mark.django_db
@pytest.mark.parametrize("task", [tasks.sweep_unlabelled_threads, tasks.run_batch])
def test_a_process_whose_lanes_hang_is_replaced_after_its_window(
    task: Any, set_environment: SetEnvironment, monkeypatch: pytest.MonkeyPatch
):
    set_environment(classifier=FAKE)
    lanes, never, ends = Lanes(2), threading.Event(), []
    monkeypatch.setattr(composition, "lanes", lambda: lanes)
    monkeypatch.setattr(tasks.os, "_exit", ends.append)
    monkeypatch.setattr(tasks.logging, "shutdown", lambda: None)
    task.run()
    assert ends == []
    lanes.submit(never.wait, print)
    task.run()
    assert ends == [1]
    never.set()


# -- with a real broker and a real worker -----------------------------------------------------------------------------

LABELLED_WITHIN_S = 30.0


def wait_for_labels(threads: list[Thread]) -> None:
    deadline = time.monotonic() + LABELLED_WITHIN_S
    unlabelled = Thread.objects.filter(pk__in=[thread.pk for thread in threads], category_source=None)
    while unlabelled.exists():
        assert time.monotonic() < deadline, "not labelled in time"
        time.sleep(0.05)


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_a_worker_labels_what_is_announced_swept_and_delivered_ten_times(celery_worker: Callable[..., Any]):
    project = ProjectFactory()
    announced, swept, repeated = ThreadFactory.create_batch(3, project=project)
    celery_worker(environment={"CLASSIFIER": "dummy", "DUMMY_CLASSIFIER_SECONDS": "0.05"}, concurrency=2)

    for _ in range(10):
        tasks.classify_thread.delay(str(repeated.pk))
    thread_started.send_robust(sender=Thread, thread_id=announced.pk)
    wait_for_labels([announced, repeated])
    repeated.refresh_from_db()
    written_at = repeated.updated_at

    tasks.sweep_unlabelled_threads.delay()
    wait_for_labels([swept])
    repeated.refresh_from_db()
    assert repeated.updated_at == written_at
    for thread in (announced, swept, repeated):
        thread.refresh_from_db()
        assert thread.category_source == "classifier"
        assert thread.category.project_id == project.pk
        assert thread.category_confidence == 0.5
