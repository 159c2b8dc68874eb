"""Indexing whatever fails on the way: workers that are killed, neighbours that are down, documents without sense."""

from __future__ import annotations

import logging

import pytest
from django.utils import timezone

from knowledge import claims, composition
from knowledge.errors import EmbedderUnavailable, VectorStoreRefused, VectorStoreUnavailable
from knowledge.indexing import GIVEN_UP, OTHER_EMBEDDER, Outcome, find_due
from knowledge.models import Document, Library
from knowledge.staging import name_chunk
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import CALLS, kill_before, make_due, make_indexer, replace, search, sections, stored_ids
from tests.knowledge.fakes import Killed, TinyEmbedder

pytestmark = pytest.mark.django_db


def kill(indexer, document: Document) -> None:
    with pytest.raises(Killed):
        indexer.index(document.pk)


@pytest.mark.parametrize("call", [*CALLS, "delete_chunks"])
def test_a_killed_worker_is_healed_when_its_lease_ends(indexer, interrupted, store, call):
    document = DocumentFactory(content=sections(5, "old"))
    indexer.index(document.pk)
    replace(document, content=sections(3, "new"))
    interrupted.before = kill_before(call)
    kill(indexer, document)
    interrupted.before = lambda call: None

    assert indexer.index(document.pk) is Outcome.NOTHING_TO_DO
    assert find_due(10) == ([], [])
    make_due(document)
    assert find_due(10) == ([document.pk], [])
    assert indexer.index(document.pk) is Outcome.INDEXED
    assert stored_ids(store, document) == {name_chunk(document.pk, 2, n) for n in range(3)}
    assert Document.objects.get(pk=document.pk).state == "indexed"


def test_a_document_that_kills_every_worker_is_given_up(indexer, tiny):
    document = DocumentFactory()

    def die() -> None:
        raise Killed

    tiny.before_each = die
    for _ in range(claims.MAX_ATTEMPTS):
        kill(indexer, document)
        make_due(document)
    assert indexer.index(document.pk) is Outcome.FAILED
    document.refresh_from_db()
    assert (document.state, document.error) == ("failed", GIVEN_UP)


def test_a_worker_that_lost_its_lease_changes_nothing_more(indexer, interrupted, store, tiny):
    document = DocumentFactory(content=sections(4))
    other = make_indexer(store, tiny)
    outcomes = []

    def overtake(call: str) -> None:
        if call == "chunk_ids":
            interrupted.before = lambda call: None
            make_due(document)
            outcomes.append(other.index(document.pk))

    interrupted.before = overtake
    assert indexer.index(document.pk) is Outcome.NOTHING_TO_DO
    assert outcomes == [Outcome.INDEXED]
    assert Document.objects.get(pk=document.pk).state == "indexed"


def test_an_unreadable_document_fails_with_words_for_its_owner_and_leaves_nothing(indexer, store):
    document = DocumentFactory(content="<script>nothing to read</script>", content_type="text/html")
    assert indexer.index(document.pk) is Outcome.FAILED
    document.refresh_from_db()
    assert (document.state, document.error) == ("failed", "The document has no text.")
    assert (document.live_revision, document.chunk_count) == (None, 0)
    assert stored_ids(store, document) == set()


def test_an_unreadable_replacement_fails_and_the_old_revision_goes_on_answering(indexer, store):
    document = DocumentFactory(content="<p>the word</p>", content_type="text/html")
    indexer.index(document.pk)
    replace(document, content="<script>none</script>")
    assert indexer.index(document.pk) is Outcome.FAILED
    assert len(search(document)) == 1
    assert stored_ids(store, document) == {name_chunk(document.pk, 1, 0)}


@pytest.mark.parametrize(
    "fault", [EmbedderUnavailable("The embedder did not answer.", retry_after_s=7), VectorStoreUnavailable("Down.")]
)
def test_an_outage_is_waited_for_and_counts_no_attempt(indexer, tiny, fault):
    document = DocumentFactory()

    def fail() -> None:
        raise fault

    tiny.before_each = fail
    assert indexer.index(document.pk) is Outcome.POSTPONED
    document.refresh_from_db()
    assert (document.state, document.index_attempts) == ("pending", 0)
    assert document.error == f"Waits: {fault}"
    assert document.index_after > timezone.now()
    tiny.before_each = lambda: None
    make_due(document)
    assert make_indexer(composition.vector_store(), tiny).index(document.pk) is Outcome.INDEXED
    assert Document.objects.get(pk=document.pk).error == ""


