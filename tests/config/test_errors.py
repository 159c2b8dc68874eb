"""One error shape everywhere, and every path with and without its slash."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client, override_settings
from django.test.client import FakePayload
from rest_framework.test import APIClient

from teams.models import Project


def assert_shape(response, status: int) -> None:
    assert response.status_code == status
    body = response.json()
    assert set(body) == {"type", "errors"}
    assert body["errors"]
    assert all(set(error) == {"code", "detail", "attr"} for error in body["errors"])


@pytest.mark.parametrize("path", ["/nowhere", "/query/v1/nowhere/", "/query/v1/projects/x/threads", "/admin-not"])
def test_an_unknown_path_has_the_shape(path: str):
    assert_shape(Client().get(path), 404)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_a_method_that_is_not_served_has_the_shape_on_both_spellings(
    project: Project, api: APIClient, method: str, slash: str
):
    response = getattr(api, method)(f"/query/v1/projects/{project.pk}/threads{slash}")
    if method == "get":
        assert response.status_code == 200
    else:
        assert_shape(response, 405)


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
@pytest.mark.parametrize("call", ["chat", "retrieval"])
def test_a_plain_view_answers_405_too(project: Project, api: APIClient, call: str, method: str):
    assert_shape(getattr(api, method)(f"/query/v1/projects/{project.pk}/{call}"), 405)


def test_a_chunked_body_is_asked_for_with_its_length(project: Project, api: APIClient):
    assert_shape(api.post(f"/query/v1/projects/{project.pk}/chat", HTTP_TRANSFER_ENCODING="chunked"), 411)


@pytest.mark.django_db
def test_the_admins_errors_are_pages():
    response = Client().get("/admin/nowhere/at/all/")
    assert response["Content-Type"].startswith("text/html")


def test_the_descriptions_pages_fetch_nothing_from_elsewhere():
    for path in ("/redoc", "/docs"):
        assert b"https://" not in Client().get(path).content


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_post_reaches_its_view_with_and_without_the_slash(project: Project, api: APIClient, slash: str):
    assert_shape(api.post(f"/query/v1/projects/{project.pk}/chat{slash}", {}), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"NaN",
        b"[" * 100_000,
        b'{"question": "a\\u0000b"}',
        b'{"question": "\\ud800"}',
        b"\xff",
    ],
)
def test_a_body_that_is_not_understood_is_400(project: Project, api: APIClient, body: bytes):
    response = api.post(f"/query/v1/projects/{project.pk}/chat", data=body, content_type="application/json")
    assert_shape(response, 400)


def test_another_media_type_is_415(project: Project, api: APIClient):
    response = api.post(f"/query/v1/projects/{project.pk}/chat", data=b"<a/>", content_type="text/xml")
    assert_shape(response, 415)


@override_settings(MAX_REQUEST_SIZE_BYTES=1000)
def test_a_body_that_is_too_large_is_413_before_it_is_read(project: Project, api: APIClient):
    response = api.post(f"/query/v1/projects/{project.pk}/chat", {"question": "x" * 1000})
    assert_shape(response, 413)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"question": ""},
        {"question": "   \n\t "},
        {"question": "x" * 10_001},
        {"question": ["a"]},
        {"question": {"a": 1}},
        {"question": None},
        {"question": True},
        {"question": 3},
        {"question": "\u200b\ufeff"},
        {"question": "q", "thread_id": "nonsense"},
        {"question": "q", "thread_id": 3},
        {"question": "q", "user": "ada"},
        {"question": "q", "user": {"email": "nobody"}},
        {"question": "q", "user": {"metadata": [1]}},
        {"question": "q", "user": {"metadata": {"a": "x" * 20_000}}},
        {"question": "q", "metadata": {"origin_url": "x" * 2001}},
        {"query": " "},
    ],
)
def test_a_question_that_is_none_is_400(project: Project, api: APIClient, body: dict):
    assert_shape(api.post(f"/query/v1/projects/{project.pk}/chat", body), 400)


@pytest.mark.django_db
def test_health_is_public_and_readiness_tells_of_the_neighbours():
    assert Client().get("/healthz").json() == {"status": "ok"}
    ready = Client().get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["database"] == "ok"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/schema", "/redoc", "/docs", "/admin/login/", "/healthz/", "/schema/"])
def test_the_operators_pages_answer(path: str):
    assert Client().get(path).status_code == 200


def test_scopes_are_declared_for_every_action_of_every_view(client_of: Callable[..., APIClient], project: Project):
    from django.urls import get_resolver

    from teams.models import Scope

    views = [
        pattern.callback
        for included in get_resolver().url_patterns
        for pattern in getattr(included, "url_patterns", [])
        if str(included.pattern).startswith(("query", "knowledge"))
    ]
    assert views
    for view in views:
        served = getattr(view, "actions", None)
        names = (
            served.values() if served else [m for m in view.view_class.http_method_names if hasattr(view.view_class, m)]
        )
        declared = getattr(view, "cls", getattr(view, "view_class", None)).scopes
        for name in names:
            if name not in ("options", "head"):
                assert declared[name] in Scope.values, (view, name)


def test_a_body_that_does_not_come_in_time_is_408(project: Project, api: APIClient, monkeypatch: pytest.MonkeyPatch):
    def stall(self: FakePayload, *size: int) -> bytes:
        raise TimeoutError("The request did not come in time.")

    monkeypatch.setattr(FakePayload, "read", stall)
    assert_shape(api.post(f"/query/v1/projects/{project.pk}/chat", {"question": "x"}), 408)
