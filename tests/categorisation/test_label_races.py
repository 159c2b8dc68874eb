"""Somebody acts in the middle of a classification, at each point of it: checks 15 and 16.

Once each in the suite, a hundred times by `make soak`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TypeVar

import pytest
from rest_framework.test import APIClient

from categorisation import services
from categorisation.models import Category, Taxonomy
from categorisation.services.claims import claim_for_run, claim_thread
from categorisation.services.results import Outcome
from query.models import Thread
from teams.models import Project
from tests.categorisation.steps import (
    BEGINNINGS,
    EVERYTHING,
    POINTS,
    At,
    Steps,
    a_new_thread,
    a_thread_that_is_computed_again,
    assert_history_is_whole,
    label_of,
    label_when_all_is_over,
    make_due,
)
from tests.factories.categorisation import CategoryFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")

at_every_point = pytest.mark.parametrize("at", POINTS, ids=lambda at: at.__name__)
many_times = pytest.mark.parametrize(
    "times", [pytest.param(1, id="once"), pytest.param(100, id="100 times", marks=pytest.mark.soak)]
)


@pytest.fixture
def project(transactional_db: None) -> Project:
    return ProjectFactory()


def repeat(cases: Iterable[T], times: int) -> Iterable[T]:
    """The cases one after another, so many in all, each once at least."""
    cases = list(cases)
    return itertools.islice(itertools.cycle(cases), max(times, len(cases)))


def thread_url(thread: Thread) -> str:
    return f"/query/v1/projects/{thread.project_id}/threads/{thread.pk}/"


def category_url(category: Category) -> str:
    return f"/query/v1/projects/{category.project_id}/categories/{category.pk}/"


def assert_nothing_dangles() -> None:
    """Every label is a live category of its thread's own project."""
    labels = Thread.objects.exclude(category=None).values_list(
        "project_id", "category__project_id", "category__deleted_at"
    )
    assert [label for label in labels if label[0] != label[1] or label[2] is not None] == []


@many_times
@at_every_point
def test_check_15_a_users_decision_is_never_overwritten(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, at: At, times: int
):
    """Another category, the one that the classifier gave or is about to give, or none of them."""
    decisions = [CategoryFactory(project=project, title="Chosen"), troubleshooting, discovery, None]
    for begin, decision in repeat(itertools.product(BEGINNINGS, decisions), len(decisions) * times):
        with begin(project, troubleshooting) as (thread, run):
            answers = []

            def patch(thread: Thread = thread, decision: Category | None = decision, answers: list = answers) -> None:
                answers.append(api.patch(thread_url(thread), {"category": decision and str(decision.pk)}))

            at(Steps(thread, discovery, run), patch)

            assert [answer.status_code for answer in answers] == [200]
            assert label_of(thread) == ("user", decision and decision.title)
            make_due(thread)
            assert claim_thread(thread.pk) is None
            assert run is None or thread.pk not in {claim.thread_id for claim in claim_for_run(run, EVERYTHING)}
            assert_history_is_whole(thread)


@many_times
@at_every_point
def test_check_15_a_decision_that_is_forgotten_leaves_the_thread_to_the_classifier(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, at: At, times: int
):
    for begin, decision in repeat(itertools.product(BEGINNINGS, [troubleshooting, None]), times):
        with begin(project, troubleshooting) as (thread, run):

            def decide_and_forget(thread: Thread = thread, decision: Category | None = decision) -> None:
                assert api.patch(thread_url(thread), {"category": decision and str(decision.pk)}).status_code == 200
                assert api.delete(f"{thread_url(thread)}category/").status_code == 204

            at(Steps(thread, discovery, run), decide_and_forget)

            label_when_all_is_over(thread, discovery)
            assert label_of(thread) == ("classifier", "Discovery")
            assert_history_is_whole(thread)


@many_times
@at_every_point
@pytest.mark.parametrize("reassigned", [False, True], ids=["freed", "reassigned"])
def test_check_16_a_category_that_is_deleted_leaves_nothing_dangling(
    api: APIClient, project: Project, discovery: Category, at: At, reassigned: bool, times: int
):
    deletions = [
        (a_new_thread, "New"),
        (a_thread_that_is_computed_again, "New"),
        (a_thread_that_is_computed_again, "Old"),
    ]
    for begin, title in repeat(deletions, times):
        categories = {name: CategoryFactory(project=project, title=name) for name in ("Old", "New")}
        deleted = categories.pop(title)
        url = category_url(deleted) + (f"?reassign_to={discovery.pk}" if reassigned else "")
        with begin(project, deleted if title == "Old" else categories["Old"]) as (thread, run):
            answers: list[int] = []

            def delete(url: str = url, answers: list[int] = answers) -> None:
                answers.append(api.delete(url).status_code)
                services.empty_categories(budget_s=0.5)  # as fast as any worker could

            at(Steps(thread, deleted if title == "New" else categories["New"], run), delete)

            assert answers == [204]
            shown = api.get(thread_url(thread)).json()["category"]
            assert shown is None or shown["id"] != str(deleted.pk)
            assert services.empty_categories(budget_s=20)
            assert_nothing_dangles()
            label_when_all_is_over(thread, discovery)
            assert_nothing_dangles()
            assert label_of(thread)[0] == "classifier"
            assert_history_is_whole(thread)
        (left,) = categories.values()
        assert api.delete(category_url(left)).status_code == 204
        assert services.empty_categories(budget_s=20)


@many_times
@at_every_point
def test_check_16_a_category_that_is_renamed_is_given_all_the_same(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, at: At, times: int
):
    for number, begin in enumerate(repeat(BEGINNINGS, times)):
        with begin(project, troubleshooting) as (thread, run):
            steps = Steps(thread, discovery, run)
            body = {"title": f"Renamed {number}"}

            def rename(body: dict[str, str] = body) -> None:
                assert api.patch(category_url(discovery), body).status_code == 200

            at(steps, rename)

            assert steps.outcomes == [Outcome.LABELLED]
            assert label_of(thread) == ("classifier", body["title"])
            assert thread.category_taxonomy_version <= Taxonomy.objects.get(project=project).version
            assert_nothing_dangles()
            assert_history_is_whole(thread)


@pytest.mark.parametrize("category", ["another project's", "deleted", "unknown"])
def test_check_16_no_category_of_elsewhere_is_given(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, category: str
):
    """A classifier that names what it was not given, and a person who does: nothing is written."""
    given = {
        "another project's": ProjectFactory().categories.get(title="Discovery"),
        "deleted": discovery,
        "unknown": Category(title="Never saved"),
    }[category]
    services.delete_category(project_id=project.pk, category_id=discovery.pk)
    with a_new_thread(project, troubleshooting) as (thread, run):
        steps = Steps(thread, given, run)
        steps.claim()
        steps.compute()
        (result,) = steps.results
        steps.results = [type(result)(str(given.pk), 0.5)]  # behind the check of what classifiers answer
        steps.write()
        assert steps.outcomes == [Outcome.DROPPED]
        assert api.patch(thread_url(thread), {"category": str(given.pk)}).status_code in (400, 404)
        assert label_of(thread) == (None, None)
        label_when_all_is_over(thread, troubleshooting)
        assert label_of(thread) == ("classifier", "Troubleshooting")
