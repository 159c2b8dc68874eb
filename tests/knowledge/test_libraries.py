"""Libraries that no project uses any more."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from knowledge import libraries, tasks
from knowledge.errors import VectorStoreUnavailable
from knowledge.models import DiscardedLibrary, Library
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import sections

pytestmark = pytest.mark.django_db


def let_time_pass() -> None:
    DiscardedLibrary.objects.update(delete_after=Now())


@pytest.fixture
def discarded(indexer) -> str:
    """The library of a project that was deleted."""
    document = DocumentFactory(content=sections(3))
    indexer.index(document.pk)
    vectordb_id = Library.objects.get().vectordb_id
    document.project.delete()
    return vectordb_id


def test_a_deleted_projects_library_goes_when_nobody_can_be_at_work_in_it(discarded, store):
    assert not Library.objects.exists()
    assert not libraries.are_due()
    libraries.delete_due(store)
    assert DiscardedLibrary.objects.get().pk == discarded
    let_time_pass()
    assert libraries.are_due()
    libraries.delete_due(store)
    assert not DiscardedLibrary.objects.exists()
    store.delete_library(discarded)  # that it is not there is no error


def test_a_document_that_is_deleted_takes_no_library_along(indexer):
    document = DocumentFactory(content=sections(3))
    indexer.index(document.pk)
    document.delete()
    assert not DiscardedLibrary.objects.exists()


def test_a_vectordb_that_is_down_is_waited_for(discarded, interrupted):
    def fail(call: str) -> None:
        raise VectorStoreUnavailable("Down.")

    let_time_pass()
    interrupted.before = fail
    libraries.delete_due(interrupted)
    assert libraries.are_due()


def test_the_sweeper_has_it_done(discarded, monkeypatch):
    nudged = []
    monkeypatch.setattr(tasks.delete_libraries, "nudge", lambda: nudged.append(True))
    tasks.sweep_documents()
    assert nudged == []
    let_time_pass()
    tasks.sweep_documents()
    assert nudged == [True]
    tasks.delete_libraries()
    assert not DiscardedLibrary.objects.exists()
