"""Projects and teams that are deleted: at once for whoever looks, and in the end in every row and in vectordb."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import ForeignKey
from django.db.models.functions import Now
from django.test import Client
from rest_framework.test import APIClient

from categorisation.models import Category, LabelChange, PreviewThread, Run, Taxonomy
from categorisation.services import planning, start_backfill, start_preview
from categorisation.services.history import SHELL
from knowledge import libraries
from knowledge.errors import LibraryMissing, VectorStoreUnavailable
from knowledge.models import DiscardedLibrary, Document, FilePart, Library, Reindexing
from knowledge.vector_store import VectorStore
from query import erasing, services
from query.models import Erasure, QuestionAnswer, Thread
from query.tasks import erase_conversations
from teams import deletion
from teams.models import Project, ProjectAPIKey, RateBucket, Team, User
from teams.tasks import empty_deleted_projects
from tests.categorisation.two_connections import uncommitted_on_another_connection
from tests.contract.tenants import OWN, make_tenant
from tests.crash.service import wait_until
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory, UserFactory
from tests.knowledge.conftest import sections
from tests.knowledge.fakes import embed
from tests.plugin import Worker
from tests.query.test_erasing import all_rows

pytestmark = pytest.mark.django_db


def empty_all() -> bool:
    """What beat's tasks do, until there is nothing left to do."""
    erasing.carry_out_open(20, rest=lambda seconds: None)
    return deletion.empty_deleted(20)


def exists(project: Project) -> bool:
    return Project.including_deleted.filter(pk=project.pk).exists()


# -- at once ----------------------------------------------------------------------------------------------------------


def test_from_that_moment_its_keys_open_nothing_and_no_read_shows_it(
    project: Project, api: APIClient, client_of: Callable[..., APIClient]
):
    thread = ThreadFactory(project=project)
    path = f"/query/v1/projects/{project.pk}/threads/{thread.pk}/"
    assert api.get(path).status_code == 200
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    assert api.get(path).status_code == 401
    assert client_of(ProjectFactory()).get(path).status_code == 404
    assert not Project.objects.filter(pk=project.pk).exists()
    assert not project.team.projects.exists()
    assert exists(project), "its row is the record of what there is to do"


def test_it_takes_no_more_of_the_moment_however_much_is_its_own(project: Project):
    from django.test.utils import CaptureQueriesContext

    ThreadFactory.create_batch(5, project=project)
    DocumentFactory.create_batch(5, project=project)
    with CaptureQueriesContext(connection) as queries:
        deletion.delete_project(project.pk, asked_by="ada@example.com")
    assert Thread.objects.count() == Document.objects.count() == 5
    written = [query["sql"] for query in queries if query["sql"].startswith(("UPDATE", "DELETE", "INSERT"))]
    assert not any("query_thread" in sql or "knowledge_document" in sql for sql in written)


def test_nothing_of_it_is_classified_any_more(project: Project):
    ThreadFactory(project=project)
    run = start_backfill(project_id=project.pk, actor=SHELL)
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert not Taxonomy.objects.get(project=project).is_enabled
    planning.plan()
    assert not Run.objects.filter(project=project, state="running").exists()


def test_a_second_deletion_finds_nothing(project: Project):
    from teams.errors import ProjectNotFound

    deletion.delete_project(project.pk, asked_by="ada@example.com")
    with pytest.raises(ProjectNotFound):
        deletion.delete_project(project.pk, asked_by="ada@example.com")
    assert Erasure.objects.count() == 1


# -- in the end -------------------------------------------------------------------------------------------------------


def test_nothing_of_it_is_left_but_the_record(store: VectorStore):
    own = make_tenant(OWN)
    project = own.project
    library = Library.objects.get(project=project).vectordb_id
    start_preview(project_id=project.pk, actor=SHELL, draft=[{"title": OWN}], sample_size=5)
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    assert empty_all()
    assert not exists(project)
    erasure = Erasure.objects.get()
    assert (erasure.reason, erasure.state, erasure.erased) == ("project_deleted", "done", 1)
    assert (erasure.asked_by, OWN in erasure.project_name) == ("ada@example.com", True)
    Erasure.objects.all().delete()
    DiscardedLibrary.objects.update(delete_after=Now())
    libraries.delete_due(store)
    assert_library_is_gone(store, library)
    left = [row for row in all_rows().splitlines() if OWN in row or str(project.pk) in row]
    assert [row for row in left if f"({project.team_id}," not in row and "{" not in row] == [], (
        "but the team, the trail"
    )


