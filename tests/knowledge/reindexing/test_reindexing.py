"""All of a project's documents, indexed anew, while people ask, change and delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db.models.functions import Now

from knowledge import composition, libraries, services, tasks
from knowledge.embedders.choice import Embedders
from knowledge.errors import ReindexingRunning
from knowledge.indexing import Outcome, find_due
from knowledge.models import DiscardedLibrary, Document, Library, Reindexing
from knowledge.reindexing import Reindexer, end
from knowledge.staging import name_chunk
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import ProjectFactory
from tests.knowledge.conftest import make_indexer, make_reindexer, replace, search, sections, stored_ids
from tests.knowledge.fakes import TinyEmbedder
from tests.knowledge.reindexing.steps import let_time_pass, shown, start, stored_in

pytestmark = pytest.mark.django_db


def test_every_document_is_embedded_anew_and_the_old_library_left_to_be_deleted(teach, reindexer, wide, store, project):
    documents = [teach(sections(count)) for count in (1, 3, 5)]
    before = Library.objects.get().vectordb_id
    reindexing = start(project)

    assert reindexer.advance(reindexing.pk) is Outcome.INDEXED

    library = Library.objects.get()
    assert (library.embedder_fingerprint, library.dimension) == ("wide@1", 64)
    assert len(wide.embedded) == 9
    for document in documents:
        document.refresh_from_db()
        assert document.state == "indexed"
        assert stored_in(store, library.vectordb_id, document) == {
            name_chunk(document.pk, 1, n) for n in range(document.chunk_count)
        }
    assert len(search(documents[2])) == 9
    reindexing.refresh_from_db()
    assert (reindexing.state, reindexing.error) == ("done", "")
    assert (reindexing.total, reindexing.done, reindexing.failed) == (3, 3, 0)
    assert reindexing.finished_at is not None
    assert DiscardedLibrary.objects.get().pk == before
    DiscardedLibrary.objects.update(delete_after=Now())
    libraries.delete_due(store)
    assert stored_in(store, before, documents[0]) == set()
    assert len(search(documents[2])) == 9


def test_with_the_same_embedder_it_is_a_library_of_its_own_too(teach, store, old, project):
    document = teach()
    before = Library.objects.get().vectordb_id
    assert make_reindexer(store, old).advance(start(project).pk) is Outcome.INDEXED
    assert Library.objects.get().vectordb_id != before
    assert len(search(document)) == 3


def test_answers_never_lack_a_document_meanwhile(teach, reindexer, interrupted, project):
    documents = [teach(sections(3, word)) for word in ("red", "blue")]
    seen = []

    def look(call: str) -> None:
        interrupted.before = lambda call: None
        seen.append({passage.content.split()[4] for passage in search(documents[0], "red blue")})
        interrupted.before = look

    interrupted.before = look
    assert reindexer.advance(start(project).pk) is Outcome.INDEXED
    assert len(seen) > 10
    assert all(words == {"red", "blue"} for words in seen)


def test_a_project_without_documents_is_done_at_once(reindexer, project):
    reindexing = start(project)
    assert reindexer.advance(reindexing.pk) is Outcome.INDEXED
    assert Library.objects.get().embedder_fingerprint == "wide@1"


def test_turns_are_short_and_the_next_one_goes_on(teach, interrupted, wide, old, project):
    document = teach(sections(9))
    reindexer = make_reindexer(interrupted, wide, old, turn_s=0.0)
    reindexing = start(project)
    turns = 0
    while reindexer.advance(reindexing.pk) is Outcome.UNFINISHED:
        turns += 1
        assert search(document)
    assert turns >= 1
    assert len(wide.embedded) == len(set(wide.embedded)) == 9
    assert len(search(document)) == 9


def test_a_large_document_takes_several_turns(teach, interrupted, wide, old, project):
    document = teach(sections(9))
    embedders = Embedders(wide, old)
    indexer = make_indexer(interrupted, wide, embedders=embedders, budget_s=0.0)
    reindexer = Reindexer(store=interrupted, embedders=embedders, indexer=indexer)
    reindexer.advance(start(project).pk)
    assert len(wide.embedded) == len(set(wide.embedded)) == 9
    assert len(search(document)) == 9


def test_one_worker_at_a_time_takes_a_turn(teach, reindexer, interrupted, project):
    teach()
    reindexing = start(project)
    others = []
    interrupted.before = lambda call: others.append(reindexer.advance(reindexing.pk))
    assert reindexer.advance(reindexing.pk) is Outcome.INDEXED
    assert set(others) == {Outcome.NOTHING_TO_DO}


def test_a_second_one_meanwhile_is_refused(teach, project):
    teach()
    start(project)
    with pytest.raises(ReindexingRunning):
        start(project)
    start(ProjectFactory())


def test_one_whose_embedder_was_replaced_is_superseded(teach, interrupted, old, reindexer, project):
    document = teach(sections(9))
    third = TinyEmbedder("tiny@3")
    first = start(project)
    make_reindexer(interrupted, third, old, turn_s=0.0).advance(first.pk)
    abandoned = Reindexing.objects.get().vectordb_id
    assert abandoned
    second = start(project)
    first.refresh_from_db()
    assert first.state == "cancelled"
    assert DiscardedLibrary.objects.get().pk == abandoned
    let_time_pass()
    assert reindexer.advance(first.pk) is Outcome.NOTHING_TO_DO
    assert reindexer.advance(second.pk) is Outcome.INDEXED
    assert Library.objects.get().embedder_fingerprint == "wide@1"
    assert len(search(document)) == 9


def test_one_that_is_called_off_leaves_the_old_library(teach, interrupted, wide, old, project):
    document = teach(sections(9))
    before = Library.objects.get().vectordb_id
    reindexing = start(project)
    make_reindexer(interrupted, wide, old, turn_s=0.0).advance(reindexing.pk)
    assert services.cancel_reindexing(reindexing.pk)
    assert not services.cancel_reindexing(reindexing.pk)
    assert Library.objects.get().vectordb_id == before
    let_time_pass()
    assert find_due(9) == ([document.pk], [])
    assert make_indexer(interrupted, wide, embedders=Embedders(wide, old)).index(document.pk) is Outcome.INDEXED
    assert len(search(document)) == 9
    start(project)


class TestMeanwhile:
    """Documents are written between any two calls of the store."""

    @pytest.fixture
    def during(self, interrupted) -> Iterator[Callable[..., None]]:
        """Do something once, before the n-th call of that name."""

        def arrange(action: Callable[[], object], call: str = "put_chunks", occurrence: int = 1) -> None:
            left = occurrence

            def before(name: str) -> None:
                nonlocal left
                left -= name == call
                if left == 0 and name == call:
                    interrupted.before = lambda name: None
                    action()

            interrupted.before = before

        yield arrange
        interrupted.before = lambda name: None

    @pytest.fixture
    def finish(self, reindexer, interrupted, wide, old, project) -> Callable[[], None]:
        def until_done() -> None:
            indexer = make_indexer(interrupted, wide, embedders=Embedders(wide, old))
            for _ in range(6):
                let_time_pass()
                to_index, to_erase = find_due(20)
                for document_id in to_erase:
                    indexer.erase(document_id)
                for document_id in to_index:
                    indexer.index(document_id)
                for reindexing in Reindexing.objects.filter(state="running"):
                    reindexer.advance(reindexing.pk)
            assert Reindexing.objects.get(project=project).state == "done"

        return until_done

    @pytest.mark.parametrize("call", ["ensure_library", "put_document", "put_chunks", "chunk_ids"])
    @pytest.mark.parametrize("occurrence", [1, 3])
    def test_a_changed_document_is_right_in_the_end(self, teach, during, finish, reindexer, project, call, occurrence):
        document, other = teach(sections(5, "old")), teach(sections(3, "other"))
        reindexing = start(project)
        during(lambda: replace(document, content=sections(2, "new")), call, occurrence)
        reindexer.advance(reindexing.pk)
        assert shown(document, "old new other") >= {"The other of section 0."}
        finish()
        assert shown(document, "old new other") == {
            "The new of section 0.",
            "The new of section 1.",
            *(f"The other of section {n}." for n in range(3)),
        }
        assert stored_ids(composition.vector_store(), document) == {name_chunk(document.pk, 2, n) for n in range(2)}
        assert stored_ids(composition.vector_store(), other) == {name_chunk(other.pk, 1, n) for n in range(3)}

    @pytest.mark.parametrize("occurrence", [1, 2, 3])
    def test_changed_metadata_are_right_in_the_end(self, teach, during, finish, reindexer, project, occurrence):
        document = teach(sections(5), metadata={"language": "en"})
        teach(sections(2))
        reindexing = start(project)
        during(lambda: replace(document, metadata={"language": "de"}), "put_chunks", occurrence)
        reindexer.advance(reindexing.pk)
        finish()
        assert len(search(document, filters={"language": "de"})) == 5
        assert search(document, filters={"language": "en"}) == []

    def test_a_new_document_is_in_the_new_library(self, teach, during, finish, reindexer, project):
        document = teach()
        reindexing = start(project)
        added = []
        during(lambda: added.append(DocumentFactory(project=project, content=sections(2, "new"))))
        reindexer.advance(reindexing.pk)
        finish()
        assert shown(document, "new") >= {"The new of section 0.", "The new of section 1."}

    def test_one_that_fails_is_tried_once_more_and_counted(self, teach, during, finish, reindexer, project):
        teach()
        reindexing = start(project)
        unreadable = {"content": "<script>nothing</script>", "content_type": "text/html", "state": "failed"}
        during(lambda: DocumentFactory(project=project, **unreadable))
        assert reindexer.advance(reindexing.pk) is Outcome.POSTPONED
        finish()
        reindexing.refresh_from_db()
        assert (reindexing.total, reindexing.done, reindexing.failed) == (2, 1, 1)

    @pytest.mark.parametrize("call", ["ensure_library", "put_document", "put_chunks", "chunk_ids"])
    def test_a_deleted_document_never_comes_back(
        self, teach, during, finish, reindexer, interrupted, wide, project, call
    ):
        document, other = teach(sections(5, "deleted")), teach(sections(2, "kept"))
        reindexing = start(project)

        def delete() -> None:
            services.delete_document(project=project, document_id=document.pk)
            make_indexer(interrupted, wide).erase(document.pk)

        during(delete, call)
        reindexer.advance(reindexing.pk)
        assert shown(other, "deleted kept") == {"The kept of section 0.", "The kept of section 1."}
        finish()
        assert shown(other, "deleted kept") == {"The kept of section 0.", "The kept of section 1."}
        assert stored_ids(composition.vector_store(), document) == set()
        assert not Document.objects.filter(pk=document.pk).exists()

    def test_a_worker_that_publishes_beside_the_switch_publishes_nothing_into_the_old_library(
        self, teach, during, finish, reindexer, interrupted, wide, old, project
    ):
        """It has stored a new revision in the library that was live: it is not live any more."""
        document = teach(sections(3, "old"))
        reindexing = start(project)
        replace(document, content=sections(3, "new"))
        Document.objects.filter(pk=document.pk).update(index_after=Now())
        slow = make_indexer(interrupted, wide, embedders=Embedders(wide, old))

        def switch() -> None:
            # as if another worker had rebuilt the revision from before, and found nothing missing
            library = Library.objects.get()
            end(reindexing.pk, Reindexing.State.DONE)
            library.vectordb_id = Reindexing.objects.get().vectordb_id or f"{library.vectordb_id}-2"
            library.save()

        during(switch, "chunk_ids")
        assert slow.index(document.pk) is Outcome.UNFINISHED
        assert Document.objects.get(pk=document.pk).live_revision == 1


def test_the_sweeper_goes_on_with_what_no_message_announced(teach, project, monkeypatch):
    document = teach()
    nudged = []
    monkeypatch.setattr(tasks.advance_reindexing, "nudge", nudged.append)
    reindexing = start(project)
    tasks.sweep_documents()
    assert nudged == [str(reindexing.pk)]
    tasks.advance_reindexing(str(reindexing.pk))
    assert Reindexing.objects.get().state == "done"
    assert search(document)
    tasks.sweep_documents()
    assert len(nudged) == 1


def test_documents_that_only_wait_for_their_turn_hold_up_no_others(teach, interrupted, wide, old, project):
    for _ in range(3):
        teach()
    make_reindexer(interrupted, wide, old, turn_s=0.0).advance(start(project).pk)
    let_time_pass()
    assert Document.objects.filter(state="pending").count() >= 2
    fresh = DocumentFactory(project=project)
    assert find_due(9) == ([fresh.pk], [])


def test_a_deleted_project_takes_the_library_that_is_being_built_along(teach, interrupted, wide, old, project):
    teach()
    make_reindexer(interrupted, wide, old, turn_s=0.0).advance(start(project).pk)
    ids = {Library.objects.get().vectordb_id, Reindexing.objects.get().vectordb_id}
    project.delete()
    assert set(DiscardedLibrary.objects.values_list("pk", flat=True)) == ids


def test_a_reindexing_that_is_over_takes_no_library_along(teach, reindexer, project):
    teach()
    reindexer.advance(start(project).pk)
    before = set(DiscardedLibrary.objects.values_list("pk", flat=True))
    Reindexing.objects.all().delete()
    assert set(DiscardedLibrary.objects.values_list("pk", flat=True)) == before
