"""Whatever is done to documents, in whatever order, and wherever workers die: in the end vectordb holds what the rows
say, and at no moment is a part of a document shown, or one that was deleted."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knowledge import selectors, services
from knowledge.embedders.choice import Embedders
from knowledge.errors import DocumentNotFound, EmbedderUnavailable, ReindexingRunning, VectorStoreUnavailable
from knowledge.indexing import find_due
from knowledge.models import Document, Reindexing
from knowledge.reindexing import Reindexer, find_due_reindexings
from knowledge.services import Draft
from knowledge.staging import name_chunk
from tests.factories.teams import ProjectFactory
from tests.knowledge.conftest import make_due, make_indexer, sections, stored_ids
from tests.knowledge.fakes import Killed, embed

pytestmark = pytest.mark.django_db

NAMES = st.sampled_from(["a", "a", "b"])
PUT = st.tuples(st.just("put"), NAMES, st.tuples(st.integers(1, 5), st.sampled_from(["red", "blue"])))
METADATA = st.tuples(st.just("metadata"), NAMES, st.integers(0, 3))
DELETE = st.tuples(st.just("delete"), NAMES, st.none())
REINDEX = st.tuples(st.just("reindex"), NAMES, st.none())
WRITE = st.one_of(PUT, PUT, METADATA, DELETE, REINDEX)
FAULTS = st.sampled_from(
    [Killed(), Killed(), VectorStoreUnavailable("Down."), EmbedderUnavailable("Down."), ValueError()]
)
# something is written; then a worker does what is due, before whose n-th call something happens; then time may pass
ROUNDS = st.lists(
    st.tuples(WRITE, st.integers(1, 8), st.one_of(st.none(), FAULTS, WRITE), st.booleans()), min_size=2, max_size=6
)


class World:
    def __init__(self, store, embedder) -> None:
        self.project = ProjectFactory()
        self.store = store
        self.embedder = embedder
        self.stated: dict[str, tuple[int, str]] = {}
        self.violations: list[str] = []

    def put(self, name, what) -> None:
        count, word = what
        draft = Draft(f"Title {name}", sections(count, word), "text/markdown", external_id=name)
        services.put_document(project=self.project, draft=draft)
        self.stated[name] = what

    def metadata(self, name, value) -> None:
        if document := self._find(name):
            services.update_document(project=self.project, document_id=document.pk, changes={"metadata": {"n": value}})

    def delete(self, name, _) -> None:
        if document := self._find(name):
            services.delete_document(project=self.project, document_id=document.pk)
            self.stated.pop(name)

    def reindex(self, *_) -> None:
        with suppress(ReindexingRunning):
            services.start_reindexing(project=self.project)

    def wait(self) -> None:
        Reindexing.objects.update(advance_after=Now())
        for document in Document.objects.all():
            make_due(document)

    def work(self, call_number, event) -> None:
        calls = 0

        def before(call: str) -> None:
            nonlocal calls
            calls += 1
            self.check_what_is_shown()
            if calls != call_number or event is None:
                return
            if isinstance(event, BaseException):
                raise event
            action, name, what = event
            getattr(self, action)(name, what)
            self.erase_what_is_due()

        self.embedder.before_each = lambda: before("embed")
        self.store.before = before
        indexer = make_indexer(self.store, self.embedder)
        reindexer = Reindexer(store=self.store, embedders=Embedders(self.embedder), indexer=indexer)
        to_index, to_erase = find_due(10)
        try:
            for document_id in to_erase:
                indexer.erase(document_id)
            for document_id in to_index:
                indexer.index(document_id)
            for reindexing_id in find_due_reindexings():
                reindexer.advance(reindexing_id)
        except (Killed, EmbedderUnavailable, ValueError):  # the task ends; an erasure knows no faults but vectordb's
            pass
        finally:
            self.store.before = lambda call: None
            self.embedder.before_each = lambda: None

    def erase_what_is_due(self) -> None:
        """As the task does that a deletion announces, beside the worker that indexes."""
        self.store.before, before = (lambda call: None), self.store.before
        for document in Document.objects.exclude(deleted_at=None):
            make_indexer(self.store, self.embedder).erase(document.pk)
        self.store.before = before

    def check_what_is_shown(self) -> None:
        self.store.before, before = (lambda call: None), self.store.before
        found = selectors.search_passages(
            selectors.find_place(self.project.pk), embedding=embed("red blue"), text="red blue", k=50
        )
        self.store.before = before
        live = {str(document.pk): document for document in Document.objects.filter(deleted_at=None)}
        for document_id in {passage.document_id for passage in found}:
            shown = [passage.content.split()[4] for passage in found if passage.document_id == document_id]
            # noted, not raised: an indexer takes any exception for a fault of the document's
            if document_id not in live:
                self.violations.append("a deleted document is shown")
            elif len(shown) != live[document_id].chunk_count or len(set(shown)) != 1:
                self.violations.append(f"a part is shown: {shown}")

    def settle(self) -> None:
        for _ in range(12):
            self.wait()
            self.work(0, None)

    def _find(self, name) -> Document | None:
        return Document.objects.filter(project=self.project, external_id=name, deleted_at=None).first()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROUNDS)
def test_any_order_of_writes_work_and_deaths_converges(interrupted, tiny, rounds):
    Document.objects.all().delete()
    Reindexing.objects.all().delete()
    world = World(interrupted, tiny)
    everything = []
    for (action, name, what), call_number, event, is_time_passing in rounds:
        getattr(world, action)(name, what)
        world.work(call_number, event)
        if is_time_passing:
            world.wait()
        everything += Document.objects.all()
    world.settle()

    assert world.violations == []
    assert not Reindexing.objects.filter(state="running").exists()
    documents = {document.external_id: document for document in Document.objects.all()}
    assert documents.keys() == world.stated.keys()
    for name, (count, word) in world.stated.items():
        document = documents[name]
        assert (document.state, document.content) == ("indexed", sections(count, word))
        assert stored_ids(interrupted, document) == {
            name_chunk(document.pk, document.revision, n) for n in range(count)
        }
    for document in everything:
        if document.pk not in {kept.pk for kept in documents.values()}:
            assert stored_ids(interrupted, document) == set()


def test_deleting_twice_is_no_document(project):
    document, _ = services.put_document(project=project, draft=Draft("a", "a", "text/plain"))
    services.delete_document(project=project, document_id=document.pk)
    with pytest.raises(DocumentNotFound):
        services.delete_document(project=project, document_id=document.pk)
