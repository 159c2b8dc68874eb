"""Who may call: 401 without a usable key, 404 for another project, 403 without the scope."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from teams import keys, services
from teams.models import Project, ProjectAPIKey, Scope
from tests.factories.teams import ProjectFactory

ClientOf = Callable[..., APIClient]


def threads_of(project_id: object) -> str:
    return f"/query/v1/projects/{project_id}/threads/"


def make_key(project: Project, **options: object) -> tuple[ProjectAPIKey, str]:
    return services.create_api_key(project=project, name="k", scopes=["read"], **options)  # type: ignore[arg-type]


def get(project: Project, plain: str | None) -> object:
    headers = {} if plain is None else {"X-API-KEY": plain}
    return APIClient(headers=headers).get(threads_of(project.pk))


def assert_unauthorised(response) -> None:
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("ApiKey")
    assert response.json()["type"] == "client_error"
    assert response.json()["errors"][0]["code"] in ("authentication_failed", "not_authenticated")


def test_a_key_opens_its_project(project: Project):
    _, plain = make_key(project)
    assert get(project, plain).status_code == 200


@pytest.mark.parametrize(
    "plain", [None, "", "nonsense", "parley_" + "0" * 49, pytest.param(keys.generate_key(), id="an unknown key")]
)
def test_a_missing_malformed_or_unknown_key_is_401(project: Project, plain: str | None):
    assert_unauthorised(get(project, plain))


def test_an_expired_key_is_401(project: Project):
    _, plain = make_key(project, expires_at=timezone.now() - timedelta(seconds=1))
    assert_unauthorised(get(project, plain))


def test_a_revoked_key_is_401_at_once_and_another_key_goes_on(project: Project):
    (old, old_plain), (_, new_plain) = make_key(project), make_key(project)
    assert get(project, old_plain).status_code == 200
    assert services.revoke_api_key(old.pk)
    assert_unauthorised(get(project, old_plain))
    assert get(project, new_plain).status_code == 200


def test_revoking_twice_keeps_the_first_time(project: Project):
    key, _ = make_key(project)
    assert services.revoke_api_key(key.pk)
    assert not services.revoke_api_key(key.pk)


def test_a_foreign_project_and_one_that_does_not_exist_answer_alike(project: Project, client_of: ClientOf):
    client = client_of(project)
    foreign = client.get(threads_of(ProjectFactory().pk))
    missing = client.get(threads_of(uuid.uuid4()))
    no_uuid = client.get(threads_of("nonsense"))
    assert foreign.status_code == missing.status_code == no_uuid.status_code == 404
    assert foreign.json() == missing.json() == no_uuid.json()


@pytest.mark.parametrize("scope", [scope for scope in Scope.values if scope != "read"])
def test_a_key_without_the_scope_is_403(project: Project, client_of: ClientOf, scope: str):
    response = client_of(project, [scope]).get(threads_of(project.pk))
    assert response.status_code == 403
    assert response.json()["errors"][0]["code"] == "permission_denied"


def test_a_foreign_project_is_404_whatever_the_scope(project: Project, client_of: ClientOf):
    assert client_of(project, ["chat"]).get(threads_of(ProjectFactory().pk)).status_code == 404


def test_authentication_costs_one_query_and_notes_the_use_once_a_minute(project: Project):
    key, plain = make_key(project)
    get(project, plain)
    key.refresh_from_db()
    first_use = key.last_used_at
    assert first_use is not None
    with CaptureQueriesContext(connection) as queries:
        get(project, plain)
    assert sum("teams_projectapikey" in query["sql"] for query in queries) == 1
    key.refresh_from_db()
    assert key.last_used_at == first_use


def test_a_use_after_a_minute_is_noted(project: Project):
    key, plain = make_key(project)
    long_ago = timezone.now() - timedelta(minutes=2)
    ProjectAPIKey.objects.filter(pk=key.pk).update(last_used_at=long_ago)
    get(project, plain)
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at > long_ago


def test_check_21_the_database_holds_no_usable_key(project: Project):
    key, plain = make_key(project)
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text FROM teams_projectapikey k WHERE id = %s", [key.pk])
        (row,) = cursor.fetchone()
    assert plain not in row
    assert plain[len(keys.PREFIX) + 6 :] not in row
