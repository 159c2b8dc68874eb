"""Indexing as the owner of a document notices it: whole or not at all, whatever fails on the way."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
from django.db import connection
from django.utils import timezone

from knowledge import claims, composition, selectors, services
from knowledge.errors import EmbedderUnavailable, VectorStoreRefused, VectorStoreUnavailable
from knowledge.indexing import GIVEN_UP, Outcome, find_due, name_chunk
from knowledge.models import Document, Library
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import make_due, make_indexer, sections, stored_ids
from tests.knowledge.fakes import Killed, TinyEmbedder, embed

pytestmark = pytest.mark.django_db


def search(document: Document, text: str = "word", k: int = 50, **options) -> list[selectors.FoundPassage]:
    return selectors.search_passages(document.project_id, embedding=embed(text), text=text, k=k, **options)


def replace(document: Document, **changes) -> None:
    services.update_document(project=document.project, document_id=document.pk, changes=changes)


def kill_before(wanted: str, occurrence: int = 1):
    seen = 0

    def before(call: str) -> None:
        nonlocal seen
        seen += call == wanted
        if call == wanted and seen == occurrence:
            raise Killed

    return before


def kill(indexer, document: Document) -> None:
    with pytest.raises(Killed):
        indexer.index(document.pk)


def test_a_new_document_is_found_once_it_is_indexed(indexer):
    document = DocumentFactory(title="Guide", source_url="https://example.com/guide", content=sections(5))
    assert search(document) == []

    assert indexer.index(document.pk) is Outcome.INDEXED

    document.refresh_from_db()
    assert (document.state, document.error, document.chunk_count) == ("indexed", "", 5)
    assert document.indexed_at is not None
    found = search(document, "word of section 3")
    assert len(found) == 5
    assert found[0].content == "## Section 3\n\nThe word of section 3."
    assert (found[0].title, found[0].source_url) == ("Guide", "https://example.com/guide")
    assert found[0].cosine == max(passage.cosine for passage in found) <= 1.0001
    assert [passage.score for passage in found] == sorted((passage.score for passage in found), reverse=True)


def test_a_document_that_is_indexed_is_not_claimed_again(indexer, tiny):
    document = DocumentFactory()
    indexer.index(document.pk)
    tiny.embedded.clear()
    assert indexer.index(document.pk) is Outcome.NOTHING_TO_DO
    assert tiny.embedded == []


def test_answers_are_drawn_from_the_old_revision_until_the_new_one_is_whole(indexer, interrupted, store):
    document = DocumentFactory(content=sections(5, "old"))
    indexer.index(document.pk)
    replace(document, content=sections(7, "new"))
    seen = []

    def look(call: str) -> None:
        seen.append({passage.content.split()[4] for passage in search(document, "new old")})

    interrupted.before = look
    assert indexer.index(document.pk) is Outcome.INDEXED
    assert {"old"} in seen
    assert all(words in ({"old"}, {"new"}) for words in seen)
    assert {passage.content.split()[4] for passage in search(document, "new old")} == {"new"}
    assert stored_ids(store, document) == {name_chunk(document.pk, 2, n) for n in range(7)}


def test_a_shorter_replacement_leaves_no_tail(indexer, store):
    document = DocumentFactory(content=sections(9))
    indexer.index(document.pk)
    replace(document, content=sections(1))
    indexer.index(document.pk)
    assert stored_ids(store, document) == {name_chunk(document.pk, 2, 0)}


def test_metadata_alone_is_not_embedded_and_moves_the_filter(indexer, tiny):
    document = DocumentFactory(content=sections(3), metadata={"language": "en"})
    indexer.index(document.pk)
    indexed_at = Document.objects.get(pk=document.pk).indexed_at
    tiny.embedded.clear()
    replace(document, metadata={"language": "de"})
    assert len(search(document, filters={"language": "en"})) == 3

    assert indexer.index(document.pk) is Outcome.INDEXED

    document.refresh_from_db()
    assert tiny.embedded == []
    assert (document.state, document.revision, document.indexed_at) == ("indexed", 1, indexed_at)
    assert search(document, filters={"language": "en"}) == []
    assert len(search(document, filters={"language": "de"})) == 3


def test_a_source_url_alone_needs_no_work(indexer):
    document = DocumentFactory()
    indexer.index(document.pk)
    replace(document, source_url="https://example.com/moved")
    document.refresh_from_db()
    assert document.state == "indexed"
    assert search(document)[0].source_url == "https://example.com/moved"


def test_a_change_during_indexing_is_not_lost(indexer, interrupted):
    document = DocumentFactory(content=sections(4, "old"))

    def change(call: str) -> None:
        if call == "chunk_ids":
            interrupted.before = lambda call: None
            replace(document, metadata={"version": 2})

    interrupted.before = change
    assert indexer.index(document.pk) is Outcome.UNFINISHED
    assert indexer.index(document.pk) is Outcome.INDEXED
    assert len(search(document, filters={"version": 2})) == 4


def test_a_new_revision_during_indexing_takes_the_place_of_the_one_begun(indexer, interrupted, store):
    document = DocumentFactory(content=sections(6, "old"))

    def change(call: str) -> None:
        if call == "put_chunks":
            interrupted.before = lambda call: None
            replace(document, content=sections(2, "new"))

    interrupted.before = change
    assert indexer.index(document.pk) is Outcome.UNFINISHED
    assert search(document) == []
    assert indexer.index(document.pk) is Outcome.INDEXED
    assert stored_ids(store, document) == {name_chunk(document.pk, 2, n) for n in range(2)}


def test_one_document_is_indexed_by_one_worker_at_a_time(indexer, interrupted):
    document = DocumentFactory(content=sections(4))
    others = []
    interrupted.before = lambda call: others.append(indexer.index(document.pk))
    assert indexer.index(document.pk) is Outcome.INDEXED
    assert set(others) == {Outcome.NOTHING_TO_DO}


def test_a_large_document_is_indexed_by_several_tasks_and_no_piece_is_embedded_twice(store, tiny):
    document = DocumentFactory(content=sections(9))
    indexer = make_indexer(store, tiny, budget_s=0)
    outcomes = [indexer.index(document.pk) for _ in range(5)]
    assert outcomes == [Outcome.UNFINISHED] * 4 + [Outcome.INDEXED]
    assert len(tiny.embedded) == len(set(tiny.embedded)) == 9
    assert len(search(document)) == 9


def test_progress_is_seen_while_it_is_made(store, tiny):
    document = DocumentFactory(content=sections(9))
    make_indexer(store, tiny, budget_s=0).index(document.pk)
    assert Document.objects.get(pk=document.pk).staged_chunks == 2
    assert selectors.count_progress([document.pk]) == selectors.Progress(1, 0, 0, 2)


CALLS = ["ensure_library", "put_document", "put_chunks", "chunk_ids"]


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


def test_no_transaction_is_open_while_texts_are_embedded_or_sent(indexer, interrupted, tiny, transactional_db):
    document = DocumentFactory(content=sections(3))
    states = []
    interrupted.before = lambda call: states.append(connection.in_atomic_block)
    tiny.before_each = lambda: states.append(connection.in_atomic_block)
    assert indexer.index(document.pk) is Outcome.INDEXED
    assert len(states) > 5
    assert not any(states)


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


def test_index_again_embeds_anew_without_a_gap(indexer, store, tiny):
    document = DocumentFactory(content=sections(3))
    indexer.index(document.pk)
    tiny.embedded.clear()
    assert services.index_again(Document.objects.filter(pk=document.pk)) == 1
    assert len(search(document)) == 3
    indexer.index(document.pk)
    assert len(tiny.embedded) == 3
    assert len(search(document)) == 3


class TestDeletion:
    def test_a_deleted_document_is_hidden_at_once_then_erased(self, indexer, store):
        document = DocumentFactory(content=sections(3))
        indexer.index(document.pk)
        services.delete_document(project=document.project, document_id=document.pk)
        assert search(document) == []
        assert find_due(10) == ([], [document.pk])
        indexer.erase(document.pk)
        assert stored_ids(store, document) == set()
        assert not Document.objects.filter(pk=document.pk).exists()

    def test_a_document_that_was_never_indexed_is_erased(self, indexer):
        document = DocumentFactory()
        services.delete_document(project=document.project, document_id=document.pk)
        indexer.erase(document.pk)
        assert not Document.objects.filter(pk=document.pk).exists()

    def test_a_document_that_is_not_deleted_is_never_erased(self, indexer):
        document = DocumentFactory()
        assert indexer.erase(document.pk) is Outcome.NOTHING_TO_DO
        assert Document.objects.filter(pk=document.pk).exists()

    @pytest.mark.parametrize("call", CALLS)
    def test_an_indexing_beside_a_deletion_brings_nothing_back(self, indexer, interrupted, store, call):
        document = DocumentFactory(content=sections(5))

        def delete(name: str) -> None:
            if name == call:
                interrupted.before = lambda name: None
                services.delete_document(project=document.project, document_id=document.pk)
                indexer.erase(document.pk)

        interrupted.before = delete
        indexer.index(document.pk)
        assert search(document) == []
        assert find_due(10) == ([], [document.pk])
        indexer.erase(document.pk)
        assert stored_ids(store, document) == set()
        assert not Document.objects.filter(pk=document.pk).exists()

    @pytest.mark.parametrize("call", CALLS)
    def test_a_worker_killed_beside_a_deletion_leaves_nothing_for_good(self, indexer, interrupted, store, call):
        document = DocumentFactory(content=sections(5))

        def delete(name: str) -> None:
            if name == call:
                interrupted.before = lambda name: None
                services.delete_document(project=document.project, document_id=document.pk)
                indexer.erase(document.pk)
                interrupted.before = kill_before("put_chunks", 2)

        interrupted.before = delete
        with suppress(Killed):
            indexer.index(document.pk)
        interrupted.before = lambda name: None
        make_due(document)
        indexer.erase(document.pk)
        assert stored_ids(store, document) == set()
        assert not Document.objects.filter(pk=document.pk).exists()

    def test_an_erasure_waits_for_a_vectordb_that_is_down(self, indexer, interrupted):
        document = DocumentFactory()
        indexer.index(document.pk)
        services.delete_document(project=document.project, document_id=document.pk)

        def fail(call: str) -> None:
            raise VectorStoreUnavailable("Down.")

        interrupted.before = fail
        assert indexer.erase(document.pk) is Outcome.POSTPONED
        assert Document.objects.filter(pk=document.pk).exists()
        assert find_due(10) == ([], [])


class TestAnotherEmbedder:
    def test_a_document_waits_and_says_what_to_do(self, indexer, store):
        first = DocumentFactory()
        indexer.index(first.pk)
        second = DocumentFactory(project=first.project)
        other = make_indexer(store, TinyEmbedder("tiny@2"))
        assert other.index(second.pk) is Outcome.POSTPONED
        second.refresh_from_db()
        assert second.state == "pending"
        assert "Set EMBEDDER back" in second.error
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
