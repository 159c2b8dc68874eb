"""`manage.py ingest` and `manage.py create_demo`."""

from __future__ import annotations

import json
import stat
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from knowledge import ingestion, selectors, services
from knowledge.ingestion import Patience, Stalled
from knowledge.management.commands.create_demo import ADMIN_EMAIL
from knowledge.models import Document
from teams.models import Project, ProjectAPIKey, Scope, Team, User
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import TeamFactory
from tests.knowledge import pdfs
from tests.knowledge.fakes import embed

pytestmark = pytest.mark.django_db


def ingest(path: Path, project: Project | str, *options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    project_id = project if isinstance(project, str) else str(project.pk)
    call_command("ingest", str(path), "--project", project_id, *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "guide" / ".hidden").mkdir(parents=True)
    (root / "index.md").write_text("# Welcome\n\nThe word.")
    (root / "guide" / "a b.rst").write_text("Second\n======\n\nMore words.")
    (root / "guide" / "page.htm").write_text("<h1>Third</h1><p>Words.")
    (root / "guide" / "notes.txt").write_text("Only words.")
    (root / "guide" / "printed.PDF").write_bytes(pdfs.pdf_of("Printed words."))
    (root / "guide" / "picture.png").write_bytes(b"\x89PNG")
    (root / ".secret.md").write_text("# Hidden")
    (root / "guide" / ".hidden" / "x.md").write_text("# Hidden too")
    return root


class TestIngest:
    def test_a_folder_becomes_documents_that_are_found(self, store, project, docs):
        out, _ = ingest(docs, project, "--here", "--base-url", "https://example.com/docs/")
        assert out == "5 files: 5 created, 0 replaced, 0 unchanged, 0 bad.\n"
        rows = Document.objects.order_by("external_id").values_list("external_id", "title", "source_url", "state")
        assert list(rows) == [
            ("guide/a b.rst", "Second", "https://example.com/docs/guide/a%20b.rst", "indexed"),
            ("guide/notes.txt", "notes", "https://example.com/docs/guide/notes.txt", "indexed"),
            ("guide/page.htm", "Third", "https://example.com/docs/guide/page.htm", "indexed"),
            ("guide/printed.PDF", "printed", "https://example.com/docs/guide/printed.PDF", "indexed"),
            ("index.md", "Welcome", "https://example.com/docs/index.md", "indexed"),
        ]
        found = selectors.search_passages(
            selectors.find_place(project.pk), embedding=embed("the word"), text="the word", k=1
        )
        assert found[0].title == "Welcome"

    def test_again_only_what_changed_is_embedded(self, store, tiny, project, docs):
        ingest(docs, project, "--here")
        tiny.embedded.clear()
        (docs / "index.md").write_text("# Welcome\n\nAnother word.")
        out, _ = ingest(docs, project, "--here")
        assert out == "5 files: 0 created, 1 replaced, 4 unchanged, 0 bad.\n"
        assert len(tiny.embedded) == 1

    def test_bad_files_are_told_one_by_one_and_the_others_go_on(self, store, project, docs, settings):
        settings.MAX_DOCUMENT_SIZE_BYTES = 100
        (docs / "binary.md").write_bytes(b"\x00\x01")
        (docs / "empty.md").write_bytes(b"")
        (docs / "huge.md").write_text("x" * 101)
        (docs / "latin.txt").write_bytes("für".encode("latin-1"))
        err = StringIO()
        with pytest.raises(CommandError, match="4 files could not be read, 0 documents"):
            call_command("ingest", str(docs), "--project", str(project.pk), "--here", stderr=err, stdout=StringIO())
        for name in ("binary.md", "empty.md", "huge.md", "latin.txt"):
            assert f"{docs / name}: " in err.getvalue()
        assert Document.objects.filter(state="indexed").count() == 5

    def test_a_document_that_cannot_be_indexed_is_told(self, store, project, docs):
        (docs / "bare.html").write_text("<script>x</script>")
        err = StringIO()
        with pytest.raises(CommandError, match="1 documents are not indexed"):
            call_command("ingest", str(docs), "--project", str(project.pk), "--here", stderr=err, stdout=StringIO())
        assert "bare.html: failed. The document has no text." in err.getvalue()

    def test_links_are_followed_only_within_the_folder(self, store, project, docs, tmp_path):
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "secret.md").write_text("# Secret")
        (docs / "leak.md").symlink_to(tmp_path / "outside" / "secret.md")
        (docs / "folder").symlink_to(tmp_path / "outside")
        (docs / "inside.md").symlink_to(docs / "index.md")
        (docs / "nowhere.md").symlink_to(docs / "gone.md")
        err = StringIO()
        with pytest.raises(CommandError, match="1 files could not be read"):
            call_command("ingest", str(docs), "--project", str(project.pk), "--here", stderr=err, stdout=StringIO())
        assert "leak.md: passed over" in err.getvalue()
        assert "folder: passed over" in err.getvalue()
        assert not Document.objects.filter(content__contains="Secret").exists()
        assert Document.objects.filter(external_id="inside.md").exists()

    def test_a_single_file(self, store, project, docs):
        out, _ = ingest(docs / "index.md", project, "--here")
        assert out.startswith("1 files: 1 created")
        assert Document.objects.get().external_id == "index.md"

    def test_without_waiting_the_documents_stay_pending(self, project, docs):
        ingest(docs, project, "--no-wait")
        assert set(Document.objects.values_list("state", flat=True)) == {"pending"}

    @pytest.mark.parametrize("project_id", ["nonsense", pytest.param(str(uuid4()), id="an unknown id")])
    def test_a_project_that_is_not_there(self, docs, project_id):
        with pytest.raises(CommandError, match="There is no project"):
            ingest(docs, project_id)

    def test_a_path_that_is_not_there_or_empty(self, project, tmp_path):
        with pytest.raises(CommandError, match="no file and no folder"):
            ingest(tmp_path / "nowhere", project)
        with pytest.raises(CommandError, match="holds no file"):
            ingest(tmp_path, project)


