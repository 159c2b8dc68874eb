"""Reindexing as people ask for it: by API, by command, in the admin; and what their questions meet meanwhile."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from knowledge import composition, libraries, services, tasks
from knowledge.embedders.choice import Embedders
from knowledge.management.commands.reindex import Command
from knowledge.models import DiscardedLibrary, Document, Library, Reindexing
from query import services as questions
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import ProjectFactory
from tests.knowledge.conftest import make_indexer, sections
from tests.knowledge.fakes import embed
from tests.knowledge.reindexing.steps import NEW, OLD

pytestmark = pytest.mark.django_db


@pytest.fixture
def url(project) -> str:
    return f"/knowledge/v1/projects/{project.pk}/documents/reindex/"


@pytest.fixture
def document(use_environment, vectordb_server, project) -> Document:
    """One that was indexed with the embedder from before."""
    use_environment(embedder=NEW, previous_embedder=OLD)
    previous = composition.embedders_in_use().previous
    made = DocumentFactory(project=project, content=sections(3))
    make_indexer(composition.vector_store(), previous, embedders=Embedders(previous)).index(made.pk)
    return made


def work() -> None:
    """What the workers would do."""
    for reindexing in Reindexing.objects.filter(state="running"):
        tasks.advance_reindexing(str(reindexing.pk))


def run(*options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("reindex", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


class TestApi:
    def test_it_is_begun_and_followed(self, api, url, document):
        assert api.get(url).status_code == 404
        begun = api.post(url)
        assert begun.status_code == 202
        row = begun.json()
        assert row == {
            "id": str(Reindexing.objects.get().pk),
            "state": "running",
            "error": "",
            "total": 1,
            "done": 0,
            "failed": 0,
            "started_at": row["started_at"],
            "finished_at": None,
        }
        assert api.get(url).json() == row
        work()
        done = api.get(url.rstrip("/")).json()
        assert (done["state"], done["total"], done["done"], done["failed"]) == ("done", 1, 1, 0)
        assert done["finished_at"] > done["started_at"]
        assert Library.objects.get().embedder_fingerprint == "wide@1"

    def test_a_worker_is_told_on_commit(self, api, url, monkeypatch, django_capture_on_commit_callbacks):
        nudged = []
        monkeypatch.setattr(tasks.advance_reindexing, "nudge", nudged.append)
        with django_capture_on_commit_callbacks(execute=True):
            row = api.post(url).json()
        assert nudged == [row["id"]]

    def test_a_second_one_at_once_is_a_409(self, api, url):
        assert api.post(url).status_code == 202
        refused = api.post(url)
        assert refused.status_code == 409
        assert refused.json()["errors"][0]["code"] == "conflict"

    def test_after_the_last_one_another_may_be_begun(self, api, url, document):
        api.post(url)
        work()
        assert api.post(url).status_code == 202
        work()
        assert Reindexing.objects.filter(state="done").count() == 2

    def test_it_needs_its_scope_and_its_project(self, project, url, client_of):
        assert client_of(project, ["read"]).post(url).status_code == 403
        assert client_of(project, ["ingest"]).get(url).status_code == 403
        assert client_of(project, ["ingest"]).post(url).status_code == 202
        assert client_of(ProjectFactory()).post(url).status_code == 404


class TestQuestions:
    def test_they_are_answered_before_and_after(self, project, document):
        for _ in range(2):
            passages = questions.retrieve(project_id=project.pk, query="the word of section 1", top_k=3)
            assert "section 1" in passages[0].content
            services.start_reindexing(project=project)
            work()

    def test_one_that_was_embedded_before_the_switch_is_embedded_again(self, project, document, monkeypatch):
        """The library that it was to search is gone when it comes to searching."""
        previous = composition.embedders_in_use().previous

        def switch_first(text):
            monkeypatch.undo()
            services.start_reindexing(project=project)
            work()
            DiscardedLibrary.objects.update(delete_after=Now())
            libraries.delete_due(composition.vector_store())
            return embed(text)

        monkeypatch.setattr(previous, "embed_query", switch_first)
        assert len(questions.retrieve(project_id=project.pk, query="the word", top_k=3)) == 1
        assert Library.objects.get().embedder_fingerprint == "wide@1"


class TestCommand:
    def test_it_begins_and_waits(self, project, document, monkeypatch):
        started = services.start_reindexing

        def start_and_work(**options):
            reindexing = started(**options)
            work()
            return reindexing

        monkeypatch.setattr(services, "start_reindexing", start_and_work)
        out, _ = run("--project", str(project.pk), "--wait")
        assert out == "1 projects' documents are being indexed again.\n1 documents indexed again, 0 failed.\n"

    def test_all_are_those_with_documents_once_each(self, project, document):
        DocumentFactory(project=project)
        ProjectFactory()
        assert run("--all") == ("1 projects' documents are being indexed again.\n", "")
        assert run("--all") == ("1 projects' documents are being indexed again.\n", "")
        assert Reindexing.objects.count() == 1
        assert run("--all", "--cancel") == ("1 called off.\n", "")
        assert run("--all", "--cancel") == ("0 called off.\n", "")
        assert Reindexing.objects.get().state == "cancelled"

    def test_one_that_failed_is_told(self, project, document):
        services.start_reindexing(project=project)
        Reindexing.objects.update(state="failed", error="Because.", finished_at=Now(), total=1, done=0, failed=1)
        command = Command(stdout=StringIO(), stderr=StringIO())
        with pytest.raises(CommandError, match="answered from the libraries of before"):
            command._wait([Reindexing.objects.get().pk])
        assert "Because." in command.stderr.getvalue()

    def test_it_wants_a_project_that_there_is(self):
        for options in ((), ("--project", "nonsense"), ("--project", "1", "--all")):
            with pytest.raises(CommandError):
                run(*options)
