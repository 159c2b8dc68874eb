"""A service whose embedder was changed, and documents from before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from knowledge import composition
from knowledge.indexing import Outcome
from knowledge.models import Document
from knowledge.reindexing import Reindexer
from tests.factories.knowledge import DocumentFactory
from tests.knowledge.conftest import make_indexer, make_reindexer, sections
from tests.knowledge.fakes import TinyEmbedder, WideEmbedder
from tests.knowledge.reindexing.steps import NEW, OLD


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
