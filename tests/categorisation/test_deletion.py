"""What becomes of a deleted category's threads: at once to whoever reads, and later in their rows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from categorisation import services
from categorisation.models import Category, LabelChange, Run
from categorisation.services import emptying
from query.models import Thread
from schema.locks import session_lock
from teams.models import Project
from tests.categorisation.two_connections import on_another_connection, uncommitted_on_another_connection
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import ThreadFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def labelled(project: Project, discovery: Category) -> list[Thread]:
    """A thread that a person put into Discovery, and one of the classifier's."""
    by_user, by_classifier = ThreadFactory.create_batch(2, project=project)
    label(by_user, discovery, "user")
    label(by_classifier, discovery, "classifier", 0.5)
    return [by_user, by_classifier]


def label(thread: Thread, category: Category, source: str, confidence: float | None = None) -> None:
    Thread.objects.filter(pk=thread.pk).update(
        category=category, category_source=source, category_confidence=confidence, categorised_at=timezone.now()
    )


def delete(category: Category, reassign_to: Category | None = None) -> Run:
    return services.delete_category(
        project_id=category.project_id, category_id=category.pk, reassign_to=reassign_to.pk if reassign_to else None
    )


def shown(api: APIClient, threads: Sequence[Thread]) -> list[tuple[str | None, str | None, float | None]]:
    """What the details and the list show, which is the same."""
    project = threads[0].project_id
    url = f"/query/v1/projects/{project}/threads/"
    listed = {row["id"]: row for row in api.get(url).json()["results"]}
    rows = []
    for thread in threads:
        row = api.get(f"{url}{thread.pk}/").json()
        assert listed[str(thread.pk)] == {name: row[name] for name in listed[str(thread.pk)]}
        title = row["category"]["title"] if row["category"] else None
        rows.append((title, row["category_source"], row["category_confidence"]))
    return rows


def found(api: APIClient, project: Project, **filters: Any) -> set[str]:
    answer = api.get(f"/query/v1/projects/{project.pk}/threads/", filters)
    assert answer.status_code == 200
    return {row["id"] for row in answer.json()["results"]}


def ids(threads: Sequence[Thread]) -> set[str]:
    return {str(thread.pk) for thread in threads}


def in_rows(threads: Sequence[Thread]) -> list[tuple[Any, Any]]:
    rows = {row.pk: row for row in Thread.objects.filter(pk__in=[thread.pk for thread in threads])}
    return [(rows[thread.pk].category_id, rows[thread.pk].category_source) for thread in threads]


def test_the_request_touches_no_thread(api: APIClient, project: Project, discovery: Category, labelled: list[Thread]):
    with CaptureQueriesContext(connection) as queries:
        assert api.delete(f"/query/v1/projects/{project.pk}/categories/{discovery.pk}/").status_code == 204
    assert not [query["sql"] for query in queries if "query_thread" in query["sql"]]
    assert in_rows(labelled) == [(discovery.pk, "user"), (discovery.pk, "classifier")]


def test_from_then_on_its_threads_show_no_label(
    api: APIClient, project: Project, discovery: Category, labelled: list[Thread]
):
    run = delete(discovery)
    for _ in range(2):
        assert shown(api, labelled) == [(None, None, None)] * 2
        assert found(api, project, category="null") == ids(labelled)
        assert found(api, project, category_source="user") == found(api, project, category_source="classifier") == set()
        services.empty_categories(budget_s=60)
    assert in_rows(labelled) == [(None, None)] * 2
    assert set(Thread.objects.values_list("classify_run", flat=True)) == {run.pk}
    discovery.refresh_from_db()
    assert discovery.emptied_at is not None


def test_its_threads_show_what_replaces_it(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, labelled: list[Thread]
):
    delete(discovery, troubleshooting)
    for _ in range(2):
        assert shown(api, labelled) == [("Troubleshooting", "user", None), ("Troubleshooting", "classifier", None)]
        assert found(api, project, category=troubleshooting.pk) == ids(labelled)
        assert found(api, project, category="null") == set()
        assert found(api, project, category_source="user") == ids(labelled[:1])
        services.empty_categories(budget_s=60)
    assert in_rows(labelled) == [(troubleshooting.pk, "user"), (troubleshooting.pk, "classifier")]


