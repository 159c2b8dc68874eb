"""Teams, users, projects and keys in the admin, and what its pages have in common."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.contrib.staticfiles import finders
from django.core import serializers
from django.db import connection
from django.db.models import CASCADE, Model
from django.test import Client
from django.utils import timezone

from query.models import Thread
from teams import services
from teams.admin import base
from teams.models import Project, ProjectAPIKey
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory, UserFactory

pytestmark = pytest.mark.django_db
KEYS = "/admin/teams/projectapikey/"
THREADS = "/admin/query/thread/"


def staff_who_may(*codenames: str, **fields: Any) -> Client:
    user = UserFactory(is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def make_key(client: Client, project: Project, **fields: Any) -> Any:
    form = {"project": str(project.pk), "name": "widget", "scopes": ["chat", "read"], **fields}
    return client.post(f"{KEYS}add/", form)


def test_a_key_is_shown_once_and_lies_nowhere_afterwards(admin_client: Client, project: Project):
    page = make_key(admin_client, project)
    key = ProjectAPIKey.objects.get()
    plain = re.search(r"parley_[0-9A-Za-z]{20,}", page.content.decode())[0]
    assert services.keys.hash_key(plain) == key.key_hash
    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]

    assert plain not in str(admin_client.cookies)
    assert plain not in "".join(str(session.get_decoded()) for session in Session.objects.all())
    for url in (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/", f"{KEYS}{key.pk}/delete/", "/admin/"):
        shown = admin_client.get(url, follow=True).content.decode()
        assert plain not in shown
        assert key.key_hash not in shown
    assert plain not in serializers.serialize("json", ProjectAPIKey.objects.all())


def test_a_key_without_a_scope_or_with_a_past_end_is_refused(admin_client: Client, project: Project):
    assert b"This field is required" in make_key(admin_client, project, scopes=[]).content
    past = {"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}
    assert b"This lies in the past" in make_key(admin_client, project, **past).content
    assert not ProjectAPIKey.objects.exists()


def names_in(client: Client, url: str, **query: str) -> set[str]:
    return {row.name for row in client.get(url, query).context["cl"].result_list}


def test_keys_are_found_by_whether_they_open_anything(admin_client: Client, project: Project):
    for name in ("usable", "expired", "revoked"):
        services.create_api_key(project=project, name=name, scopes=["read"])
    ago = timezone.now() - timedelta(hours=1)
    ProjectAPIKey.objects.filter(name="expired").update(expires_at=ago)
    ProjectAPIKey.objects.filter(name="revoked").update(revoked_at=ago)
    for name in ("usable", "expired", "revoked"):
        assert names_in(admin_client, KEYS, usable=name) == {name}


def test_a_key_is_revoked_from_the_list_and_from_its_page(admin_client: Client, project: Project):
    one, two = (services.create_api_key(project=project, name="k", scopes=["read"])[0] for _ in range(2))
    form = {"action": "revoke", "_selected_action": [str(one.pk)]}
    assert admin_client.post(KEYS, form)["Location"] == KEYS
    url = f"{KEYS}{two.pk}/change/"
    page = admin_client.get(url).content.decode()
    assert re.search(r'<button[^>]*name="action"[^>]*value="revoke"', page)
    form = {"action": "revoke", "_selected_action": [str(two.pk)], "_back_to_row": str(two.pk)}
    assert admin_client.post(KEYS, form)["Location"] == url
    assert not ProjectAPIKey.objects.filter(revoked_at=None).exists()


def test_who_may_only_look_at_keys_can_neither_revoke_nor_make_one(project: Project):
    looker = staff_who_may("view_projectapikey")
    key, _ = services.create_api_key(project=project, name="k", scopes=["read"])
    assert looker.get(KEYS).status_code == 200
    looker.post(KEYS, {"action": "revoke", "_selected_action": [str(key.pk)]})
    assert make_key(looker, project).status_code == 403
    assert ProjectAPIKey.objects.get().revoked_at is None


def test_a_project_leads_to_all_that_is_its_own(admin_client: Client, project: Project):
    other = ProjectFactory()
    for each in (project, other):
        ThreadFactory(project=each)
        DocumentFactory(project=each)
        services.create_api_key(project=each, name="k", scopes=["read"])
    links = admin_client.get(f"/admin/teams/project/{project.pk}/change/").context["links"]
    titles = {title for title, _ in links}
    assert titles >= {"Categories", "Documents", "Libraries", "Project API keys", "Runs", "Taxonomies", "Threads"}
    for _, url in links:
        rows = admin_client.get(url).context["cl"].result_list
        assert {row.project_id for row in rows} <= {project.pk}
    looker = staff_who_may("view_project", "view_thread")
    links = looker.get(f"/admin/teams/project/{project.pk}/change/").context["links"]
    assert [title for title, _ in links] == ["Threads"]


def test_the_admin_is_for_operators_of_the_installation_whatever_their_teams(project: Project):
    """Its permissions are Django's: they tell kinds of rows apart, not teams."""
    thread = ThreadFactory(project=project)
    member = UserFactory()
    member.teams.add(project.team)
    outside = Client()
    outside.force_login(member)
    assert outside.get(THREADS).status_code == 302  # to the login

    nobody = staff_who_may()
    assert nobody.get("/admin/").context["sidebar_navigation"][0]["items"] == []
    for url in (THREADS, f"{THREADS}{thread.pk}/change/", "/admin/auditlog/logentry/", "/admin/teams/user/"):
        assert nobody.get(url).status_code == 403

    looker = staff_who_may("view_thread")
    assert looker.get(THREADS).context["cl"].result_count == 1
    assert looker.get("/admin/knowledge/document/").status_code == 403


