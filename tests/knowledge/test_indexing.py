"""Indexing as the owner of a document notices it: whole or not at all."""

from __future__ import annotations

import pytest
from django.db import connection

from knowledge import selectors, services
from knowledge.indexing import Outcome
from knowledge.models import Document
from knowledge.staging import name_chunk
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import make_indexer, replace, search, sections, stored_ids

pytestmark = pytest.mark.django_db


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


def test_no_transaction_is_open_while_texts_are_embedded_or_sent(indexer, interrupted, tiny, transactional_db):
    document = DocumentFactory(content=sections(3))
    states = []
    interrupted.before = lambda call: states.append(connection.in_atomic_block)
    tiny.before_each = lambda: states.append(connection.in_atomic_block)
    assert indexer.index(document.pk) is Outcome.INDEXED
    assert len(states) > 5
    assert not any(states)


def test_index_again_embeds_anew_without_a_gap(indexer, store, tiny):
    document = DocumentFactory(content=sections(3))
    indexer.index(document.pk)
    tiny.embedded.clear()
    assert services.index_again(Document.objects.filter(pk=document.pk)) == 1
    assert len(search(document)) == 3
    indexer.index(document.pk)
    assert len(tiny.embedded) == 3
    assert len(search(document)) == 3
