"""The list of threads with its filters, and the detail."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.renderers import JSONRenderer
from rest_framework.test import APIClient

from query.models import Thread
from query.serializers import ThreadRow
from teams.models import Project
from tests.factories.query import QuestionAnswerFactory, ThreadFactory

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def questions(api: APIClient, project: Project, **filters: str) -> list[str]:
    response = api.get(f"/query/v1/projects/{project.pk}/threads/", filters)
    assert response.status_code == 200, response.json()
    return [row["first_question"] for row in response.json()["results"]]


def test_a_row_is_as_the_contract_has_it(project: Project, api: APIClient):
    thread = ThreadFactory(project=project, first_question="Why?")
    (row,) = api.get(f"/query/v1/projects/{project.pk}/threads/").json()["results"]
    assert row.pop("created_at").endswith("Z")
    assert row.pop("updated_at")
    assert row.pop("last_activity_at")
    assert row == {
        "id": str(thread.pk),
        "project": str(project.pk),
        "first_question": "Why?",
        "total_questions": 1,
        "is_uncertain": False,
        "category": None,
        "category_source": None,
        "category_confidence": None,
    }


def test_a_row_is_what_its_fields_one_by_one_would_give(project: Project, api: APIClient):
    gone, replaced, live = (project.categories.create(title=title) for title in ("Gone", "Replaced", "Live"))
    project.categories.filter(pk=gone.pk).update(deleted_at=NOON)
    project.categories.filter(pk=replaced.pk).update(deleted_at=NOON, reassigned_to=live)
    for category in (gone, replaced, live):
        label = {"category": category, "categorised_at": NOON}
        ThreadFactory(project=project, category_source="user", **label)
        ThreadFactory(project=project, category_source="classifier", category_confidence=0.25, **label)
    ThreadFactory(project=project, category_source="user", categorised_at=NOON)
    ThreadFactory(project=project)
    rows = api.get(f"/query/v1/projects/{project.pk}/threads/").json()["results"]
    assert len({(row["category_source"], str(row["category"])) for row in rows}) == 4
    fields = super(ThreadRow, ThreadRow())  # the way of every other serializer
    in_order = Thread.objects.order_by("-created_at", "-id")
    assert rows == json.loads(JSONRenderer().render([fields.to_representation(thread) for thread in in_order]))


def test_newest_come_first_and_only_the_projects_own(project: Project, api: APIClient):
    for hour, name in ((1, "second"), (2, "first"), (0, "third")):
        ThreadFactory(project=project, first_question=name, created_at=NOON + timedelta(hours=hour))
    ThreadFactory(first_question="another team's")
    assert questions(api, project) == ["first", "second", "third"]


def test_times_filter_from_and_until(project: Project, api: APIClient):
    for hour in range(4):
        moment = NOON + timedelta(hours=hour)
        ThreadFactory(project=project, first_question=str(hour), created_at=moment, updated_at=moment)
    assert questions(api, project, created_after="2030-01-01T14:00:00Z") == ["3", "2"]
    assert questions(api, project, created_before="2030-01-01T14:00:00Z") == ["1", "0"]
    assert questions(api, project, updated_since="2030-01-01T16:00:00+01:00") == ["3"]
    between = {"created_after": "2030-01-01T13:00:00Z", "created_before": "2030-01-01T15:00:00Z"}
    assert questions(api, project, **between) == ["2", "1"]


@pytest.mark.parametrize(("value", "expected"), [("true", ["unsure"]), ("false", ["sure"])])
def test_is_uncertain_filters(project: Project, api: APIClient, value: str, expected: list[str]):
    ThreadFactory(project=project, first_question="sure")
    ThreadFactory(project=project, first_question="unsure", is_uncertain=True)
    assert questions(api, project, is_uncertain=value) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("backoff", {"How do I set Backoff?", "backoff, then what"}),
        ("BACKOFF set", {"How do I set Backoff?"}),
        ("back", set()),
        ("!!! ???", set()),
        ("zürich", {"Wo ist Zürich"}),
        ("'; drop table --", set()),
    ],
)
def test_search_finds_the_words_of_the_first_question(project: Project, api: APIClient, words: str, expected: set[str]):
    for question in ("How do I set Backoff?", "backoff, then what", "Wo ist Zürich"):
        ThreadFactory(project=project, first_question=question)
    assert set(questions(api, project, search=words)) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created_after", "yesterday"),
        ("created_before", ""),
        ("updated_since", "2030-13-01"),
        ("created_after", "0001-01-01T00:00:00+14:00"),
        ("is_uncertain", "perhaps"),
        ("search", ""),
        ("search", "x" * 501),
        ("search", "a\x00b"),
        ("category", "nonsense"),
        ("category", ""),
        ("category_source", "robot"),
    ],
)
def test_a_filter_that_is_not_understood_is_400_and_named(project: Project, api: APIClient, name: str, value: str):
    response = api.get(f"/query/v1/projects/{project.pk}/threads/", {name: value})
    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == name


def test_the_detail_shows_the_exchanges_oldest_first(project: Project, api: APIClient):
    thread = ThreadFactory(project=project)
    for hour in (2, 1):
        QuestionAnswerFactory(thread=thread, question=f"at {hour}", created_at=NOON + timedelta(hours=hour))
    detail = api.get(f"/query/v1/projects/{project.pk}/threads/{thread.pk}/").json()
    assert [exchange["question"] for exchange in detail["question_answers"]] == ["at 1", "at 2"]
    assert set(detail["question_answers"][0]) == {
        "id",
        "question",
        "answer",
        "is_uncertain",
        "relevant_sources",
        "feedback",
        "created_at",
    }
    assert detail["question_answers"][0]["feedback"] == []


def test_a_foreign_thread_is_404(project: Project, api: APIClient):
    assert api.get(f"/query/v1/projects/{project.pk}/threads/{ThreadFactory().pk}/").status_code == 404


def test_a_page_costs_the_same_number_of_queries_whatever_its_length(project: Project, api: APIClient):
    def queries(page_size: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            api.get(f"/query/v1/projects/{project.pk}/threads/", {"page_size": page_size})
        return len(captured)

    categories = list(project.categories.all())
    for number in range(12):
        label = {"category": categories[number % 2], "category_source": "user", "categorised_at": NOON}
        ThreadFactory(project=project, **label)
    queries(1)
    assert queries(1) == queries(12) == 3  # the key, its calls, the threads
