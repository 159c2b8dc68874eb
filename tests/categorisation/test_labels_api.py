from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from categorisation import services
from categorisation.models import Category
from query.models import Thread
from teams.models import Project
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def thread(project: Project) -> Thread:
    return QuestionAnswerFactory(thread__project=project).thread


def threads_url(project: Project, thread: Thread | uuid.UUID | None = None) -> str:
    end = f"{thread.pk if isinstance(thread, Thread) else thread}/" if thread else ""
    return f"/query/v1/projects/{project.pk}/threads/{end}"


def listed(api: APIClient, project: Project, **filters: Any) -> set[str]:
    answer = api.get(threads_url(project), filters)
    assert answer.status_code == 200, answer.json()
    return {row["id"] for row in answer.json()["results"]}


def label(thread: Thread, category: Category | None, source: str, confidence: float | None = None) -> None:
    Thread.objects.filter(pk=thread.pk).update(
        category=category, category_source=source, category_confidence=confidence, categorised_at=timezone.now()
    )


def test_a_person_decides_on_a_category(api: APIClient, project: Project, thread: Thread, discovery: Category):
    answer = api.patch(threads_url(project, thread), {"category": str(discovery.pk)})

    assert answer.status_code == 200
    row = answer.json()
    assert row["category"] == {"id": str(discovery.pk), "title": "Discovery"}
    assert (row["category_source"], row["category_confidence"]) == ("user", None)
    assert row["updated_at"] > thread.updated_at.isoformat()
    assert row == api.get(threads_url(project, thread)).json()
    (in_list,) = api.get(threads_url(project)).json()["results"]
    assert {name: row[name] for name in in_list} == in_list
    thread.refresh_from_db()
    assert thread.category_taxonomy_version == project.taxonomy.version


def test_none_of_them_is_a_decision_too(api: APIClient, project: Project, thread: Thread, discovery: Category):
    label(thread, discovery, "classifier", 0.9)
    row = api.patch(threads_url(project, thread), {"category": None}).json()
    assert (row["category"], row["category_source"], row["category_confidence"]) == (None, "user", None)


