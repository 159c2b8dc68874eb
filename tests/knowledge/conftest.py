"""A real PostgreSQL and a real vectordb process, with an embedder that costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.conf import settings as django_settings
from django.db.models.functions import Now

from knowledge import composition, selectors, services
from knowledge.embedders.choice import Embedders
from knowledge.indexing import Indexer
from knowledge.models import Document, Library
from knowledge.reindexing import Reindexer
from knowledge.splitter import HeadingSplitter
from knowledge.staging import Stager
from knowledge.vector_store import VectorStore
from tests.knowledge.fakes import InterruptedStore, Killed, TinyEmbedder

# what an indexing calls on the store, in this order
CALLS = ["ensure_library", "put_document", "put_chunks", "chunk_ids"]


@pytest.fixture
def use_environment(settings) -> Iterator[Callable[..., None]]:
    """Move settings of the environment for one test."""

    def move(**changes: object) -> None:
        settings.ENVIRONMENT = django_settings.ENVIRONMENT.model_copy(update=changes)
        composition.forget_parts()

    yield move
    composition.forget_parts()


@pytest.fixture
def tiny(use_environment) -> TinyEmbedder:
    """The service embeds with this TinyEmbedder."""
    use_environment(embedder="tests.knowledge.fakes.TinyEmbedder")
    embedder = composition.embedder()
    assert isinstance(embedder, TinyEmbedder)
    return embedder


@pytest.fixture
def store(vectordb_server, tiny) -> VectorStore:
    """The real one."""
    return composition.vector_store()


@pytest.fixture
def interrupted(store) -> InterruptedStore:
    """The real store, with something that happens before a call."""
    return InterruptedStore(store, lambda call: None)


@pytest.fixture
def indexer(interrupted, tiny) -> Indexer:
    """Small slices, so that a document of a few chunks takes several."""
    return make_indexer(interrupted, tiny)


def make_indexer(store: VectorStore, embedder: TinyEmbedder, **options: object) -> Indexer:
    # a piece for each section, however small
    splitter = HeadingSplitter(target_characters=200, code_limit_characters=400, tiny_characters=0)
    embedders = options.pop("embedders", None) or Embedders(embedder)
    parts = {
        "store": store,
        "embedders": embedders,
        "splitter": splitter,
        "loader_for": composition.loader_for,
        "extractor_for": composition.extractor_for,
        "stager": Stager(store, embedders, slice_pieces=2),
    }
    return Indexer(**{**parts, **options})


def make_reindexer(store: VectorStore, current: TinyEmbedder, previous: TinyEmbedder | None = None, **options):
    embedders = Embedders(current, previous)
    indexer = make_indexer(store, current, embedders=embedders)
    return Reindexer(store=store, embedders=embedders, indexer=indexer, **options)


def sections(count: int, word: str = "word") -> str:
    """A document of `count` pieces."""
    return "\n\n".join(f"## Section {number}\n\nThe {word} of section {number}." for number in range(count))


def make_due(document: Document) -> None:
    """Let the lease or the pause of a document be over."""
    Document.objects.filter(pk=document.pk).update(index_after=Now())


def stored_ids(store: VectorStore, document: Document) -> set[str]:
    library = Library.objects.filter(project_id=document.project_id).first()
    return store.chunk_ids(library.vectordb_id, str(document.pk)) if library else set()


def search(document: Document, text: str = "word", k: int = 50, **options) -> list[selectors.FoundPassage]:
    place = selectors.find_place(document.project_id)
    return selectors.search_passages(place, embedding=place.embedder.embed_query(text), text=text, k=k, **options)


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
