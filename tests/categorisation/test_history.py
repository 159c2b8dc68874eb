from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from categorisation import services
from categorisation.models import Category, LabelChange
from categorisation.services import Actor
from query.models import Thread
from teams.models import Project, ProjectAPIKey
from tests.factories.query import QuestionAnswerFactory
from tests.factories.teams import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def thread(project: Project) -> Thread:
    return QuestionAnswerFactory(thread__project=project).thread


def url_of(thread: Thread) -> str:
    return f"/query/v1/projects/{thread.project_id}/threads/{thread.pk}/"


def history_of(thread: Thread) -> list[tuple[str | None, str | None, str | None, str | None]]:
    changes = LabelChange.objects.filter(thread=thread).select_related("from_category", "to_category").order_by("id")
    return [
        (
            change.from_category.title if change.from_category else None,
            change.from_source,
            change.to_category.title if change.to_category else None,
            change.to_source,
        )
        for change in changes
    ]


def test_every_decision_is_recorded_with_what_stood_there(
    api: APIClient, project: Project, thread: Thread, discovery: Category, troubleshooting: Category
):
    for category in (discovery, troubleshooting, None):
        assert api.patch(url_of(thread), {"category": str(category.pk) if category else None}).status_code == 200
    assert api.delete(f"{url_of(thread)}category/").status_code == 204

    assert history_of(thread) == [
        (None, None, "Discovery", "user"),
        ("Discovery", "user", "Troubleshooting", "user"),
        ("Troubleshooting", "user", None, "user"),
        (None, "user", None, None),
    ]
    key = ProjectAPIKey.objects.get(project=project)
    assert {(change.actor_kind, change.actor) for change in LabelChange.objects.all()} == {
        ("key", f"test ({key.shown_part}…)")
    }


def test_confirming_what_the_classifier_said_is_a_decision_too(
    api: APIClient, project: Project, thread: Thread, discovery: Category
):
    Thread.objects.filter(pk=thread.pk).update(
        category=discovery, category_source="classifier", category_confidence=0.5, categorised_at=thread.created_at
    )
    for _ in range(2):
        api.patch(url_of(thread), {"category": str(discovery.pk)})
    assert history_of(thread) == [
        ("Discovery", "classifier", "Discovery", "user"),
        ("Discovery", "user", "Discovery", "user"),
    ]


def test_what_changes_nothing_is_not_recorded(api: APIClient, project: Project, thread: Thread, discovery: Category):
    Thread.objects.filter(pk=thread.pk).update(
        category=discovery, category_source="classifier", category_confidence=0.5, categorised_at=thread.created_at
    )
    assert api.delete(f"{url_of(thread)}category/").status_code == 204
    assert api.patch(url_of(thread), {"category": str(project.pk)}).status_code == 404
    assert history_of(thread) == []


def test_who_it_was_is_kept_when_the_key_is_gone_and_however_long_its_name(
    project: Project, thread: Thread, discovery: Category
):
    key = ProjectAPIKey(project=project, name="n" * 200, shown_part="parley_abcdef")
    user = UserFactory(email="ada@example.com")
    for actor in (Actor.of_key(key), Actor.of_user(user)):
        services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk, actor=actor)
    user.delete()
    by_key, by_user = LabelChange.objects.filter(thread=thread).order_by("id")
    assert by_key.actor.endswith(" (parley_abcdef…)")
    assert (by_user.actor_kind, by_user.actor) == ("user", "ada@example.com")


def test_the_history_goes_with_its_thread(project: Project, thread: Thread, discovery: Category):
    services.assign_label(project_id=project.pk, thread_id=thread.pk, category_id=discovery.pk)
    thread.delete()
    assert not LabelChange.objects.exists()