def test_the_pause_grows_with_the_wait(indexer, tiny):
    pauses = []
    for waited_s in (0, 60, 600, 86_400):
        document = DocumentFactory()
        updated_at = timezone.now() - timezone.timedelta(seconds=waited_s)
        Document.objects.filter(pk=document.pk).update(updated_at=updated_at)
        claim = claims.claim(document.pk)
        claim.wait("Waits.", retry_after_s=5)
        document.refresh_from_db()
        pauses.append(round((document.index_after - timezone.now()).total_seconds()))
    assert pauses == [5, 15, 150, 300]


def test_during_an_outage_the_embedder_is_not_asked_for_every_document(store, tiny):
    now = 0.0
    indexer = make_indexer(store, tiny, monotonic=lambda: now)
    asked = 0

    def fail() -> None:
        nonlocal asked
        asked += 1
        raise EmbedderUnavailable("Down.", retry_after_s=10)

    tiny.before_each = fail
    documents = [DocumentFactory() for _ in range(5)]
    assert {indexer.index(document.pk) for document in documents} == {Outcome.POSTPONED}
    assert asked == 1
    assert {document.error for document in Document.objects.all()} == {"Waits: Down."}
    now = 11.0
    make_due(documents[0])
    indexer.index(documents[0].pk)
    assert asked == 2


def test_an_unexpected_fault_is_tried_again_then_given_up_and_neither_row_nor_log_tells_the_content(
    indexer, tiny, caplog
):
    document = DocumentFactory(content="top secret words")

    def fail() -> None:
        raise ValueError("top secret words")

    tiny.before_each = fail
    with caplog.at_level(logging.INFO):
        outcomes = []
        for _ in range(claims.MAX_ATTEMPTS):
            outcomes.append(indexer.index(document.pk))
            make_due(document)
    assert outcomes == [Outcome.POSTPONED] * (claims.MAX_ATTEMPTS - 1) + [Outcome.FAILED]
    document.refresh_from_db()
    assert (document.state, document.error) == ("failed", GIVEN_UP)
    assert "ValueError in fail" in caplog.text
    assert "secret" not in caplog.text


def test_a_fault_of_ours_that_vectordb_refuses_is_given_up_too(indexer, interrupted):
    document = DocumentFactory()

    def refuse(call: str) -> None:
        if call != "ensure_library":
            raise VectorStoreRefused("no")

    interrupted.before = refuse
    for _ in range(claims.MAX_ATTEMPTS):
        indexer.index(document.pk)
        make_due(document)
    assert Document.objects.get(pk=document.pk).state == "failed"


def test_a_failed_document_is_tried_again_when_it_is_sent_again(indexer, tiny):
    document = DocumentFactory(content="<p>fine</p>", content_type="text/html")
    Document.objects.filter(pk=document.pk).update(state="failed", error=GIVEN_UP)
    replace(document, title=document.title)
    assert indexer.index(document.pk) is Outcome.INDEXED


def test_chunks_that_vectordb_lost_are_stored_again(indexer, store, tiny):
    document = DocumentFactory(content=sections(3))
    indexer.index(document.pk)
    library = Library.objects.get(project=document.project)
    store.delete_document(library.vectordb_id, str(document.pk))
    replace(document, metadata={"a": 1})
    for _ in range(3):
        make_indexer(store, tiny).index(document.pk)
        make_due(document)
    assert Document.objects.get(pk=document.pk).state == "indexed"
    assert len(search(document)) == 3


class TestAnotherEmbedder:
    def test_a_document_waits_and_says_what_to_do(self, indexer, store):
        first = DocumentFactory()
        indexer.index(first.pk)
        second = DocumentFactory(project=first.project)
        other = make_indexer(store, TinyEmbedder("tiny@2"))
        assert other.index(second.pk) is Outcome.POSTPONED
        second.refresh_from_db()
        assert second.state == "pending"
        assert second.error == OTHER_EMBEDDER
        make_due(second)
        assert indexer.index(second.pk) is Outcome.INDEXED

    def test_other_projects_are_indexed_meanwhile(self, indexer, store):
        first = DocumentFactory()
        indexer.index(first.pk)
        other = make_indexer(store, TinyEmbedder("tiny@2"))
        other.index(DocumentFactory(project=first.project).pk)
        assert other.index(DocumentFactory().pk) is Outcome.INDEXED

    def test_a_search_is_refused(self, indexer, tiny):
        document = DocumentFactory()
        indexer.index(document.pk)
        tiny.fingerprint = "tiny@2"
        with pytest.raises(VectorStoreUnavailable):
            search(document)
