"""The audit trail tells who changed what, and nothing that it must not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.contrib.admin.models import LogEntry as DjangosEntry
from django.contrib.contenttypes.models import ContentType
from django.core import serializers
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from rest_framework.test import APIClient

from categorisation import services as labels
from categorisation.models import LabelChange, PreviewThread
from knowledge.models import Document
from query.models import QuestionAnswer, Thread
from teams import audit, services, tasks
from teams.models import Project, ProjectAPIKey, RateBucket, Team, User
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import QuestionAnswerFactory
from tests.factories.teams import TeamFactory, UserFactory

pytestmark = pytest.mark.django_db
TRAIL = "/admin/auditlog/logentry/"


def newest() -> Any:
    return LogEntry.objects.order_by("-timestamp", "-id").first()


def test_a_user_of_the_admin_is_named_with_what_was_and_what_became_and_the_request(
    admin_client: Client, admin_user: User, project: Project
):
    form = {"team": str(project.team_id), "name": "Renamed"}
    answer = admin_client.post(f"/admin/teams/project/{project.pk}/change/", form)
    assert answer.status_code == 302
    entry = newest()
    assert (entry.actor, entry.actor_email, entry.cid) == (admin_user, admin_user.email, answer["X-Request-ID"])
    assert entry.changes == {"name": [project.name, "Renamed"]}
    assert entry.remote_addr is None


def test_a_key_is_named_that_changes_something_through_the_api(api: APIClient, project: Project):
    key = ProjectAPIKey.objects.get(project=project)
    answer = api.post(f"/query/v1/projects/{project.pk}/categories/", {"title": "Legal"})
    assert answer.status_code == 201
    entry = newest()
    assert entry.actor is None
    assert entry.additional_data == {
        "project": str(project.pk),
        "key": str(key.pk),
        "by": f"API key test ({key.shown_part}…)",
    }
    assert entry.changes["title"] == [None, "Legal"]


def test_what_is_changed_on_the_command_line_has_nobodys_name():
    call_command("create_project", "Help desk", "--team", "Acme")
    assert newest().additional_data["by"] == audit.NO_REQUEST
    made = LogEntry.objects.get(object_pk=Project.objects.get(name="Help desk").pk, content_type__model="project")
    assert made.changes == {"name": [None, "Help desk"], "team": [None, "Acme"]}


def test_a_membership_is_recorded(admin_client: Client):
    user, team = UserFactory(), TeamFactory(name="Acme")
    user.teams.add(team)
    assert newest().changes == {"teams": {"type": "m2m", "operation": "add", "objects": ["Acme"]}}
    user.teams.remove(team)
    assert newest().changes["teams"]["operation"] == "remove"
    page = admin_client.get(f"{TRAIL}{newest().pk}/change/").content.decode()
    assert "remove Acme" in page


def test_a_team_that_lets_go_of_its_users_names_these_and_no_others(monkeypatch: pytest.MonkeyPatch):
    team, (member, other) = TeamFactory(), UserFactory.create_batch(2)
    team.users.add(member)
    UserFactory()
    team.users.clear()
    assert newest().changes == {"users": {"type": "m2m", "operation": "remove", "objects": [member.email]}}
    count = LogEntry.objects.count()
    team.users.clear()
    assert LogEntry.objects.count() == count
    monkeypatch.setattr(audit, "MOST_NAMES", 1)
    team.users.add(member, other)
    assert newest().changes["users"]["objects"][1:] == ["and more"]


def everything_recorded() -> str:
    entries = [*LogEntry.objects.all(), *DjangosEntry.objects.all()]
    return serializers.serialize("json", entries, ensure_ascii=False)


def test_no_secret_is_recorded(admin_client: Client, project: Project):
    made = admin_client.post(
        "/admin/teams/projectapikey/add/", {"project": str(project.pk), "name": "widget", "scopes": ["chat"]}
    )
    plain, key = made.context["plain_key"], ProjectAPIKey.objects.get()
    services.revoke_api_key(key.pk)
    user = UserFactory()
    passwords = {"usable_password": "true", "password1": "a-new-long-secret", "password2": "a-new-long-secret"}
    assert admin_client.post(f"/admin/teams/user/{user.pk}/password/", passwords).status_code == 302
    user.refresh_from_db()
    assert user.check_password("a-new-long-secret")
    assert newest().changes == {"password": [audit.NOT_SHOWN, audit.NOT_SHOWN]}

    recorded = everything_recorded()

    assert key.shown_part in recorded
    for secret in (plain, key.key_hash, user.password, "a-new-long-secret", "argon2"):
        assert secret not in recorded


def test_no_text_of_conversations_or_documents_is_recorded(
    admin_client: Client, project: Project, django_capture_on_commit_callbacks: Callable[..., Any]
):
    thread = QuestionAnswerFactory(thread__project=project, thread__first_question="May I tell you a secret").thread
    document = DocumentFactory(project=project, title="A secret title", content="A secret text")
    category = labels.create_category(project_id=project.pk, title="Legal", examples=["What is the secret?"])
    labels.change_category(
        project_id=project.pk, category_id=category.pk, changes={"examples": ["What was the secret?"]}
    )
    assert newest().changes == {"examples": [audit.NOT_SHOWN, audit.NOT_SHOWN]}

    for action in ("decide_on_none", "forget_labels", "try_again"):
        admin_client.post("/admin/query/thread/", {"action": action, "_selected_action": [str(thread.pk)]})
    form = {"action": "index_again", "_selected_action": [str(document.pk)]}
    admin_client.post("/admin/knowledge/document/", form)
    assert newest().changes == {"done": [None, "index again"]}
    admin_client.post(f"/admin/knowledge/document/{document.pk}/delete/", {"post": "yes"})
    assert (newest().changes, newest().object_pk) == ({"done": [None, "delete"]}, str(document.pk))

    assert "secret" not in everything_recorded()
    assert not DjangosEntry.objects.exists()


def test_the_schedules_changes_are_recorded(admin_client: Client):
    from config.beat import find_interval

    row = PeriodicTask.objects.create(name="sweep", task="t", interval=find_interval(timedelta(seconds=30)))
    url = f"/admin/django_celery_beat/periodictask/{row.pk}/change/"
    assert admin_client.post(url, {"every": "10 min", "at": "", "time_zone": ""}).status_code == 302
    assert newest().changes == {"every": ["30 s", "10 min"], "enabled": [True, False]}


def test_who_can_change_something_in_the_admin_leaves_a_trace():
    is_told_elsewhere = {Thread}  # of a conversation only the label is changed, which has a history
    for model, page in admin.site._registry.items():
        superuser: Any = type("Request", (), {"user": User(is_superuser=True, is_active=True)})()
        can_write = any(getattr(page, f"has_{way}_permission")(superuser) for way in ("add", "change", "delete"))
        assert page.is_audited or not can_write or model in is_told_elsewhere, model


def test_deleting_many_rows_does_not_load_them_for_the_trails_sake():
    for model in (Thread, QuestionAnswer, LabelChange, PreviewThread, Document, RateBucket):
        assert not auditlog.contains(model)


def count_queries_of_deleting(user: User) -> int:
    with CaptureQueriesContext(connection) as queries:
        user.delete()
    return len(queries)


def test_a_user_who_did_much_is_deleted_as_quickly_and_remains_named():
    counts, content_type = [], ContentType.objects.get_for_model(User)
    for entries in (1, 40):
        user = UserFactory()
        LogEntry.objects.bulk_create(
            LogEntry(content_type=content_type, object_pk="x", action=1, actor=user, actor_email=user.email)
            for _ in range(entries)
        )
        counts.append(count_queries_of_deleting(user))
        assert LogEntry.objects.filter(actor=None, actor_email=user.email).count() == entries
    assert counts[0] == counts[1]


def test_who_deletes_themselves_is_still_named(admin_client: Client, admin_user: User):
    UserFactory(is_staff=True, is_superuser=True)
    assert admin_client.post(f"/admin/teams/user/{admin_user.pk}/delete/", {"post": "yes"}).status_code == 302
    entry = LogEntry.objects.get(object_pk=str(admin_user.pk), action=LogEntry.Action.DELETE)
    assert (entry.actor, entry.additional_data["by"]) == (None, admin_user.email)


def test_the_trail_is_only_looked_at(admin_client: Client, project: Project):
    entry = newest()
    url = f"{TRAIL}{entry.pk}/change/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {"object_repr": "another"}).status_code == 403
    assert admin_client.post(f"{TRAIL}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{TRAIL}add/").status_code == 403
    form = {"action": "delete_selected", "_selected_action": [str(entry.pk)], "post": "yes"}
    admin_client.post(TRAIL, form)
    assert LogEntry.objects.filter(pk=entry.pk).exists()


def found(client: Client, **query: str) -> set[str]:
    page = client.get(TRAIL, query)
    assert page.status_code == 200
    return {entry.object_repr for entry in page.context["cl"].result_list}


def test_it_is_found_by_who_by_what_by_row_and_by_time(
    admin_client: Client, admin_user: User, project: Project, api: APIClient
):
    LogEntry.objects.all().delete()
    form = {"team": str(project.team_id), "name": "Renamed"}
    answer = admin_client.post(f"/admin/teams/project/{project.pk}/change/", form)
    api.post(f"/query/v1/projects/{project.pk}/categories/", {"title": "Legal"})
    Team.objects.create(name="Acme")
    LogEntry.objects.filter(object_repr="Acme").update(timestamp=timezone.now() - timedelta(days=40))

    assert found(admin_client) == {"Renamed", "Legal", "Acme"}
    assert found(admin_client, actor__id__exact=str(admin_user.pk)) == {"Renamed"}
    assert found(admin_client, by="user") == {"Renamed"}
    assert found(admin_client, by="key") == {"Legal"}
    assert found(admin_client, by="else") == {"Acme"}
    kind = LogEntry.objects.get(object_repr="Legal").content_type_id
    assert found(admin_client, content_type__id__exact=str(kind)) == {"Legal"}
    assert found(admin_client, q=str(project.pk)) == {"Renamed", "Legal"}
    assert found(admin_client, q=answer["X-Request-ID"]) == {"Renamed"}
    assert found(admin_client, q="Acm") == {"Acme"}
    a_week_ago = (timezone.now() - timedelta(days=7)).date()
    assert found(admin_client, timestamp_from=a_week_ago.isoformat()) == {"Renamed", "Legal"}
    assert found(admin_client, timestamp_to=a_week_ago.isoformat()) == {"Acme"}
    history = admin_client.get(f"/admin/teams/project/{project.pk}/history/", follow=True)
    assert {entry.object_repr for entry in history.context["cl"].result_list} == {"Renamed"}


def test_old_entries_are_forgotten(settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "ENTRIES_A_BATCH", 2)
    now, content_type = timezone.now(), ContentType.objects.get_for_model(User)
    LogEntry.objects.all().delete()
    for days in (1, 9, 11, 12, 13, 14):
        timestamp = now - timedelta(days=days)
        LogEntry.objects.create(content_type=content_type, object_pk=str(days), action=1, timestamp=timestamp)
    settings.AUDIT_LOG_DAYS = 0
    tasks.forget_old_audit_entries()
    assert LogEntry.objects.count() == 6
    settings.AUDIT_LOG_DAYS = 10
    tasks.forget_old_audit_entries()
    assert {entry.object_pk for entry in LogEntry.objects.all()} == {"1", "9"}


def test_a_call_that_changes_nothing_recorded_pays_nothing(
    api: APIClient, project: Project, settings: Any, client_of: Callable[..., APIClient]
):
    url = f"/query/v1/projects/{project.pk}/threads/"
    counts = []
    for middleware in (settings.MIDDLEWARE, [name for name in settings.MIDDLEWARE if "AuditTrail" not in name]):
        settings.MIDDLEWARE = middleware
        client = client_of(project)
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(url, HTTP_COOKIE="parley_session=abc")
        assert answer.status_code == 200
        counts.append(len(queries))
        assert not [query for query in queries if "session" in query["sql"] or "auditlog" in query["sql"]]
    assert counts[0] == counts[1]
