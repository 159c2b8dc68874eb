"""Erasing in the admin: counted first, then confirmed, and carried out by workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.test import Client

from query import erasing, tasks
from query.criteria import Criterion
from query.models import Erasure, Thread
from teams.models import Project
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.factories.teams import ProjectFactory
from tests.query.test_erasing import MARK, all_rows

pytestmark = pytest.mark.django_db
ADD = "/admin/query/erasure/add/"


def fill(**fields: Any) -> dict[str, Any]:
    return {"idle_since_0": "", "idle_since_1": "", **fields}


def errors_of(page: Any) -> str:
    assert page.status_code == 200
    return str(page.context["adminform"].form.errors)


def test_they_are_counted_before_they_are_erased(admin_client: Client, project: Project):
    ThreadFactory.create_batch(2, project=project)
    ThreadFactory()
    page = admin_client.post(ADD, fill(project=str(project.pk)))
    assert "2 conversations meet this." in errors_of(page)
    assert not Erasure.objects.exists()


def test_confirmed_they_are_erased_by_a_worker_in_the_name_of_who_asked(admin_client: Client, project: Project):
    ThreadFactory(project=project, user_email="Ada@example.com")
    ThreadFactory(project=project)
    form = fill(user_email="ada@example.com ", is_confirmed="on")
    assert admin_client.post(ADD, form).status_code == 302
    erasure = Erasure.objects.get()
    assert (erasure.state, erasure.asked_by) == ("open", "admin@example.com")
    tasks.erase_conversations()
    assert Thread.objects.get().user_email == ""
    page = admin_client.get(f"/admin/query/erasure/{erasure.pk}/change/").content.decode()
    assert "1 of 1" in page
    assert "ada@example.com" not in page.lower()


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({}, "Say which conversations"),
        ({"every_one": "on", "user_email": "a@example.com"}, "Say which conversations"),
        ({"user_email": "   "}, "Say which conversations"),
        ({"idle_since_0": "2999-01-01", "idle_since_1": "00:00"}, "lies in the future"),
        ({"idle_since_0": "soon"}, "Enter a valid date"),
        ({"project": "nonsense"}, "is not a valid UUID"),
        ({"user_email": "a\0b"}, "Null characters"),
    ],
)
def test_what_is_not_understood_is_refused(admin_client: Client, project: Project, form: Any, reason: str):
    ThreadFactory(project=project)
    assert reason in errors_of(admin_client.post(ADD, fill(is_confirmed="on", **form)))
    assert not Erasure.objects.exists()


def test_all_conversations_have_to_be_ticked(admin_client: Client, project: Project):
    ThreadFactory(project=project)
    assert "1 conversations" in errors_of(admin_client.post(ADD, fill(every_one="on")))
    assert admin_client.post(ADD, fill(every_one="on", is_confirmed="on")).status_code == 302
    tasks.erase_conversations()
    assert not Thread.objects.exists()


def test_by_age(admin_client: Client, project: Project):
    young = ThreadFactory(project=project)
    long_ago = datetime.now(UTC) - timedelta(days=9)
    ThreadFactory(project=project, created_at=long_ago, last_activity_at=long_ago)
    day = (long_ago + timedelta(days=1)).date().isoformat()
    admin_client.post(ADD, fill(idle_since_0=day, idle_since_1="00:00", is_confirmed="on"))
    tasks.erase_conversations()
    assert Thread.objects.get() == young


def test_one_that_is_open_can_be_cancelled_and_no_record_changed_or_deleted(admin_client: Client, project: Project):
    ThreadFactory(project=project)
    erasure = erasing.begin(Criterion(project.pk), asked_by="ada@example.com", announce=False)
    chosen = {"action": "cancel", "_selected_action": [str(erasure.pk)]}
    page = admin_client.post("/admin/query/erasure/", chosen, follow=True).content.decode()
    assert "what is not erased yet stays" in page
    tasks.erase_conversations()
    assert Thread.objects.exists()
    assert "is over" in admin_client.post("/admin/query/erasure/", chosen, follow=True).content.decode()
    entry = LogEntry.objects.get(object_pk=str(erasure.pk))
    assert (entry.actor_email, entry.changes) == ("admin@example.com", {"state": ["open", "cancelled"]})
    history = admin_client.get(f"/admin/query/erasure/{erasure.pk}/history/", follow=True)
    assert list(history.context["cl"].result_list) == [entry]
    for path in ("change", "delete"):
        assert admin_client.post(f"/admin/query/erasure/{erasure.pk}/{path}/", {"post": "yes"}).status_code == 403


def test_a_project_that_is_gone_is_still_named(admin_client: Client, project: Project):
    erasure = erasing.begin(Criterion(project.pk), asked_by="ada@example.com", announce=False)
    Erasure.objects.update(state="done", finished_at=datetime.now(UTC))
    name = project.name
    project.delete()
    for path in ("", f"{erasure.pk}/change/"):
        page = admin_client.get(f"/admin/query/erasure/{path}")
        assert page.status_code == 200
        assert name in page.content.decode()


@pytest.mark.parametrize("one_by_one", [True, False])
def test_conversations_that_are_chosen_in_a_list_leave_nothing(
    admin_client: Client, project: Project, one_by_one: bool
):
    thread = ThreadFactory(project=project, first_question=MARK, user_email=f"{MARK}@example.com")
    QuestionAnswerFactory(thread=thread, answer=MARK)
    other = ThreadFactory()
    if one_by_one:
        path = f"/admin/query/thread/{thread.pk}/delete/"
        assert MARK in admin_client.get(path).content.decode()
        assert admin_client.post(path, {"post": "yes"}).status_code == 302
    else:
        form = {"action": "delete_selected", "_selected_action": [str(thread.pk)], "post": "yes"}
        assert admin_client.post("/admin/query/thread/", form).status_code == 302
    assert Thread.objects.get() == other
    assert MARK not in all_rows()
    erasure = Erasure.objects.get()
    assert (erasure.reason, erasure.state, erasure.erased) == ("selected", "done", 1)
    assert erasure.asked_by == "admin@example.com"


def test_a_project_says_how_long_it_keeps_them(admin_client: Client):
    project = ProjectFactory()
    path = f"/admin/teams/project/{project.pk}/change/"
    form = {"name": project.name, "team": str(project.team_id), "retention_days": "0"}
    assert "greater than or equal to 1" in errors_of(admin_client.post(path, form))
    assert admin_client.post(path, {**form, "retention_days": "30"}).status_code == 302
    project.refresh_from_db()
    assert project.retention_days == 30