def test_a_decision_replaces_an_earlier_one(
    api: APIClient, project: Project, thread: Thread, discovery: Category, troubleshooting: Category
):
    for category in (discovery, troubleshooting):
        api.patch(threads_url(project, thread), {"category": str(category.pk)})
    assert api.get(threads_url(project, thread)).json()["category"]["title"] == "Troubleshooting"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"category": 5},
        {"category": True},
        {"category": ""},
        {"category": "null"},
        {"category": "nonsense"},
        {"category": ["a"]},
        {"category": {"id": "x"}},
        {"category": None, "title": "more"},
        {"label": None},
        [],
        None,
        "x",
    ],
)
def test_a_body_that_is_no_label_is_refused(api: APIClient, project: Project, thread: Thread, body: Any):
    answer = api.patch(threads_url(project, thread), body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "validation_error"
    thread.refresh_from_db()
    assert thread.category_source is None


@pytest.mark.parametrize("which", ["unknown", "foreign", "deleted", "marked"])
def test_a_category_that_is_not_there_is_not_found(
    api: APIClient, project: Project, thread: Thread, discovery: Category, which: str
):
    foreign = ProjectFactory().categories.first()
    if which == "deleted":
        services.delete_category(project_id=project.pk, category_id=discovery.pk)
    if which == "marked":
        Category.objects.filter(pk=discovery.pk).update(deleted_at=timezone.now())
    ids = {"unknown": uuid.uuid4(), "foreign": foreign.pk}

    answer = api.patch(threads_url(project, thread), {"category": str(ids.get(which, discovery.pk))})

    assert answer.status_code == 404
    assert answer.json() == api.get(threads_url(project, uuid.uuid4())).json()
    thread.refresh_from_db()
    assert thread.category_source is None


def test_forgetting_a_decision_leaves_the_thread_to_the_classifier(
    api: APIClient, project: Project, thread: Thread, discovery: Category
):
    before = api.patch(threads_url(project, thread), {"category": str(discovery.pk)}).json()

    for _ in range(2):
        assert api.delete(f"{threads_url(project, thread)}category/").status_code == 204

    row = api.get(threads_url(project, thread)).json()
    assert (row["category"], row["category_source"], row["category_confidence"]) == (None, None, None)
    assert row["updated_at"] > before["updated_at"]
    thread.refresh_from_db()
    assert thread.classify_after <= timezone.now()
    assert thread.classify_attempts == 0


def test_forgetting_leaves_what_the_classifier_said(
    api: APIClient, project: Project, thread: Thread, discovery: Category
):
    label(thread, discovery, "classifier", 0.5)
    assert api.delete(f"{threads_url(project, thread)}category/").status_code == 204
    assert api.get(threads_url(project, thread)).json()["category_source"] == "classifier"


@pytest.mark.parametrize(("method", "end"), [("patch", ""), ("delete", "category/")])
def test_a_thread_that_the_key_does_not_cover_is_not_found(api: APIClient, project: Project, method: str, end: str):
    foreign = ThreadFactory()
    for url in (
        threads_url(project, uuid.uuid4()),
        threads_url(project, foreign),
        threads_url(foreign.project, foreign),
    ):
        assert getattr(api, method)(f"{url}{end}", {"category": None}).status_code == 404
    foreign.refresh_from_db()
    assert foreign.category_source is None


@pytest.mark.parametrize(("method", "end"), [("patch", ""), ("delete", "category/")])
def test_labelling_asks_for_its_scope(
    client_of: Callable[..., APIClient], project: Project, thread: Thread, method: str, end: str
):
    url = f"{threads_url(project, thread)}{end}"
    refused = getattr(client_of(project, ["chat", "read", "ingest", "manage"]), method)(url, {"category": None})
    assert refused.status_code == 403
    assert getattr(client_of(project, ["label"]), method)(url, {"category": None}).status_code in {200, 204}


def test_reading_threads_asks_for_its_scope(client_of: Callable[..., APIClient], project: Project, thread: Thread):
    for url in (threads_url(project), threads_url(project, thread)):
        assert client_of(project, ["label", "manage"]).get(url).status_code == 403
        assert client_of(project, ["read"]).get(url).status_code == 200


def test_threads_are_filtered_by_their_label(
    api: APIClient, project: Project, discovery: Category, troubleshooting: Category
):
    unlabelled, none_of_them, by_user, by_classifier, other = ThreadFactory.create_batch(5, project=project)
    label(none_of_them, None, "user")
    label(by_user, discovery, "user")
    label(by_classifier, discovery, "classifier", 0.5)
    label(other, troubleshooting, "classifier", 0.5)

    def ids(*threads: Thread) -> set[str]:
        return {str(thread.pk) for thread in threads}

    assert listed(api, project, category=discovery.pk) == ids(by_user, by_classifier)
    assert listed(api, project, category="null") == ids(unlabelled, none_of_them)
    assert listed(api, project, category_source="user") == ids(none_of_them, by_user)
    assert listed(api, project, category_source="classifier") == ids(by_classifier, other)
    assert listed(api, project, category=discovery.pk, category_source="user") == ids(by_user)
    assert listed(api, project, category="null", category_source="user") == ids(none_of_them)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("category", "nonsense"),
        ("category", ""),
        ("category", "None"),
        ("category_source", "nobody"),
        ("category_source", ""),
    ],
)
def test_a_filter_that_is_not_understood_is_refused_by_name(api: APIClient, project: Project, name: str, value: str):
    answer = api.get(threads_url(project), {name: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == name


def test_a_filter_by_a_category_that_is_not_there_is_not_found(api: APIClient, project: Project, discovery: Category):
    foreign = ProjectFactory().categories.first()
    Category.objects.filter(pk=discovery.pk).update(deleted_at=timezone.now())
    for category_id in (uuid.uuid4(), foreign.pk, discovery.pk):
        assert api.get(threads_url(project), {"category": str(category_id)}).status_code == 404


@pytest.mark.parametrize("source", ["user", "classifier"])
def test_a_deleted_category_leaks_nowhere_before_its_threads_are_emptied(
    api: APIClient, project: Project, thread: Thread, discovery: Category, source: str
):
    label(thread, discovery, source, 0.9 if source == "classifier" else None)
    Category.objects.filter(pk=discovery.pk).update(deleted_at=timezone.now())

    rows = [
        api.get(threads_url(project, thread)).json(),
        *api.get(threads_url(project)).json()["results"],
        *api.get(threads_url(project), {"category": "null"}).json()["results"],
    ]

    assert [row["id"] for row in rows] == [str(thread.pk)] * 3
    for row in rows:
        assert (row["category"], row["category_source"], row["category_confidence"]) == (None, None, None)
    assert listed(api, project, category_source=source) == set()
    assert listed(api, project, category="null", category_source=source) == set()


def test_a_list_costs_the_same_number_of_queries_however_long(api: APIClient, project: Project, discovery: Category):
    api.get(threads_url(project))  # notes the key's use, once a minute
    for filters in ({}, {"category": str(discovery.pk)}, {"category": "null"}, {"category_source": "user"}):
        counts = []
        for _ in range(2):
            for thread in ThreadFactory.create_batch(3, project=project):
                label(thread, discovery, "user")
            with CaptureQueriesContext(connection) as queries:
                api.get(threads_url(project), filters)
            counts.append(len(queries))
        assert counts[0] == counts[1] <= 4