def test_the_sidebar_shows_what_may_be_looked_at(settings: Any):
    def titles(client: Client) -> list[str]:
        sections = client.get("/admin/").context["sidebar_navigation"]
        return [item["title"] for section in sections for item in section["items"]]

    assert titles(staff_who_may("view_thread", "view_run")) == ["Threads", "Runs"]
    settings.FLOWER_URL = "https://flower.example.com"
    page = staff_who_may("view_run").get("/admin/").content.decode()
    assert 'href="https://flower.example.com"' in page


def kinds_gone_with(model: type[Model]) -> set[type[Model]]:
    """What the database's rows of that kind take along."""
    found: set[type[Model]] = set()
    to_look_at = [model]
    while to_look_at:
        for relation in to_look_at.pop()._meta.related_objects:
            if relation.on_delete is CASCADE and relation.related_model not in found:
                found.add(relation.related_model)
                to_look_at.append(relation.related_model)
    return found


def test_nothing_that_may_be_deleted_is_held_by_rows_that_nobody_may_delete():
    """Django's pages ask for the permission to delete each row that goes as well."""
    superuser: Any = type("Request", (), {"user": UserFactory(is_superuser=True)})()
    for model, page in admin.site._registry.items():
        asks = type(page).get_deleted_objects is admin.ModelAdmin.get_deleted_objects
        if asks and page.has_delete_permission(superuser):
            pages = (admin.site._registry.get(kind) for kind in kinds_gone_with(model))
            assert all(each.has_delete_permission(superuser) for each in pages if each is not None), model


def test_too_many_rows_are_not_gone_through_in_one_request(
    admin_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(base.OperatorAdmin, "most_selected", 2)
    threads = ThreadFactory.create_batch(3, project=project)
    Thread.objects.update(classify_attempts=5)
    everywhere = {"_selected_action": [str(threads[0].pk)], "select_across": "1"}
    page = admin_client.post(THREADS, {"action": "decide_on_none", **everywhere}, follow=True)
    assert b"too much at once" in page.content
    assert not Thread.objects.filter(category_source="user").exists()
    admin_client.post(THREADS, {"action": "try_again", **everywhere})
    assert not Thread.objects.exclude(classify_attempts=0).exists()


def test_a_list_counts_so_far_and_no_farther(admin_client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "COUNTED_ROWS", 3)
    monkeypatch.setattr(base.BoundedPaginator, "counted_rows", 3)
    ThreadFactory.create_batch(3)
    assert b"3 threads" in admin_client.get(THREADS).content
    ThreadFactory.create_batch(3)
    page = admin_client.get(THREADS).content
    assert b"more than 3 threads" in page
    assert b"filter or search" in page


def test_an_index_has_the_threads_of_all_projects_in_order_and_tempts_no_list_of_one(
    admin_client: Client, project: Project
):
    for query, index in (
        ({}, "thread_newest_of_all"),
        ({"project__id__exact": str(project.pk)}, "thread_newest_first"),
    ):
        threads = admin_client.get(THREADS, query).context["cl"].queryset
        with connection.cursor() as cursor:
            for way in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
        plan = threads[:50].explain()
        assert index in plan, plan
        assert "Sort" not in plan, plan


@pytest.mark.parametrize("page", ["2", "99", "²", "9" * 400])
def test_the_exchanges_of_a_long_conversation_come_in_pages(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, page: str
):
    thread = QuestionAnswerFactory().thread
    QuestionAnswerFactory.create_batch(2, thread=thread)
    pages = admin.site._registry[Thread]
    short = [type(inline.__name__, (inline,), {"per_page": 2}) for inline in pages.inlines]
    monkeypatch.setattr(pages, "inlines", short)
    shown = admin_client.get(f"{THREADS}{thread.pk}/change/", {"question_answers-page": page})
    formset = shown.context["inline_admin_formsets"][0].formset
    assert len(formset.forms) == (1 if page == "2" else 2)


@pytest.mark.parametrize("query", [{}, {"s": "thr"}, {"s": "thr", "page": "x"}, {"s": "thr", "page": "99"}])
def test_the_sites_own_search_stands_anything(admin_client: Client, query: dict[str, str]):
    assert admin_client.get("/admin/search/", query).status_code == 200


def test_the_admins_scripts_evaluate_nothing():
    """Alpine.js is served in its build for strict pages, in the place of unfold's own."""
    text = Path(finders.find("unfold/js/alpine/alpine.js")).read_text()
    assert "is prohibited in the CSP build" in text
    assert "AsyncFunction" not in text
    assert "new Function" not in text