class Clock:
    """A clock that sleeping moves, and something that happens each time."""

    def __init__(self, tick=lambda: None) -> None:
        self.now = 0.0
        self.tick = tick

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.tick()


class TestWaiting:
    def test_it_ends_when_nothing_is_pending(self):
        documents = [DocumentFactory() for _ in range(3)]
        clock = Clock(lambda: Document.objects.filter(pk=documents.pop().pk).update(state="indexed"))
        ids = [document.pk for document in documents]
        patience = Patience(sleep=clock.sleep, monotonic=clock.monotonic)
        seen = [progress.indexed for progress, _ in ingestion.wait_for_workers(ids, patience)]
        assert seen == [0, 1, 2, 3]

    def test_it_tells_how_long_nothing_moved_and_gives_up(self):
        document = DocumentFactory()
        clock = Clock()
        still = []
        patience = Patience(give_up_after_s=60, sleep=clock.sleep, monotonic=clock.monotonic)
        progress = ingestion.wait_for_workers([document.pk], patience)
        with pytest.raises(Stalled):
            still.extend(still_s for _, still_s in progress)
        assert still[0] == 0
        assert still[-1] == 60

    def test_a_document_deleted_meanwhile_is_not_waited_for(self):
        document = DocumentFactory()
        services.delete_document(project=document.project, document_id=document.pk)
        assert len(list(ingestion.wait_for_workers([document.pk]))) == 1


def create_demo(docs: Path, out: Path, *options: str) -> str:
    said = StringIO()
    urls = ["--base-url", "http://localhost:8002", "--vectordb-url", "http://127.0.0.1:8003"]
    call_command("create_demo", "--docs", str(docs), "--out", str(out), *urls, *options, stdout=said, stderr=said)
    return said.getvalue()


class TestCreateDemo:
    def test_everything_that_a_first_question_needs(self, docs, tmp_path, client, use_environment):
        out = tmp_path / "run" / "demo.json"
        create_demo(docs, out)
        demo = json.loads(out.read_text())
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        assert [path.name for path in out.parent.iterdir()] == ["demo.json"]
        assert list(demo) == [
            "base_url",
            "project_id",
            "api_key",
            "vectordb_url",
            "vectordb_api_key",
            "admin_url",
            "admin_email",
            "admin_password",
        ]
        assert (demo["base_url"], demo["admin_url"]) == ("http://localhost:8002", "http://localhost:8002/admin/")
        assert ProjectAPIKey.objects.get().scopes == Scope.values
        rows = client.get(
            f"/knowledge/v1/projects/{demo['project_id']}/documents/", headers={"X-API-KEY": demo["api_key"]}
        )
        assert len(rows.json()["results"]) == 5
        user = User.objects.get(email=ADMIN_EMAIL)
        assert user.check_password(demo["admin_password"])
        assert user.is_superuser
        assert list(user.teams.all()) == [Project.objects.get().team]

    def test_a_database_that_is_not_empty_stays_as_it_is(self, docs, tmp_path):
        TeamFactory()
        out = tmp_path / "demo.json"
        assert "not empty" in create_demo(docs, out)
        assert not out.exists()
        assert not Project.objects.exists()

    def test_a_file_that_cannot_be_written_leaves_the_database_empty(self, docs, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(CommandError, match="cannot be written"):
            create_demo(docs, tmp_path / "file" / "demo.json")
        assert not Team.objects.exists()
        assert not Document.objects.exists()

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(CommandError, match="no folder"):
            create_demo(tmp_path / "nowhere", tmp_path / "demo.json")