@pytest.mark.parametrize("emptied_between", [False, True])
def test_what_replaces_it_may_be_replaced_in_turn(
    api: APIClient, project: Project, discovery: Category, labelled: list[Thread], emptied_between: bool
):
    second, third = CategoryFactory(project=project, title="Second"), CategoryFactory(project=project, title="Third")
    delete(discovery, second)
    if emptied_between:
        services.empty_categories(budget_s=60)
    delete(second, third)
    for _ in range(2):
        assert [title for title, _, _ in shown(api, labelled)] == ["Third", "Third"]
        assert found(api, project, category=third.pk) == ids(labelled)
        services.empty_categories(budget_s=60)
    assert in_rows(labelled) == [(third.pk, "user"), (third.pk, "classifier")]


@pytest.mark.parametrize("emptied_between", [False, True])
def test_what_replaces_it_may_be_deleted_in_turn(
    api: APIClient, project: Project, discovery: Category, labelled: list[Thread], emptied_between: bool
):
    second = CategoryFactory(project=project)
    delete(discovery, second)
    if emptied_between:
        services.empty_categories(budget_s=60)
    delete(second)
    for _ in range(2):
        assert shown(api, labelled) == [(None, None, None)] * 2
        assert found(api, project, category="null") == ids(labelled)
        services.empty_categories(budget_s=60)
    assert in_rows(labelled) == [(None, None)] * 2


def test_the_history_tells_who_deleted_it_and_in_which_run(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, labelled: list[Thread]
):
    url = f"/query/v1/projects/{project.pk}/categories/"
    api.delete(f"{url}{discovery.pk}/?reassign_to={troubleshooting.pk}")
    services.empty_categories(budget_s=60)
    api.delete(f"{url}{troubleshooting.pk}/")
    services.empty_categories(budget_s=60)

    moved, freed = Run.objects.order_by("started_at")
    for thread, source in zip(labelled, ["user", "classifier"], strict=True):
        first, second = LabelChange.objects.filter(thread=thread).order_by("id")
        assert (first.from_category, first.to_category) == (discovery, troubleshooting)
        assert (first.from_source, first.to_source) == (source, source)
        assert (second.from_category, second.to_category) == (troubleshooting, None)
        assert (second.from_source, second.to_source) == (source, None)
        assert (first.run, second.run) == (moved, freed)
        assert first.actor_kind == second.actor_kind == "key"
        assert first.actor == freed.started_by


def test_a_person_may_decide_while_it_is_being_emptied(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category, labelled: list[Thread]
):
    delete(discovery)
    services.assign_label(project_id=project.pk, thread_id=labelled[0].pk, category_id=troubleshooting.pk)
    assert services.empty_categories(budget_s=60)
    assert in_rows(labelled) == [(troubleshooting.pk, "user"), (None, None)]


def test_forgetting_a_decision_on_a_deleted_category_frees_the_thread(
    project: Project, discovery: Category, labelled: list[Thread]
):
    delete(discovery)
    assert services.forget_label(project_id=project.pk, thread_id=labelled[0].pk)
    assert in_rows(labelled) == [(None, None), (discovery.pk, "classifier")]


def test_without_a_category_left_its_threads_wait_for_nobody(
    project: Project, discovery: Category, troubleshooting: Category, labelled: list[Thread]
):
    delete(troubleshooting)
    run = delete(discovery)
    services.empty_categories(budget_s=60)
    run.refresh_from_db()
    assert (run.total, run.done) == (2, 2)
    assert set(Thread.objects.values_list("classify_run", flat=True)) == {None}


