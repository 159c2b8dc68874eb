"""Reindexing while documents, neighbours and workers fail."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import connection

from knowledge import composition, services
from knowledge.claims import MAX_ATTEMPTS
from knowledge.errors import EmbedderUnavailable, VectorStoreUnavailable
from knowledge.indexing import Outcome, find_due
from knowledge.models import DiscardedLibrary, Document, Library, Reindexing
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import make_due, make_indexer, make_reindexer, replace, search, sections
from tests.knowledge.fakes import Killed
from tests.knowledge.reindexing.steps import let_time_pass, shown, start

pytestmark = pytest.mark.django_db

# few of them where `make test` has no time for all
EVERY_STATEMENT = [pytest.param(n, marks=() if n % 8 == 3 else pytest.mark.ci) for n in range(1, 45)]
EVERY_CALL = [pytest.param(n, marks=() if n % 4 == 2 else pytest.mark.ci) for n in range(1, 18)]


def end_by_others(reindexing: Reindexing, *parts) -> None:
    """What a killed worker left is done by others, one after another."""
    for _ in range(3):
        let_time_pass()
        make_reindexer(*parts).advance(reindexing.pk)
    assert Reindexing.objects.get().state == "done"


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
        end_by_others(reindexing, interrupted, wide, old)
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
        end_by_others(reindexing, interrupted, wide, old)
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
