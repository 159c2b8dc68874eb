"""Rows and vectordb that were put back to different moments: what is missing is found, and comes back."""

from __future__ import annotations

import io
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from knowledge import reconciling, selectors, services
from knowledge.indexing import Outcome, find_due
from knowledge.models import DiscardedLibrary, Document, Library, Reindexing
from knowledge.staging import name_chunk
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import ProjectFactory
from tests.knowledge.conftest import make_due, make_reindexer, sections, stored_ids
from tests.knowledge.fakes import embed

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return ProjectFactory()


@pytest.fixture
def documents(project, indexer) -> list[Document]:
    """Three indexed documents."""
    made = [
        DocumentFactory(project=project, title=f"Title {number}", content=sections(number + 1), metadata={"n": number})
        for number in range(3)
    ]
    for document in made:
        indexer.index(document.pk)
    return made


@pytest.fixture
def library(documents, project) -> Library:
    return Library.objects.get(project=project)


@pytest.fixture
def snapshot(vectordb_server, library) -> Callable[[], Callable[[], None]]:
    """Copy the library now; what that gives puts it back."""
    http = httpx.Client(base_url=vectordb_server.url, headers={"X-API-KEY": vectordb_server.api_key}, timeout=30)

    def copy() -> Callable[[], None]:
        made = http.post("/v1/snapshots").json()["id"]

        def put_back() -> None:
            answer = http.post(f"/v1/snapshots/{made}/restore", json={"libraries": [library.vectordb_id]})
            assert answer.status_code == 200, answer.text

        return put_back

    return copy


def run(*arguments: str, **options: object) -> str:
    out = io.StringIO()
    call_command("reconcile", *arguments, stdout=out, **options)
    return out.getvalue()


def work(indexer) -> None:
    """Do what is due until nothing is."""
    for _ in range(20):
        for document in Document.objects.filter(state="pending"):
            make_due(document)
        to_index, to_erase = find_due(100)
        if not to_index and not to_erase:
            return
        for pk in to_index:
            while indexer.index(pk) is Outcome.UNFINISHED:
                continue
        for pk in to_erase:
            indexer.erase(pk)
    raise AssertionError("there is no end to it")


def search(project, text: str = "section", **options) -> set[tuple[str, str]]:
    place = selectors.find_place(project.pk)
    found = selectors.search_passages(place, embedding=embed(text), text=text, k=50, **options)
    return {(passage.document_id, passage.content) for passage in found}


def test_what_agrees_is_left_alone(documents, project, store):
    before = list(Document.objects.values())
    assert [(found.lacking, found.outdated, found.unknown) for found in reconciling.compare(store, project.pk)] == [
        (set(), set(), [])
    ]
    assert "holds what the rows say" in run("--project", str(project.pk))
    assert list(Document.objects.values()) == before


def test_documents_that_were_written_after_vectordbs_copy_come_back(
    documents, project, library, snapshot, indexer, store
):
    """A copy of vectordb, then the rows' copy: what was indexed in between is indexed in the rows alone."""
    put_back = snapshot()
    replaced, _, deleted = documents
    services.update_document(project=project, document_id=replaced.pk, changes={"content": sections(4, "newer")})
    services.delete_document(project=project, document_id=deleted.pk)
    added = DocumentFactory(project=project, title="Added", content=sections(2, "added"))
    work(indexer)
    before = search(project)
    put_back()
    assert search(project) < before  # silently less
    [found] = reconciling.compare(store, project.pk)
    assert found.lacking == {replaced.pk, added.pk}
    assert found.unknown == [(library.vectordb_id, str(deleted.pk))]

    with pytest.raises(CommandError, match="3 differences"):
        run("--project", str(project.pk), "--check")
    assert Document.objects.filter(state="pending").count() == 0
    assert "2 documents lack chunks" in run("--project", str(project.pk))
    work(indexer)
    assert search(project) == before
    assert stored_ids(store, deleted) == set()
    assert "holds what the rows say" in run("--project", str(project.pk), "--check")


def test_rows_that_were_put_back_to_a_day_before_vectordbs_answer_as_on_that_day(
    documents, project, library, indexer, store
):
    """The rows alone go back: vectordb knows revisions that the rows will only come to."""
    before = search(project)
    rows = list(Document.objects.filter(project=project))
    replaced, _, deleted = documents
    services.update_document(project=project, document_id=replaced.pk, changes={"content": sections(4, "newer")})
    services.delete_document(project=project, document_id=deleted.pk)
    DocumentFactory(project=project, title="Added", content=sections(2, "added"))
    work(indexer)
    Document.objects.filter(project=project).delete()
    Document.objects.bulk_create(rows)

    run("--project", str(project.pk))
    work(indexer)
    assert search(project) == before
    stored = {document.id for document in store.list_documents(library.vectordb_id)}
    assert stored == {str(row.pk) for row in rows}


