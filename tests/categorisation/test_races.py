"""What happens at the same moment, on two connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from rest_framework.test import APIClient

from categorisation import selectors, services
from categorisation.errors import CategoryNotFound, DuplicateTitle, TooManyCategories
from categorisation.models import Category, Taxonomy
from categorisation.services import Outcome
from categorisation.services.calls import Result, classify_all
from categorisation.services.claims import Claim, claim_thread
from categorisation.services.classification import record_results
from categorisation.services.writing import NewLabel, write_labels
from query.models import Thread
from teams.models import Project
from tests.categorisation.fakes import FakeClassifier, preferring, titled
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

Act = Callable[[], object]
ROUNDS = 3


class Steps:
    """A classification, as `category` while that is there, step by step, so that somebody else can act in between."""

    def __init__(self, thread: Thread, category: Category) -> None:
        self.thread = thread
        self.category = category
        self.claims: list[Claim] = []
        self.results: list[Result] = []
        self.version = 0
        self.outcomes: list[Outcome] = []

    def claim(self) -> None:
        claim = claim_thread(self.thread.pk)
        self.claims = [claim] if claim else []

    def compute(self, meanwhile: Act = lambda: None) -> None:
        taxonomy = selectors.read_taxonomy(self.thread.project_id)
        self.version = taxonomy.version
        classifier = FakeClassifier(
            preferring(self.category.pk), before=lambda questions: on_another_connection(meanwhile)
        )
        self.results = classify_all(classifier, [claim.question for claim in self.claims], taxonomy.categories)

    def write(self) -> None:
        if self.claims:
            self.outcomes = record_results(
                self.claims, self.results, taxonomy_version=self.version, classifier_version="fake-1"
            )


def before_the_claim(steps: Steps, act: Act) -> None:
    on_another_connection(act)
    steps.claim()
    steps.compute()
    steps.write()


def after_the_claim(steps: Steps, act: Act) -> None:
    steps.claim()
    on_another_connection(act)
    steps.compute()
    steps.write()


def while_the_classifier_computes(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute(meanwhile=act)
    steps.write()


def before_the_write(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    on_another_connection(act)
    steps.write()


def uncommitted_when_the_write_comes(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    with uncommitted_on_another_connection(act) as commit, started_on_another_connection(steps.write) as writing:
        wait_until_somebody_waits_for_a_lock()
        commit()
        writing.result(TIMEOUT_S)


def while_the_write_is_uncommitted(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    with uncommitted_on_another_connection(steps.write) as commit, started_on_another_connection(act) as acting:
        wait_until_somebody_waits_for_a_lock()
        commit()
        acting.result(TIMEOUT_S)


def after_the_write(steps: Steps, act: Act) -> None:
    steps.claim()
    steps.compute()
    steps.write()
    on_another_connection(act)


POINTS = [
    before_the_claim,
    after_the_claim,
    while_the_classifier_computes,
    before_the_write,
    uncommitted_when_the_write_comes,
    while_the_write_is_uncommitted,
    after_the_write,
]
at_every_point = pytest.mark.parametrize("at", POINTS, ids=lambda at: at.__name__)
At = Callable[[Steps, Act], None]


@pytest.fixture
def project(transactional_db: None) -> Project:
    return ProjectFactory()


def label_of(thread: Thread) -> tuple[str | None, str | None]:
    thread.refresh_from_db()
    return thread.category_source, thread.category.title if thread.category else None


def assert_nothing_dangles() -> None:
    for thread in Thread.objects.select_related("category"):
        if thread.category is not None:
            assert thread.category.deleted_at is None
            assert thread.category.project_id == thread.project_id


@at_every_point
def test_check_15_a_users_patch_is_never_overwritten(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, at: At
):
    for decision in [troubleshooting, None] * ROUNDS:
        thread = ThreadFactory(project=project)
        body = {"category": str(decision.pk) if decision else None}
        answers: list[Any] = []

        def patch(thread: Thread = thread, body: dict[str, Any] = body, answers: list[Any] = answers) -> None:
            answers.append(api.patch(f"/query/v1/projects/{project.pk}/threads/{thread.pk}/", body))

        at(Steps(thread, discovery), patch)

        assert [answer.status_code for answer in answers] == [200]
        assert label_of(thread) == ("user", decision.title if decision else None)
        assert services.label_thread(thread.pk, FakeClassifier()) is Outcome.NOT_CLAIMED
        assert sweep(FakeClassifier()) == {}


@at_every_point
def test_check_15_a_decision_that_is_forgotten_at_any_point_leaves_the_thread_to_the_classifier(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, at: At
):
    thread = ThreadFactory(project=project)
    url = f"/query/v1/projects/{project.pk}/threads/{thread.pk}/"

    def decide_and_forget() -> None:
        api.patch(url, {"category": str(troubleshooting.pk)})
        api.delete(f"{url}category/")

    at(Steps(thread, discovery), decide_and_forget)

    services.label_thread(thread.pk, FakeClassifier(titled("Discovery")))
    assert label_of(thread) == ("classifier", "Discovery")


@at_every_point
@pytest.mark.parametrize("reassign", [False, True])
def test_check_16_a_category_deleted_while_it_is_being_given_leaves_nothing_dangling(
    project: Project, discovery: Category, troubleshooting: Category, at: At, reassign: bool
):
    thread = ThreadFactory(project=project)

    def delete() -> None:
        target = troubleshooting.pk if reassign else None
        services.delete_category(project_id=project.pk, category_id=discovery.pk, reassign_to=target)

    steps = Steps(thread, discovery)
    at(steps, delete)

    assert_nothing_dangles()
    services.label_thread(thread.pk, FakeClassifier())
    assert label_of(thread) == ("classifier", "Troubleshooting")
    assert not Category.objects.filter(pk=discovery.pk).exists()


@at_every_point
def test_check_16_a_category_renamed_while_it_is_being_given_is_given(project: Project, discovery: Category, at: At):
    thread = ThreadFactory(project=project)
    steps = Steps(thread, discovery)
    at(
        steps,
        lambda: services.change_category(project_id=project.pk, category_id=discovery.pk, changes={"title": "Coding"}),
    )

    assert steps.outcomes == [Outcome.LABELLED]
    assert label_of(thread) == ("classifier", "Coding")
    assert thread.category_taxonomy_version <= Taxonomy.objects.get(project=project).version


def test_check_16_a_label_whose_category_was_deleted_meanwhile_is_computed_again(project: Project, discovery: Category):
    thread = ThreadFactory(project=project)
    deletions = iter([lambda: services.delete_category(project_id=project.pk, category_id=discovery.pk)])
    classifier = FakeClassifier(
        before=lambda questions: on_another_connection(next(deletions, lambda: None)),
    )

    assert services.label_thread(thread.pk, classifier) is Outcome.LABELLED

    assert [len(categories) for categories in classifier.seen] == [2, 1]
    assert label_of(thread) == ("classifier", "Troubleshooting")


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


def test_two_sweepers_share_the_work(project: Project):
    ThreadFactory.create_batch(40, project=project)
    classifier = FakeClassifier()

    def sweep() -> int:
        return sweep(classifier, questions_per_call=8)[Outcome.LABELLED]

    with started_on_another_connection(sweep) as other:
        mine = sweep()
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
    assert label_of(thread) == (None, None)
    assert_nothing_dangles()


def test_a_decision_that_comes_while_threads_are_moved_is_moved_too(
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
