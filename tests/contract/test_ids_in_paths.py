"""Ids in paths: in either case, and 404 for what is none."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, get_resolver
from django.urls.converters import UUIDConverter
from rest_framework.test import APIClient

from teams.models import Project
from teams.paths import IdConverter
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import ThreadFactory


def list_patterns(resolver: Any) -> Iterator[URLPattern]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            yield pattern
        elif pattern.app_name != "admin":
            yield from list_patterns(pattern)


def test_every_id_in_a_path_is_read_in_the_same_way():
    converters = [each for pattern in list_patterns(get_resolver()) for each in pattern.pattern.converters.values()]
    ids = [each for each in converters if isinstance(each, UUIDConverter)]
    assert len(ids) > 10
    assert {type(each) for each in ids} == {IdConverter}


def test_an_id_in_upper_case_is_the_same_id(project: Project, api: APIClient):
    thread, document = ThreadFactory(project=project), DocumentFactory(project=project)
    category = project.categories.first()
    upper = str(project.pk).upper()
    for path, pk in {
        f"/query/v1/projects/{upper}/threads/{str(thread.pk).upper()}/": thread.pk,
        f"/query/v1/projects/{upper}/categories/{str(category.pk).upper()}": category.pk,
        f"/knowledge/v1/projects/{upper}/documents/{str(document.pk).upper()}/": document.pk,
    }.items():
        answer = api.get(path)
        assert answer.status_code == 200
        assert answer.json()["id"] == str(pk)
    assert api.post(f"/query/v1/threads/{str(thread.pk).upper()}/chat", {"question": ""}).status_code == 400


@pytest.mark.parametrize("wrong", ["nonsense", "{hex}", "{id}0", "x{id}", "{{{id}}}", "urn:uuid:{id}"])
def test_what_is_no_id_is_404(project: Project, api: APIClient, wrong: str):
    text = wrong.format(hex=project.pk.hex, id=project.pk)
    assert api.get(f"/query/v1/projects/{text}/threads/").status_code == 404


def test_an_unknown_project_is_404_in_either_case(project: Project, api: APIClient):
    unknown = str(uuid.uuid4())
    answers = [api.get(f"/query/v1/projects/{each}/threads/") for each in (unknown, unknown.upper())]
    assert [answer.status_code for answer in answers] == [404, 404]
