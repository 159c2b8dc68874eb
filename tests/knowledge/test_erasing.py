"""Deleted documents: hidden at once, erased in the end, whatever was being done to them."""

from __future__ import annotations

from contextlib import suppress

import pytest

from knowledge import services
from knowledge.errors import VectorStoreUnavailable
from knowledge.indexing import Outcome, find_due
from knowledge.models import Document
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import CALLS, kill_before, make_due, search, sections, stored_ids
from tests.knowledge.fakes import Killed

pytestmark = pytest.mark.django_db


def test_a_deleted_document_is_hidden_at_once_then_erased(indexer, store):
    document = DocumentFactory(content=sections(3))
    indexer.index(document.pk)
    services.delete_document(project=document.project, document_id=document.pk)
    assert search(document) == []
    assert find_due(10) == ([], [document.pk])
    indexer.erase(document.pk)
    assert stored_ids(store, document) == set()
    assert not Document.objects.filter(pk=document.pk).exists()


def test_a_document_that_was_never_indexed_is_erased(indexer):
    document = DocumentFactory()
    services.delete_document(project=document.project, document_id=document.pk)
    indexer.erase(document.pk)
    assert not Document.objects.filter(pk=document.pk).exists()


def test_a_document_that_is_not_deleted_is_never_erased(indexer):
    document = DocumentFactory()
    assert indexer.erase(document.pk) is Outcome.NOTHING_TO_DO
    assert Document.objects.filter(pk=document.pk).exists()


@pytest.mark.parametrize("call", CALLS)
def test_an_indexing_beside_a_deletion_brings_nothing_back(indexer, interrupted, store, call):
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
def test_a_worker_killed_beside_a_deletion_leaves_nothing_for_good(indexer, interrupted, store, call):
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


def test_an_erasure_waits_for_a_vectordb_that_is_down(indexer, interrupted):
    document = DocumentFactory()
    indexer.index(document.pk)
    services.delete_document(project=document.project, document_id=document.pk)

    def fail(call: str) -> None:
        raise VectorStoreUnavailable("Down.")

    interrupted.before = fail
    assert indexer.erase(document.pk) is Outcome.POSTPONED
    assert Document.objects.filter(pk=document.pk).exists()
    assert find_due(10) == ([], [])