def assert_library_is_gone(store: VectorStore, library_id: str) -> None:
    with pytest.raises(LibraryMissing):
        store.hybrid_search(library_id, embedding=embed("x"), text="x", k=1)


# Of the tables that refer to projects, or to what does: those that may be large are emptied by their room, the others
# have a few rows that go with the project's.
EMPTIED = {Thread, QuestionAnswer, LabelChange, PreviewThread, Document, FilePart, Library, Reindexing, Run, Category}
FEW = {ProjectAPIKey, RateBucket, Taxonomy, Erasure}


def test_no_table_of_a_projects_is_forgotten():
    """A new one that may be large wants to be emptied by its room (`teams.deletion.register`)."""
    known = {Project, *EMPTIED, *FEW}
    referring: set[Any] = {Project}
    while more := {model for model in apps.get_models() if refers_to(model, referring)} - referring:
        referring |= more
    assert referring == known


def refers_to(model: Any, others: set[Any]) -> bool:
    return any(isinstance(field, ForeignKey) and field.related_model in others for field in model._meta.get_fields())


def test_files_that_are_still_to_be_read_go_too(project: Project):
    document = DocumentFactory(project=project)
    FilePart.objects.create(document=document, position=0, data=b"%PDF")
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    assert empty_all()
    assert not FilePart.objects.exists()


def test_others_keep_what_is_theirs(store: VectorStore):
    own, other = make_tenant(OWN), make_tenant("othersecret")
    before = {model: model._base_manager.filter(project=other.project).count() for model in OF_A_PROJECT}
    assert all(before.values())
    deletion.delete_project(own.project.pk, asked_by="ada@example.com")
    assert empty_all()
    for model in OF_A_PROJECT:
        assert model._base_manager.filter(project=other.project).count() == before[model]
        assert not model._base_manager.filter(project=own.project.pk).exists()


OF_A_PROJECT: list[Any] = [Thread, Document, Library, Category, Taxonomy, Run]


def test_a_vectordb_that_is_down_is_waited_for_and_holds_nothing_else_up(store: VectorStore, interrupted: Any):
    own = make_tenant(OWN)
    library = Library.objects.get(project=own.project).vectordb_id

    def fail(call: str) -> None:
        raise VectorStoreUnavailable("Down.")

    deletion.delete_project(own.project.pk, asked_by="ada@example.com")
    assert empty_all()
    assert not exists(own.project)
    DiscardedLibrary.objects.update(delete_after=Now())
    interrupted.before = fail
    libraries.delete_due(interrupted)
    assert DiscardedLibrary.objects.get().pk == library
    interrupted.before = lambda call: None
    libraries.delete_due(interrupted)
    assert_library_is_gone(store, library)


@pytest.mark.parametrize("call", ["ensure_library", "put_document", "put_chunks", "chunk_ids"])
def test_a_worker_that_indexes_meanwhile_brings_nothing_back(indexer: Any, interrupted: Any, store: Any, call: str):
    document = DocumentFactory(content=sections(5))
    project = document.project

    def delete(name: str) -> None:
        if name == call:
            interrupted.before = lambda name: None
            deletion.delete_project(project.pk, asked_by="ada@example.com")
            deletion.empty_deleted(20)

    interrupted.before = delete
    with suppress(Exception):  # its rows are gone under its hands
        indexer.index(document.pk)
    empty_all()
    assert not exists(project)
    assert not Library.objects.exists()
    DiscardedLibrary.objects.update(delete_after=Now())
    libraries.delete_due(store)
    assert store.chunk_ids("nothing", str(document.pk)) == set()
    assert not DiscardedLibrary.objects.exists()


