"""What the API is strict about, where Django REST framework would guess."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from teams.models import Project

pytestmark = pytest.mark.django_db

QUESTION = "How do I run the tests?"
DOCUMENT = {"title": "Tests", "content": "Run make test.", "content_type": "text/plain"}


@pytest.mark.parametrize(
    ("path", "body", "attr"),
    [
        ("/query/v1/projects/{id}/chat", {"question": QUESTION, "metadata": {"origin_url": 0}}, "metadata.origin_url"),
        (
            "/query/v1/projects/{id}/chat",
            {"question": QUESTION, "user": {"unique_client_id": 42}},
            "user.unique_client_id",
        ),
        ("/query/v1/projects/{id}/retrieval", {"query": QUESTION, "top_k": "10"}, "top_k"),
        ("/query/v1/projects/{id}/retrieval", {"query": QUESTION, "top_k": True}, "top_k"),
        ("/query/v1/projects/{id}/retrieval", {"query": QUESTION, "top_k": 1.5}, "top_k"),
        ("/query/v1/projects/{id}/categories/preview/", {"categories": [{"title": "A"}], "sample_size": "9"}, None),
        ("/knowledge/v1/projects/{id}/documents/", {**DOCUMENT, "external_id": 7}, "external_id"),
    ],
)
def test_a_value_of_another_type_is_not_taken_for_one_of_the_right_type(
    project: Project, api: APIClient, path: str, body: dict[str, Any], attr: str | None
):
    response = api.post(path.format(id=project.pk), body)
    assert response.status_code == 400
    assert [error["attr"] for error in response.json()["errors"]] == [attr or "sample_size"]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/query/v1/projects/{id}/threads/", "category=null"),
        ("/query/v1/projects/{id}/threads/", "cursor=x"),
        ("/query/v1/projects/{id}/categories/", "page_size=5"),
        ("/knowledge/v1/projects/{id}/documents/", "state=indexed"),
    ],
)
def test_a_parameter_that_is_given_twice_is_refused_by_name(
    project: Project, api: APIClient, path: str, parameter: str
):
    response = api.get(f"{path.format(id=project.pk)}?{parameter}&{parameter}")
    assert response.status_code == 400
    assert [(error["attr"], error["code"]) for error in response.json()["errors"]] == [
        (parameter.partition("=")[0], "repeated")
    ]


def test_a_deletion_with_two_heirs_is_refused(project: Project, api: APIClient):
    first, second = project.categories.all()
    path = f"/query/v1/projects/{project.pk}/categories/{first.pk}/"
    assert api.delete(f"{path}?reassign_to={second.pk}&reassign_to={first.pk}").status_code == 400
    assert api.get(path).status_code == 200


def test_what_else_stands_in_the_query_is_passed_over_even_twice(project: Project, api: APIClient):
    assert api.get(f"/query/v1/projects/{project.pk}/threads/?_=1&_=2").status_code == 200
