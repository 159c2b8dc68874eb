"""All of a project's documents, indexed anew, while people ask, change and delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from django.db import connection
from django.db.models.functions import Now

from knowledge import composition, libraries, selectors, services, tasks
from knowledge.claims import MAX_ATTEMPTS
from knowledge.embedders.choice import Embedders
from knowledge.errors import EmbedderUnavailable, LibraryReplaced, ReindexingRunning, VectorStoreUnavailable
from knowledge.indexing import WAITS_FOR_REINDEXING, Outcome, find_due
from knowledge.models import DiscardedLibrary, Document, Library, Reindexing
from knowledge.reindexing import Reindexer, end
from knowledge.staging import name_chunk
from tests.factories.knowledge import DocumentFactory
from tests.factories.teams import ProjectFactory
from tests.knowledge.conftest import make_due, make_indexer, make_reindexer, replace, search, sections, stored_ids
from tests.knowledge.fakes import Killed, TinyEmbedder, WideEmbedder

pytestmark = pytest.mark.django_db

# few of them where `make test` has no time for all
EVERY_STATEMENT = [pytest.param(n, marks=() if n % 8 == 3 else pytest.mark.ci) for n in range(1, 45)]
EVERY_CALL = [pytest.param(n, marks=() if n % 4 == 2 else pytest.mark.ci) for n in range(1, 18)]

NEW = "tests.knowledge.fakes.WideEmbedder"
OLD = "tests.knowledge.fakes.TinyEmbedder"


@pytest.fixture
def old(use_environment, vectordb_server) -> TinyEmbedder:
    """What the libraries of these tests are filled with; `wide` is what the service changes to, and knows both."""
    use_environment(embedder=NEW, previous_embedder=OLD)
    previous = composition.embedders_in_use().previous
    assert isinstance(previous, TinyEmbedder)
    return previous


@pytest.fixture
def wide(old) -> WideEmbedder:
    current = composition.embedder()
    assert isinstance(current, WideEmbedder)
    return current


@pytest.fixture
def store(old):
    return composition.vector_store()


@pytest.fixture
def teach(store, old, project) -> Callable[..., Document]:
    """A document, indexed as it was before the service got another embedder."""

    def index(content: str = sections(3), **fields) -> Document:
        document = DocumentFactory(**{"project": project, "content": content, **fields})
        assert make_indexer(store, old).index(document.pk) is Outcome.INDEXED
        return document

    return index


@pytest.fixture
def reindexer(interrupted, wide, old) -> Reindexer:
    return make_reindexer(interrupted, wide, old)


def start(project) -> Reindexing:
    return services.start_reindexing(project=project)


def let_time_pass() -> None:
    Reindexing.objects.update(advance_after=Now())
    Document.objects.update(index_after=Now())


def shown(document: Document, text: str = "word") -> set[str]:
    return {passage.content.rpartition("\n")[2] for passage in search(document, text)}


def stored_in(store, library_id: str, document: Document) -> set[str]:
    return store.chunk_ids(library_id, str(document.pk))


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


class TestFailures:
    def test_a_document_that_cannot_be_indexed_again_is_carried_over(self, teach, reindexer, wide, project):
        """Its replacement cannot be read; what answers is only in the old library."""
        document, other = teach(sections(3, "old")), teach()
        replace(document, content="<script>nothing to read</script>", content_type="text/html")
        reindexing = start(project)
        make_due(document)
        make_indexer(composition.vector_store(), wide, embedders=composition.embedders_in_use()).index(document.pk)
        let_time_pass()
        for _ in range(3):
            reindexer.advance(reindexing.pk)
            let_time_pass()
            for document_id in find_due(9)[0]:
                reindexer._indexer.index(document_id)
        reindexing.refresh_from_db()
        assert (reindexing.state, reindexing.failed) == ("done", 1)
        document.refresh_from_db()
        assert (document.state, document.live_revision) == ("failed", 1)
        assert shown(document, "old") >= {"The old of section 0.", "The old of section 2."}
        assert len(search(other)) == 6

    def test_one_that_would_be_missing_keeps_the_old_library(self, teach, interrupted, wide, old, project):
        document = teach(sections(3, "poison"))
        teach()
        before = Library.objects.get()

        def choke() -> None:
            raise ValueError

        wide.before_each = choke
        reindexing = start(project)
        reindexer = make_reindexer(interrupted, wide, old)
        for _ in range(8):
            let_time_pass()
            reindexer.advance(reindexing.pk)
        reindexing.refresh_from_db()
        assert reindexing.state == "failed"
        assert "2 documents" in reindexing.error
        assert Library.objects.get().vectordb_id == before.vectordb_id
        assert len(search(document)) == 6
        assert DiscardedLibrary.objects.get().pk == reindexing.vectordb_id
        wide.before_each = lambda: None
        again = start(project)
        assert reindexer.advance(again.pk) is Outcome.INDEXED
        assert len(search(document)) == 6

    @pytest.mark.parametrize(
        ("content", "state", "counts"),
        [(sections(2, "now"), "indexed", (2, 2, 0)), ("<script>nothing</script>", "failed", (2, 1, 1))],
    )
    def test_one_that_failed_before_is_tried_again_ahead_of_the_end(
        self, teach, reindexer, wide, project, content, state, counts
    ):
        teach()
        failed = DocumentFactory(
            project=project, content=content, content_type="text/html", state="failed", error="Broken then."
        )
        reindexing = start(project)
        assert reindexer.advance(reindexing.pk) is Outcome.INDEXED
        failed.refresh_from_db()
        reindexing.refresh_from_db()
        assert (failed.state, reindexing.state) == (state, "done")
        assert failed.error != "Broken then."
        assert (reindexing.total, reindexing.done, reindexing.failed) == counts

    def test_the_end_waits_for_the_last_attempt_at_one_that_failed_before(self, teach, reindexer, wide, project):
        teach()
        failed = DocumentFactory(project=project, content=sections(2, "poison"), state="failed", error="Broken then.")

        def choke() -> None:
            if Document.objects.get(pk=failed.pk).index_attempts:
                raise ValueError

        wide.before_each = choke
        reindexing = start(project)
        turns = 1
        while reindexer.advance(reindexing.pk) is Outcome.POSTPONED:
            assert Reindexing.objects.get().state == "running"
            assert find_due(9) == ([], []), "it is the reindexing's"
            let_time_pass()
            turns += 1
        failed.refresh_from_db()
        reindexing.refresh_from_db()
        assert (turns, failed.state, reindexing.state) == (MAX_ATTEMPTS, "failed", "done")
        assert (reindexing.total, reindexing.done, reindexing.failed) == (2, 1, 1)

    def test_one_that_failed_before_and_was_marked_by_one_called_off_is_the_next_ones(
        self, teach, interrupted, wide, old, reindexer, project
    ):
        failed = DocumentFactory(project=project, content=sections(2, "now"), state="failed", error="Broken then.")
        teach()
        first = start(project)
        make_reindexer(interrupted, wide, old, turn_s=0.0).advance(first.pk)
        assert Document.objects.filter(pk=failed.pk, state="pending", reindexing_id=first.pk).exists()
        services.cancel_reindexing(first.pk)
        second = start(project)
        let_time_pass()
        assert reindexer.advance(second.pk) is Outcome.INDEXED
        second.refresh_from_db()
        assert (second.total, second.done, second.failed) == (2, 2, 0)

    def test_one_that_failed_before_needs_not_the_embedder_from_before(self, teach, interrupted, wide, project):
        teach()
        failed = DocumentFactory(project=project, content=sections(2, "now"), state="failed", error="Broken then.")
        reindexing = start(project)
        assert make_reindexer(interrupted, wide).advance(reindexing.pk) is Outcome.INDEXED
        let_time_pass()
        assert make_reindexer(interrupted, wide)._indexer.index(failed.pk) is Outcome.INDEXED
        assert len(search(failed)) == 5

    @pytest.mark.parametrize("fault", [EmbedderUnavailable("Down.", retry_after_s=7), VectorStoreUnavailable("Down.")])
    def test_an_outage_is_waited_for_and_fails_nothing(self, teach, interrupted, wide, old, project, fault):
        document = teach(sections(5))
        teach()

        def fail(*_) -> None:
            raise fault

        reindexing = start(project)
        if isinstance(fault, EmbedderUnavailable):
            wide.before_each = fail
        else:
            interrupted.before = fail
        reindexer = make_reindexer(interrupted, wide, old)
        assert reindexer.advance(reindexing.pk) is Outcome.POSTPONED
        waiting = Document.objects.filter(state="pending").exclude(error="").count()
        assert waiting <= 1, "one document is enough to find out"
        reindexing.refresh_from_db()
        assert reindexing.state == "running"
        assert reindexing.error
        wide.before_each, interrupted.before = (lambda: None), (lambda call: None)
        let_time_pass()
        make_reindexer(interrupted, wide, old).advance(reindexing.pk)
        assert Reindexing.objects.get().state == "done"
        assert len(search(document)) == 8

    def test_without_the_embedder_that_it_began_with_it_waits_and_says_so(self, teach, interrupted, wide, old, project):
        document = teach()
        reindexing = start(project)
        make_reindexer(interrupted, wide, old, turn_s=0.0).advance(reindexing.pk)
        let_time_pass()
        assert make_reindexer(interrupted, old).advance(reindexing.pk) is Outcome.POSTPONED
        assert "no longer" in Reindexing.objects.get().error
        assert len(search(document)) == 3

    @pytest.mark.parametrize("statement", EVERY_STATEMENT)
    def test_a_worker_killed_at_any_statement_is_followed_by_another(
        self, teach, interrupted, wide, old, project, statement
    ):
        documents = [teach(sections(3, word)) for word in ("red", "blue")]
        seen = 0

        def kill(execute, sql, params, many, context):
            nonlocal seen
            seen += not sql.startswith(("SAVEPOINT", "RELEASE"))
            if seen == statement:
                raise Killed
            return execute(sql, params, many, context)

        reindexing = start(project)
        with suppress(Killed), connection.execute_wrapper(kill):
            make_reindexer(interrupted, wide, old).advance(reindexing.pk)
        assert len(search(documents[0], "red blue")) == 6
        for _ in range(3):
            let_time_pass()
            make_reindexer(interrupted, wide, old).advance(reindexing.pk)
        assert Reindexing.objects.get().state == "done"
        assert len(search(documents[0], "red blue")) == 6
        assert {document.state for document in Document.objects.all()} == {"indexed"}

    @pytest.mark.parametrize("call", EVERY_CALL)
    def test_a_worker_killed_before_any_call_is_followed_by_another(self, teach, interrupted, wide, old, project, call):
        documents = [teach(sections(3, word)) for word in ("red", "blue")]
        left = call

        def kill(name: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        reindexing = start(project)
        interrupted.before = kill
        with suppress(Killed):
            make_reindexer(interrupted, wide, old).advance(reindexing.pk)
        interrupted.before = lambda name: None
        assert len(search(documents[0], "red blue")) == 6
        for _ in range(3):
            let_time_pass()
            make_reindexer(interrupted, wide, old).advance(reindexing.pk)
        assert Reindexing.objects.get().state == "done"
        assert len(search(documents[0], "red blue")) == 6


class TestLostData:
    """vectordb has lost the live library."""

    @pytest.fixture
    def lost(self, teach, store) -> list[Document]:
        documents = [teach(sections(3, word)) for word in ("red", "blue")]
        store.delete_library(Library.objects.get().vectordb_id)
        return documents

    @pytest.mark.parametrize("knows_previous", [True, False])
    def test_it_is_made_again_from_the_rows(self, lost, interrupted, wide, old, project, knows_previous):
        with pytest.raises(VectorStoreUnavailable):
            search(lost[0])
        previous = old if knows_previous else None
        reindexer = make_reindexer(interrupted, wide, previous)
        start(project)
        for _ in range(4):
            let_time_pass()
            for document_id in find_due(9)[0]:
                reindexer._indexer.index(document_id)
            for reindexing in Reindexing.objects.filter(state="running"):
                reindexer.advance(reindexing.pk)
        assert Reindexing.objects.get().state == "done"
        assert {document.state for document in Document.objects.all()} == {"indexed"}
        assert len(search(lost[0], "red blue")) == 6


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