def test_what_stops_one_stops_no_other(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    broken, other = ProjectFactory(), ProjectFactory()
    for each in (broken, other):
        deletion.delete_project(each.pk, asked_by="ada@example.com")

    def fail(project_id: UUID, is_over: Any) -> bool:
        if project_id == broken.pk:
            raise RuntimeError("broken")
        return True

    monkeypatch.setattr(deletion, "_emptiers", [fail, *deletion._emptiers])
    assert not empty_all()
    assert (exists(broken), exists(other)) == (True, False)
    assert "could not be emptied" in caplog.text
    monkeypatch.undo()
    assert empty_all()
    assert not exists(broken)


def test_it_stops_when_its_time_is_up_and_goes_on_later(project: Project):
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    assert not deletion.empty_deleted(-1)
    assert exists(project)
    assert empty_all()


# -- others at work ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_comes_after_the_end_is_a_404(project: Project, api: APIClient, monkeypatch: Any):
    """It was asked before."""
    monkeypatch.setattr(services.composition, "agent_for", lambda project_id: GoneMeanwhile(project_id))
    answer = api.post(f"/query/v1/projects/{project.pk}/chat", {"question": "Why?"})
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "not_found"
    assert not Thread.objects.exists()


class GoneMeanwhile:
    """An agent in whose time the project is deleted for good."""

    def __init__(self, project_id: UUID) -> None:
        self._project_id = project_id

    def answer(self, question: str, history: Any) -> Any:
        from query.agent import Answer, Timings

        deletion.delete_project(self._project_id, asked_by="ada@example.com")
        assert empty_all()
        return Answer("Yes.", False, [], Timings(0, 0, 0, 0), question)


def test_a_conversation_that_is_written_in_the_last_moment_goes_too(project: Project):
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    erasing.carry_out_open(20)
    ThreadFactory(project=project)
    assert deletion.empty_deleted(20)
    assert not exists(project)
    assert not Thread.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_half_way_leaves_it_to_the_next(project: Project, celery_worker: Callable[..., Worker]):
    held, *_ = ThreadFactory.create_batch(20, project=project)
    DocumentFactory.create_batch(3, project=project)
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    worker = celery_worker(queues="backfill")
    with uncommitted_on_another_connection(lambda: Thread.objects.filter(pk=held.pk).update(is_uncertain=True)):
        erase_conversations.nudge()
        empty_deleted_projects.nudge()
        wait_until(lambda: Thread.objects.count() == 1, 30, "all but the one in hand are erased")
        os.killpg(worker.pid, signal.SIGKILL)
    wait_until(empty_all, 30, "the next one ends it")
    assert not exists(project)
    assert not Thread.objects.exists()
    assert not Document.objects.exists()
    assert (Erasure.objects.get().erased, Erasure.objects.get().state) == (20, "done")


# -- teams and users --------------------------------------------------------------------------------------------------


def test_a_team_goes_with_its_projects_and_its_users_stay(project: Project, api: APIClient):
    user = UserFactory()
    user.teams.add(project.team)
    second = ProjectFactory(team=project.team)
    deletion.delete_team(project.team_id, asked_by="ada@example.com")
    assert not Team.objects.exists()
    assert not Project.objects.exists()
    assert api.get(f"/query/v1/projects/{project.pk}/threads/").status_code == 401
    assert list(user.teams.all()) == []
    assert empty_all()
    assert not Team.including_deleted.exists()
    assert not exists(second)
    assert User.objects.get() == user


def test_a_project_that_is_put_into_a_team_in_its_last_moment_goes_with_it(project: Project):
    deletion.delete_team(project.team_id, asked_by="ada@example.com")
    late = ProjectFactory(team=project.team)
    assert not empty_all()  # it is seen, and marked
    assert empty_all()
    assert not exists(late)
    assert not Team.including_deleted.exists()


def test_a_team_of_the_same_name_is_another_one(project: Project):
    from teams.services import create_project

    deletion.delete_team(project.team_id, asked_by="ada@example.com")
    anew = create_project(team_name=project.team.name, name="Bot")
    assert anew.team_id != project.team_id
    assert empty_all()
    assert Team.objects.get() == anew.team


def test_the_admin_deletes_projects_teams_and_users(admin_client: Client, project: Project):
    user = UserFactory()
    user.teams.add(project.team)
    ThreadFactory(project=project)
    other = ProjectFactory(team=project.team)
    path = f"/admin/teams/project/{project.pk}/delete/"
    assert "erased in the background" in admin_client.get(path).content.decode()
    assert admin_client.post(path, {"post": "yes"}).status_code == 302
    assert list(Project.objects.all()) == [other]
    assert admin_client.get(f"/admin/teams/project/{project.pk}/change/").status_code == 302
    path = f"/admin/teams/team/{project.team_id}/delete/"
    assert other.name in admin_client.get(path).content.decode()
    form = {"action": "delete_selected", "_selected_action": [str(project.team_id)], "post": "yes"}
    assert admin_client.post("/admin/teams/team/", form).status_code == 302
    assert not Team.objects.exists()
    assert Erasure.objects.get(project=project.pk).asked_by == "admin@example.com"
    assert admin_client.post(f"/admin/teams/user/{user.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()
    assert empty_all()
    assert not Team.including_deleted.exists()


def test_a_key_of_a_deleted_project_is_not_usable(project: Project):
    from django.utils import timezone

    from teams.services import create_api_key

    key, _ = create_api_key(project=project, name="k", scopes=["read"])
    deletion.delete_project(project.pk, asked_by="ada@example.com")
    assert not ProjectAPIKey.objects.select_related("project").get(pk=key.pk).is_usable(timezone.now())
