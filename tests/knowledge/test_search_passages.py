"""What the Retriever is given."""

from __future__ import annotations

import pytest

from knowledge import selectors, services
from knowledge.models import Document, Library
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import sections
from tests.knowledge.fakes import embed

pytestmark = pytest.mark.django_db


def search(project, text: str = "word", k: int = 10, **options) -> list[selectors.FoundPassage]:
    return selectors.search_passages(selectors.find_place(project.pk), embedding=embed(text), text=text, k=k, **options)


@pytest.fixture
def teach(indexer, project):
    def index(content: str, **fields) -> Document:
        document = DocumentFactory(**{"project": project, "content": content, **fields})
        indexer.index(document.pk)
        return document

    return index


def test_a_project_without_documents_finds_nothing(project, store):
    assert search(project) == []


def test_a_library_that_vectordb_does_not_know_finds_nothing(project, store, tiny):
    Library.objects.create(
        project=project, vectordb_id="nowhere", embedder_fingerprint=tiny.fingerprint, dimension=tiny.dimension
    )
    assert search(project) == []


def test_no_more_than_k_best_first(teach, project):
    teach(sections(9))
    found = search(project, "section 4", k=3)
    assert len(found) == 3
    assert "section 4" in found[0].content


def test_another_project_is_never_searched(teach, project, indexer):
    teach("# Ours\n\nThe word is ours.")
    foreign = DocumentFactory(content="# Theirs\n\nThe word is theirs.")
    indexer.index(foreign.pk)
    assert {passage.content for passage in search(project)} == {"## Ours\n\nThe word is ours."}
    assert {passage.document_id for passage in search(foreign.project)} == {str(foreign.pk)}


def test_a_large_deleted_document_takes_no_ones_place(teach, project):
    kept = teach("# Kept\n\nSomething about the word.")
    deleted = teach(sections(60))
    services.delete_document(project=project, document_id=deleted.pk)
    assert [passage.document_id for passage in search(project, k=2)] == [str(kept.pk)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"language": "en"}, {"en"}),
        ({"language": "en", "version": 1}, {"en"}),
        ({"version": 1}, {"en", "de"}),
        ({"draft": True}, {"de"}),
        ({"language": "fr"}, set()),
        ({"unknown": 1}, set()),
        ({"": 1}, set()),
        ({"version": 2**70}, set()),
        ({}, {"en", "de"}),
    ],
)
def test_filters_are_equality_on_the_documents_metadata(teach, project, filters, expected):
    names = {
        str(teach("# Title\n\nA word.", metadata={"language": "en", "version": 1}).pk): "en",
        str(teach("# Titel\n\nEin word.", metadata={"language": "de", "version": 1, "draft": True}).pk): "de",
    }
    assert {names[passage.document_id] for passage in search(project, filters=filters)} == expected


def test_a_search_costs_two_queries_whatever_it_finds(teach, project, django_assert_num_queries):
    for _ in range(4):
        teach(sections(3))
    with django_assert_num_queries(2):
        assert len(search(project, k=10)) == 10


def test_a_question_longer_than_vectordb_takes_is_still_searched(teach, project):
    teach(sections(2))
    assert search(project, "word " * 5_000)
