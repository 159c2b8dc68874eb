"""What happens at the same moment, on two connections: deletions, deliveries, and changes of the taxonomy.

People and classifiers at one thread are in test_label_races.py.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from categorisation import services
from categorisation.errors import CategoryNotFound, DuplicateTitle, TooManyCategories
from categorisation.models import Category
from categorisation.services import Outcome
from categorisation.services.labels import lock_live_categories
from categorisation.services.writing import NewLabel, write_labels
from query.models import Thread
from teams.models import Project
from tests.categorisation.fakes import FakeClassifier
from tests.categorisation.steps import label_of
from tests.categorisation.two_connections import (
    TIMEOUT_S,
    on_another_connection,
    started_on_another_connection,
    uncommitted_on_another_connection,
    wait_until_somebody_waits_for_a_lock,
)
from tests.categorisation.windows import sweep
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(transactional_db: None) -> Project:
    return ProjectFactory()


def test_check_16_a_label_whose_category_was_deleted_meanwhile_is_computed_again(project: Project, discovery: Category):
    thread = ThreadFactory(project=project)
    deletions = iter([lambda: services.delete_category(project_id=project.pk, category_id=discovery.pk)])
    classifier = FakeClassifier(
        before=lambda questions: on_another_connection(next(deletions, lambda: None)),
    )

    assert services.label_thread(thread.pk, classifier) is Outcome.LABELLED

    assert [len(categories) for categories in classifier.seen] == [2, 1]
    assert label_of(thread) == ("classifier", "Troubleshooting")


def test_who_changes_a_category_is_not_passed_by_writers_that_come_later(project: Project, discovery: Category):
    def write() -> set[object]:
        with transaction.atomic():
            return lock_live_categories(project.pk, [discovery.pk])

    def delete() -> None:
        services.delete_category(project_id=project.pk, category_id=discovery.pk)

    with uncommitted_on_another_connection(write) as commit, started_on_another_connection(delete) as deletion:
        wait_until_somebody_waits_for_a_lock()
        with started_on_another_connection(write) as later:
            wait_until_somebody_waits_for_a_lock(count=2, unless=later)
            assert not later.done()
            commit()
            deletion.result(TIMEOUT_S)
            assert later.result(TIMEOUT_S) == set()


def test_the_last_category_deleted_while_it_is_being_given_leaves_the_thread_waiting(project: Project):
    thread = ThreadFactory(project=project)

    def delete_all() -> None:
        for category in list(project.categories.all()):
            services.delete_category(project_id=project.pk, category_id=category.pk)

    classifier = FakeClassifier(before=lambda questions: on_another_connection(delete_all))
    assert services.label_thread(thread.pk, classifier) is Outcome.DROPPED
    assert label_of(thread) == (None, None)
    assert len(classifier.calls) == 1


def test_check_09_ten_deliveries_at_once_write_once(project: Project):
    thread = ThreadFactory(project=project)
    classifier = FakeClassifier()
    together = threading.Barrier(10)

    def deliver() -> Outcome:
        try:
            together.wait(10)
            return services.label_thread(thread.pk, classifier)
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as workers:
        outcomes = [future.result() for future in [workers.submit(deliver) for _ in range(10)]]

    assert sorted(outcomes) == sorted([Outcome.LABELLED] + [Outcome.NOT_CLAIMED] * 9)
    assert len(classifier.calls) == 1


def test_the_sweepers_of_two_workers_share_the_work(project: Project):
    ThreadFactory.create_batch(40, project=project)
    classifier = FakeClassifier()

    def sweep_as(worker: str) -> int:
        return sweep(classifier, worker=worker, questions_per_call=8)[Outcome.LABELLED]

    with started_on_another_connection(lambda: sweep_as("another")) as other:
        mine = sweep_as("one")
    assert mine + other.result() == 40
    assert sum(len(call) for call in classifier.calls) == 40


def test_a_decision_for_a_category_that_is_being_deleted_is_not_found(project: Project, discovery: Category):
    thread = ThreadFactory(project=project)

    def decide() -> None:
        services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)

    def delete() -> None:
        services.delete_category(project_id=project.pk, category_id=discovery.pk)

    with uncommitted_on_another_connection(delete) as commit, started_on_another_connection(decide) as deciding:
        wait_until_somebody_waits_for_a_lock()
        commit()
        assert isinstance(deciding.exception(TIMEOUT_S), CategoryNotFound)
    assert label_of(thread) == (None, None)


def test_a_deletion_waits_for_a_decision_and_takes_it_along(project: Project, discovery: Category):
    thread = ThreadFactory(project=project)

    def decide() -> None:
        services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)

    with (
        uncommitted_on_another_connection(decide) as commit,
        started_on_another_connection(
            lambda: services.delete_category(project_id=project.pk, category_id=discovery.pk)
        ),
    ):
        wait_until_somebody_waits_for_a_lock()
        commit()
    assert services.empty_categories(budget_s=20)
    assert label_of(thread) == (None, None)


def test_a_deletion_waits_for_a_decision_and_moves_it_too(
    project: Project, discovery: Category, troubleshooting: Category
):
    thread = ThreadFactory(project=project)

    def decide() -> None:
        services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)

    def replace() -> None:
        services.delete_category(project_id=project.pk, category_id=discovery.pk, reassign_to=troubleshooting.pk)

    with uncommitted_on_another_connection(decide) as commit, started_on_another_connection(replace) as replacing:
        wait_until_somebody_waits_for_a_lock()
        commit()
        replacing.result(TIMEOUT_S)
    assert services.empty_categories(budget_s=20)
    assert label_of(thread) == ("user", "Troubleshooting")


def test_of_two_categories_with_one_title_one_is_made(project: Project):
    def create() -> None:
        services.create_category(project_id=project.pk, title="Careers")

    with uncommitted_on_another_connection(create) as commit, started_on_another_connection(create) as second:
        wait_until_somebody_waits_for_a_lock()
        commit()
        assert isinstance(second.exception(TIMEOUT_S), DuplicateTitle)
    assert project.categories.filter(title="Careers").count() == 1


def test_the_constraint_refuses_a_title_that_the_service_could_not_see(project: Project):
    def insert_behind_the_services_back() -> None:
        CategoryFactory(project=project, title="careers")

    def create() -> None:
        services.create_category(project_id=project.pk, title="Careers")

    with (
        uncommitted_on_another_connection(insert_behind_the_services_back) as commit,
        started_on_another_connection(create) as second,
    ):
        wait_until_somebody_waits_for_a_lock()
        commit()
        assert isinstance(second.exception(TIMEOUT_S), DuplicateTitle)


def test_of_two_fiftieth_categories_one_is_made(project: Project):
    CategoryFactory.create_batch(47, project=project)

    def create(title: str) -> None:
        services.create_category(project_id=project.pk, title=title)

    with (
        uncommitted_on_another_connection(lambda: create("One")) as commit,
        started_on_another_connection(lambda: create("Another")) as second,
    ):
        wait_until_somebody_waits_for_a_lock()
        commit()
        assert isinstance(second.exception(TIMEOUT_S), TooManyCategories)
    assert project.categories.count() == 50


def test_label_writers_of_one_category_do_not_wait_for_each_other(project: Project, discovery: Category):
    first, second = ThreadFactory.create_batch(2, project=project)

    def write(thread: Thread) -> None:
        computed = [NewLabel(thread.pk, discovery.pk, 0.5)]
        write_labels(project.pk, computed, taxonomy_version=1, classifier_version="fake-1")

    with uncommitted_on_another_connection(lambda: write(first)), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'")
        write(second)
    assert label_of(second) == ("classifier", "Discovery")
