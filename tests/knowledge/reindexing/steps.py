"""What every test of a reindexing does."""

from __future__ import annotations

from django.db.models.functions import Now

from knowledge import services
from knowledge.models import Document, Reindexing
from tests.knowledge.conftest import search

NEW = "tests.knowledge.fakes.WideEmbedder"
OLD = "tests.knowledge.fakes.TinyEmbedder"


def start(project) -> Reindexing:
    return services.start_reindexing(project=project)


def let_time_pass() -> None:
    Reindexing.objects.update(advance_after=Now())
    Document.objects.update(index_after=Now())


def shown(document: Document, text: str = "word") -> set[str]:
    return {passage.content.rpartition("\n")[2] for passage in search(document, text)}


def stored_in(store, library_id: str, document: Document) -> set[str]:
    return store.chunk_ids(library_id, str(document.pk))
