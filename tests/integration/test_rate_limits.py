"""A key's limit holds exactly, however many processes and connections its calls come in by."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from teams import rates
from teams.models import Project, ProjectAPIKey, RateBucket
from teams.services import create_api_key
from tests.crash.conftest import logs_of
from tests.crash.service import Service
from tests.factories.teams import ProjectFactory
from tests.plugin import neighbours

LIMIT = 10
CALLS = 200


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    started = Service(neighbours, "memory://", logs=logs_of(request))
    yield started
    started.close()


def key_of(project: Project, calls_per_minute: int | None = LIMIT) -> tuple[ProjectAPIKey, str]:
    return create_api_key(project=project, name="k", scopes=["read"], calls_per_minute=calls_per_minute)


def client_of(plain: str) -> APIClient:
    return APIClient(headers={"X-API-KEY": plain})


@pytest.mark.django_db(transaction=True)
def test_check_22_of_200_calls_at_once_exactly_as_many_pass_as_are_allowed(service: Service):
    project = ProjectFactory()
    _, plain = key_of(project)
    web = service.start_web(environment={"WEB_CONCURRENCY": "2", "WEB_THREADS": "16"})
    url = web.client.base_url.join(f"/query/v1/projects/{project.pk}/threads/")

    def call(_: int) -> httpx.Response:
        return httpx.get(url, headers={"X-API-KEY": plain}, timeout=60)

    begun = time.monotonic()
    with ThreadPoolExecutor(40) as threads:
        responses = list(threads.map(call, range(CALLS)))
    earned = int((time.monotonic() - begun) * LIMIT / 60)  # none, unless the calls took seconds
    statuses = Counter(response.status_code for response in responses)
    assert LIMIT <= statuses[200] <= LIMIT + earned
    assert statuses[429] == CALLS - statuses[200]
    for response in responses:
        assert response.headers["RateLimit-Limit"] == str(LIMIT)
        if response.status_code == 429:
            assert 1 <= int(response.headers["Retry-After"]) <= 60
            assert response.headers["RateLimit-Remaining"] == "0"
            assert response.json()["errors"][0]["code"] == "throttled"
    remaining = sorted(int(r.headers["RateLimit-Remaining"]) for r in responses if r.status_code == 200)
    assert remaining[-LIMIT:] == list(range(LIMIT))


@pytest.mark.django_db
def test_each_key_has_its_own_limit_and_other_keys_are_let_pass(project: Project):
    path = f"/query/v1/projects/{project.pk}/threads/"
    first, second = client_of(key_of(project, 1)[1]), client_of(key_of(project, None)[1])
    assert [first.get(path).status_code for _ in range(3)] == [200, 429, 429]
    assert [second.get(path).status_code for _ in range(3)] == [200, 200, 200]
    assert int(second.get(path)["RateLimit-Limit"]) > 1


@pytest.mark.django_db
def test_what_is_refused_for_other_reasons_counts_too_and_who_has_no_key_is_told_of_none(project: Project):
    _, plain = key_of(project, 1)
    assert client_of(plain).get(f"/query/v1/projects/{project.pk}/threads/", {"page_size": "x"}).status_code == 400
    assert client_of(plain).get(f"/query/v1/projects/{project.pk}/threads/").status_code == 429
    assert "RateLimit-Limit" not in APIClient().get(f"/query/v1/projects/{project.pk}/threads/")


@pytest.mark.django_db
def test_who_guesses_at_ids_or_lacks_a_scope_is_limited_too(project: Project):
    guessing, lacking = client_of(key_of(project, 2)[1]), client_of(key_of(project, 2)[1])
    answers = [guessing.get(f"/query/v1/projects/{uuid4()}/threads/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 429]
    assert [answer["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    path = f"/query/v1/projects/{project.pk}/categories/"
    answers = [lacking.post(path, {"title": "Careers"}, format="json") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [403, 403, 429]


@pytest.mark.django_db(transaction=True)
def test_calls_come_back_one_by_one(project: Project):
    key, _ = key_of(project)
    begun, allowed = time.monotonic(), 0
    while (taken := rates.take_call(key.pk, 60)).is_allowed:  # one comes back each second
        allowed += 1
    assert 60 <= allowed <= 61 + int(time.monotonic() - begun)
    assert taken.retry_after_s == 1
    assert 59 <= taken.reset_s <= 60
    time.sleep(1.1)
    assert rates.take_call(key.pk, 60).is_allowed


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_deleted_while_it_calls_is_counted_like_any_other():
    assert rates.take_call(uuid4(), LIMIT).is_allowed


@pytest.mark.django_db
def test_a_clock_that_is_set_back_shuts_nobody_out(project: Project):
    key, _ = key_of(project)
    rates.take_call(key.pk, LIMIT)
    RateBucket.objects.update(empty_at=timezone.now() + timedelta(hours=1))
    taken = rates.take_call(key.pk, LIMIT)
    assert (taken.is_allowed, taken.remaining) == (True, LIMIT - 1)
