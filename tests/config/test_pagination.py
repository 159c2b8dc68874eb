"""Keyset pages, against the naive twin: the whole list, cut."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from config.pagination import Cursor
from query.models import Thread
from teams.models import Project
from tests.factories.query import ThreadFactory

# a moment that PostgreSQL cannot hold, in the cursor's own form
FAR_OFF = base64.urlsafe_b64encode(b'["0001-01-01T00:00:00+23:59", "%s", false]' % str(UUID(int=0)).encode()).decode()
START = datetime(2030, 1, 1, tzinfo=UTC)


def make_threads(project: Project, moments: list[int]) -> list[str]:
    """Threads at these seconds; returns their ids as the list must show them."""
    for second in moments:
        ThreadFactory(project=project, created_at=START + timedelta(seconds=second))
    return [str(pk) for pk in Thread.objects.order_by("-created_at", "-id").values_list("pk", flat=True)]


def ids(page: dict) -> list[str]:
    return [row["id"] for row in page["results"]]


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8, 500])
def test_pages_forth_and_back_are_the_list_cut(project: Project, api: APIClient, page_size: int):
    expected = make_threads(project, [1, 5, 5, 5, 2, 9, 5])
    page = api.get(f"/query/v1/projects/{project.pk}/threads/?page_size={page_size}").json()
    assert page["previous"] is None
    pages = [page]
    while page["next"]:
        assert page["next_cursor"] in page["next"]
        page = api.get(page["next"]).json()
        pages.append(page)
    assert [row for page in pages for row in ids(page)] == expected
    assert page["next_cursor"] is None
    back = [page]
    while page["previous"]:
        page = api.get(page["previous"]).json()
        back.append(page)
    assert [ids(page) for page in reversed(back)] == [ids(page) for page in pages]


def test_paging_under_inserts_repeats_and_skips_nothing(project: Project, api: APIClient):
    expected = make_threads(project, list(range(10)))
    page = api.get(f"/query/v1/projects/{project.pk}/threads/?page_size=3").json()
    seen = ids(page)
    while page["next"]:
        ThreadFactory(project=project, created_at=START + timedelta(seconds=100))
        page = api.get(page["next"]).json()
        seen += ids(page)
    assert seen == expected


@pytest.mark.parametrize("value", ["0", "-3", "501", "ten", "", "1e2", "٣"])
def test_a_page_size_that_is_none_is_400_and_named(project: Project, api: APIClient, value: str):
    response = api.get(f"/query/v1/projects/{project.pk}/threads/", {"page_size": value})
    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "page_size"


@pytest.mark.parametrize("value", ["x", "W10", "bnVsbA", "WyIyMDMwIiwgMSwgMl0", "ü", "a" * 3000, FAR_OFF])
def test_a_cursor_that_no_list_gave_is_400_and_named(project: Project, api: APIClient, value: str):
    response = api.get(f"/query/v1/projects/{project.pk}/threads/", {"cursor": value})
    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "cursor"


@given(st.text(max_size=80))
def test_any_text_is_a_cursor_or_a_value_error(text: str):
    try:
        cursor = Cursor.decode(text)
    except ValueError:
        return
    assert Cursor.decode(cursor.encode()) == cursor
