"""A service that was given another embedder, before its documents are indexed again."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from knowledge import libraries, selectors
from knowledge.embedders.choice import Embedders
from knowledge.errors import LibraryReplaced, VectorStoreUnavailable
from knowledge.indexing import WAITS_FOR_REINDEXING, Outcome, find_due
from knowledge.models import DiscardedLibrary, Document, Reindexing
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import ProjectFactory
from tests.knowledge.conftest import make_indexer, make_reindexer, replace, search, sections
from tests.knowledge.reindexing.steps import NEW, let_time_pass, shown, start

pytestmark = pytest.mark.django_db


class TestAnotherEmbedder:
    """The service was given another one, and nobody has the documents indexed again yet."""

    def test_questions_are_embedded_with_the_one_before(self, teach, wide, project):
        document = teach()
        place = selectors.find_place(project.pk)
        assert place.embedder.fingerprint == "tiny@1"
        assert len(search(document)) == 3
        assert selectors.find_place(ProjectFactory().pk).embedder is wide

    def test_new_and_changed_documents_are_embedded_with_it_too(self, teach, store, wide, old, project):
        document = teach()
        replace(document, content=sections(2, "new"))
        added = DocumentFactory(project=project, content=sections(1, "added"))
        indexer = make_indexer(store, wide, embedders=Embedders(wide, old))
        assert indexer.index(document.pk) is Outcome.INDEXED
        assert indexer.index(added.pk) is Outcome.INDEXED
        assert wide.embedded == []
        assert len(search(document)) == 3

    def test_a_change_of_metadata_needs_no_embedder(self, teach, store, wide):
        document = teach(metadata={"language": "en"})
        replace(document, metadata={"language": "de"})
        assert make_indexer(store, wide).index(document.pk) is Outcome.INDEXED
        assert len(search(document, filters={"language": "de"})) == 3

    def test_without_the_one_before_a_reindexing_brings_the_answers_back(
        self, teach, store, wide, use_environment, project
    ):
        document = teach(sections(3, "old"))
        use_environment(embedder=NEW, previous_embedder=None)
        with pytest.raises(VectorStoreUnavailable):
            search(document)
        replace(document, content=sections(2, "new"))
        added = DocumentFactory(project=project, content=sections(1, "added"))
        reindexing = start(project)
        reindexer = make_reindexer(store, wide)
        for _ in range(4):
            reindexer.advance(reindexing.pk)
            let_time_pass()
            for document_id in find_due(9)[0]:
                reindexer._indexer.index(document_id)
            if Reindexing.objects.get().state == "running":
                assert {each.error for each in Document.objects.filter(state="pending")} <= {"", WAITS_FOR_REINDEXING}
            let_time_pass()
        assert Reindexing.objects.get().state == "done"
        let_time_pass()
        for document_id in find_due(9)[0]:
            reindexer._indexer.index(document_id)
        assert {each.state for each in Document.objects.all()} == {"indexed"}
        assert shown(document, "new added") == {
            "The new of section 0.",
            "The new of section 1.",
            "The added of section 0.",
        }
        added.refresh_from_db()
        assert (added.live_revision, added.chunk_count) == (1, 1)

    def test_a_search_begun_before_the_switch_is_begun_anew_after_the_old_library_is_gone(
        self, teach, reindexer, store, project
    ):
        document = teach()
        place = selectors.find_place(project.pk)
        reindexer.advance(start(project).pk)
        embedding = place.embedder.embed_query("word")
        assert len(selectors.search_passages(place, embedding=embedding, text="word", k=9)) == 3, "it is not gone yet"
        DiscardedLibrary.objects.update(delete_after=Now())
        libraries.delete_due(store)
        with pytest.raises(LibraryReplaced):
            selectors.search_passages(place, embedding=embedding, text="word", k=9)
        assert len(search(document)) == 3