def test_threads_of_many_transactions_are_emptied_the_newest_first_and_counted_before(
    monkeypatch: pytest.MonkeyPatch, project: Project, discovery: Category
):
    monkeypatch.setattr(emptying, "THREADS_PER_TRANSACTION", 2)
    start = timezone.now()
    threads = [ThreadFactory(project=project, created_at=start - timedelta(days=n)) for n in range(7)]
    for thread in threads[:5]:
        label(thread, discovery, "classifier", 0.5)
    for thread in threads[5:]:  # begun at the same moment
        label(thread, discovery, "user")
        Thread.objects.filter(pk=thread.pk).update(created_at=start)
    run = delete(discovery)

    stops = iter([False, False, False, False, True])
    assert not services.empty_categories(budget_s=60, should_stop=lambda: next(stops, True))
    left = Thread.objects.filter(category=discovery).count()
    assert 0 < left < 7
    assert services.empty_categories(budget_s=60)
    assert not Thread.objects.filter(category=discovery).exists()
    run.refresh_from_db()
    assert run.total == 7
    assert LabelChange.objects.filter(run=run).count() == 7
    freed = list(
        LabelChange.objects.filter(run=run, from_source="classifier").order_by("id").values_list("thread", flat=True)
    )
    assert freed == [thread.pk for thread in threads[:5]]


def test_no_time_empties_nothing(project: Project, discovery: Category, labelled: list[Thread]):
    delete(discovery)
    assert not services.empty_categories(budget_s=-1)
    assert in_rows(labelled)[0] == (discovery.pk, "user")


def test_a_category_that_was_deleted_before_there_were_runs_gets_one(
    project: Project, discovery: Category, labelled: list[Thread]
):
    Category.objects.filter(pk=discovery.pk).update(deleted_at=timezone.now())
    assert services.empty_categories(budget_s=60)
    assert in_rows(labelled) == [(None, None)] * 2
    run = Run.objects.get(category=discovery)
    assert (run.kind, run.started_by) == ("category_deleted", "beat")


def test_another_projects_threads_stay(project: Project, discovery: Category, labelled: list[Thread]):
    other = ThreadFactory()
    label(other, other.project.categories.first(), "user")
    delete(discovery)
    services.empty_categories(budget_s=60)
    assert in_rows([other])[0][1] == "user"


def test_two_deletions_stand_side_by_side(project: Project, discovery: Category, troubleshooting: Category):
    runs = {delete(discovery).pk, delete(troubleshooting).pk}
    assert set(Run.objects.filter(state="running").values_list("pk", flat=True)) == runs
    assert services.empty_categories(budget_s=60)


@pytest.mark.django_db(transaction=True)
def test_what_another_process_is_emptying_is_left_to_it(
    project: Project, discovery: Category, troubleshooting: Category
):
    delete(discovery)
    delete(troubleshooting)
    with session_lock(f"empty category {discovery.pk}") as is_ours:
        assert is_ours
        assert not on_another_connection(lambda: services.empty_categories(budget_s=60))
    discovery.refresh_from_db()
    troubleshooting.refresh_from_db()
    assert discovery.emptied_at is None
    assert troubleshooting.emptied_at is not None
    assert on_another_connection(lambda: services.empty_categories(budget_s=60))


@pytest.mark.django_db(transaction=True)
def test_a_thread_that_somebody_holds_is_passed_over_and_comes_later(
    project: Project, discovery: Category, labelled: list[Thread]
):
    delete(discovery)

    def hold() -> None:
        Thread.objects.select_for_update().get(pk=labelled[0].pk)

    with uncommitted_on_another_connection(hold):
        assert not services.empty_categories(budget_s=0.3)
        assert in_rows(labelled) == [(discovery.pk, "user"), (None, None)]
    assert services.empty_categories(budget_s=60)


@pytest.mark.django_db(transaction=True)
def test_its_successors_deletion_waits_for_the_batch_that_moves_threads_there(
    project: Project, discovery: Category, troubleshooting: Category, labelled: list[Thread]
):
    """In either order of the two categories' ids, and without a deadlock."""
    third = CategoryFactory(project=project)
    for successor in (troubleshooting, CategoryFactory(project=project, id=uuid.UUID(int=1), title="first of all")):
        label(labelled[0], third, "user")
        delete(third, successor)
        with uncommitted_on_another_connection(lambda: services.empty_categories(budget_s=60)) as commit:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '100ms'")
                with pytest.raises(Exception, match="statement timeout"):
                    delete(successor)
            commit()
        delete(successor)
        assert services.empty_categories(budget_s=60)
        third = CategoryFactory(project=project)
    assert in_rows(labelled)[0] == (None, None)
