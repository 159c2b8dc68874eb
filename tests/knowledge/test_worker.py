"""Documents on their way through a real broker and real worker processes."""

from __future__ import annotations

import os
import signal
import time

import pytest
from django.core.management import call_command
from django.db.models.functions import Now

from knowledge import composition, selectors, services, tasks
from knowledge.embedders.choice import Embedders
from knowledge.models import Document, Library, Reindexing
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import make_due, make_indexer, sections, stored_ids

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.broker]

TINY = {"EMBEDDER": "tests.knowledge.fakes.SlowTinyEmbedder"}
BODY = {"title": "Guide", "content": sections(3), "content_type": "text/markdown", "external_id": "a"}


def wait_for(state: str, timeout_s: float = 30) -> Document:
    return wait_until(lambda: Document.objects.filter(state=state).first(), timeout_s)


def wait_until(condition, timeout_s: float = 30):
    deadline = time.monotonic() + timeout_s
    swept_at = time.monotonic()
    while time.monotonic() < deadline:
        if found := condition():
            return found
        if time.monotonic() - swept_at > 5:  # as beat does: a nudge may be lost
            tasks.sweep_documents.delay()
            swept_at = time.monotonic()
        time.sleep(0.05)
    raise AssertionError(
        f"not within {timeout_s} s: {list(Document.objects.values('state', 'error', 'staged_chunks'))}"
    )


def test_a_document_is_indexed_then_erased_by_the_worker(store, project, api, celery_worker):
    celery_worker(environment=TINY)
    url = f"/knowledge/v1/projects/{project.pk}/documents/"
    row = api.post(url, BODY).json()
    document = wait_for("indexed")
    assert len(stored_ids(store, document)) == document.chunk_count > 0
    assert api.delete(f"{url}{row['id']}/").status_code == 204
    wait_until(lambda: not Document.objects.exists())
    assert stored_ids(store, document) == set()


def test_the_sweeper_finds_a_document_that_nobody_announced(store, celery_worker):
    DocumentFactory(content=sections(3))
    celery_worker(environment=TINY)
    tasks.sweep_documents.delay()
    wait_for("indexed")


def test_a_worker_killed_in_the_middle_is_followed_by_another(store, celery_worker):
    # pieces of about 1,000 characters, so that there are several slices
    paragraph = "The word stands in a sentence of this paragraph, which is as long as others are. " * 12
    document = DocumentFactory(content="\n\n".join(f"## Section {n}\n\n{paragraph}" for n in range(200)))
    worker = celery_worker(environment={**TINY, "SLOW_EMBEDDER_SECONDS": "1"})
    tasks.index_document.delay(str(document.pk))
    wait_until(lambda: Document.objects.filter(staged_chunks__gt=0).exists())
    os.killpg(os.getpgid(worker.pid), signal.SIGKILL)

    document.refresh_from_db()
    assert (document.state, document.live_revision) == ("pending", None)
    make_due(document)
    celery_worker(environment=TINY)
    tasks.sweep_documents.delay()
    document = wait_for("indexed")
    assert len(stored_ids(store, document)) == document.chunk_count == 200


@pytest.mark.ci
def test_a_worker_killed_in_a_reindexing_is_followed_by_another_and_answers_lack_nothing(
    store, project, celery_worker, use_environment
):
    use_environment(embedder="tests.knowledge.fakes.WideEmbedder", previous_embedder=TINY["EMBEDDER"])
    embedders = composition.embedders_in_use()
    before = make_indexer(store, embedders.previous, embedders=Embedders(embedders.previous))
    documents = DocumentFactory.create_batch(20, project=project, content=sections(3))
    for document in documents:
        before.index(document.pk)

    def find_answering() -> int:
        place = selectors.find_place(project.pk)
        found = selectors.search_passages(place, embedding=place.embedder.embed_query("word"), text="word", k=100)
        return len({passage.document_id for passage in found})

    both = {"EMBEDDER": "tests.knowledge.fakes.SlowWideEmbedder", "PREVIOUS_EMBEDDER": TINY["EMBEDDER"]}
    worker = celery_worker(environment={**both, "SLOW_EMBEDDER_SECONDS": "0.3"})
    reindexing = services.start_reindexing(project=project)
    wait_until(lambda: find_answering() == 20 and Document.objects.filter(rebuilt_revision__isnull=False).count() > 2)
    os.killpg(os.getpgid(worker.pid), signal.SIGKILL)

    assert Reindexing.objects.get().state == "running"
    assert find_answering() == 20
    services.delete_document(project=project, document_id=documents[0].pk)
    Reindexing.objects.update(advance_after=Now())
    for document in documents:
        make_due(document)
    celery_worker(environment=both)
    tasks.sweep_documents.delay()
    assert wait_until(lambda: find_answering() == 19 and Reindexing.objects.filter(state="done").exists())
    assert Library.objects.get().vectordb_id == Reindexing.objects.get(pk=reindexing.pk).vectordb_id
    assert find_answering() == 19


def test_the_demo_knows_its_documents_when_its_making_ends(store, tmp_path, celery_worker):
    celery_worker(environment=TINY)
    (tmp_path / "docs").mkdir()
    for number in range(3):
        (tmp_path / "docs" / f"{number}.md").write_text(sections(2))
    urls = ["--base-url", "http://localhost:8002", "--vectordb-url", "http://127.0.0.1:8003"]
    out = tmp_path / "demo.json"
    call_command("create_demo", "--docs", str(tmp_path / "docs"), "--out", str(out), *urls, "--wait")
    assert list(Document.objects.values_list("state", flat=True)) == ["indexed"] * 3