def test_filters_go_by_the_rows_metadata_again(documents, project, library, snapshot, indexer, tiny, store):
    put_back = snapshot()
    services.update_document(project=project, document_id=documents[0].pk, changes={"metadata": {"n": 77}})
    work(indexer)
    put_back()
    assert search(project, filters={"n": 77}) == set()
    [found] = reconciling.compare(store, project.pk)
    assert found.outdated == {documents[0].pk}
    embedded = len(tiny.embedded)
    run("--project", str(project.pk))
    work(indexer)
    assert search(project, filters={"n": 77})
    assert len(tiny.embedded) == embedded


def test_a_library_that_is_gone_is_made_anew(documents, project, library, indexer, store):
    before = search(project)
    store.delete_library(library.vectordb_id)
    assert "3 documents lack chunks" in run("--project", str(project.pk))
    work(indexer)
    assert search(project) == before


def test_a_document_that_is_being_replaced_or_erased_is_no_finding(documents, project, library, store):
    services.update_document(project=project, document_id=documents[0].pk, changes={"title": "Another"})
    services.delete_document(project=project, document_id=documents[1].pk)
    DocumentFactory(project=project)
    [found] = reconciling.compare(store, project.pk)
    assert (found.lacking, found.outdated, found.unknown) == (set(), set(), [])


def test_a_document_of_which_one_chunk_is_missing_is_indexed_again(documents, project, library, store):
    store.delete_chunks(library.vectordb_id, [name_chunk(documents[2].pk, 1, 1)])
    [found] = reconciling.compare(store, project.pk)
    assert found.lacking == {documents[2].pk}


def test_libraries_of_no_project_are_named_and_deleted_only_when_that_is_said(documents, library, store):
    unknown = f"{uuid4()}-0123456789ab"
    store.ensure_library(unknown, name=unknown, dimension=4)
    store.ensure_library("somebody-elses", name="somebody-elses", dimension=4)
    try:
        assert f"library {unknown}: no project has it (left)" in run()
        assert not DiscardedLibrary.objects.exists()
        told = run("--delete-unknown-libraries")
        assert f"library {unknown}: no project has it (deleted soon)" in told
        assert "somebody-elses" not in told
        assert library.vectordb_id not in told
        assert DiscardedLibrary.objects.filter(pk=unknown).exists()
        assert unknown not in run()
    finally:
        for library_id in (unknown, "somebody-elses"):
            store.delete_library(library_id)


def test_a_vectordb_that_is_down_is_told_and_nothing_changes(documents, use_environment):
    use_environment(vectordb_url="http://127.0.0.1:9")
    with pytest.raises(CommandError, match="cannot be compared"):
        run()
    with pytest.raises(CommandError, match="There is no project"):
        run("--project", str(uuid4()))


def test_what_a_reindexing_has_filled_so_far_is_compared_too(documents, project, library, store, tiny, indexer):
    """The library beside the live one was put back to a moment before some documents came into it."""
    before = search(project)
    reindexing = services.start_reindexing(project=project)
    make_reindexer(store, tiny, turn_s=0.0).advance(reindexing.pk)  # names it, and marks the documents
    for _ in range(2):
        Reindexing.objects.update(advance_after=Now())
        make_reindexer(store, tiny, turn_s=0.0).advance(reindexing.pk)
    reindexing.refresh_from_db()
    rebuilt = Document.objects.filter(rebuilt_revision__isnull=False)
    lost = rebuilt.first()
    store.delete_document(reindexing.vectordb_id, str(lost.pk))
    [found] = reconciling.compare(store, project.pk)
    assert (found.lacking, found.outdated, found.unknown) == ({lost.pk}, set(), [])

    run("--project", str(project.pk))
    for _ in range(20):
        Reindexing.objects.update(advance_after=Now())
        Document.objects.update(index_after=Now())
        make_reindexer(store, tiny).advance(reindexing.pk)
        work(indexer)
        reindexing.refresh_from_db()
        if reindexing.state == Reindexing.State.DONE:
            break
    assert Library.objects.get(project=project).vectordb_id == reindexing.vectordb_id
    assert search(project) == before
