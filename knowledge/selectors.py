"""Reads of documents that are more than a filter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models import Count, Min, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from numpy.typing import NDArray

from knowledge import composition
from knowledge.connections import release_connection
from knowledge.embedders import Embedder
from knowledge.errors import DocumentNotFound, EmbedderChanged, LibraryMissing, LibraryReplaced, ReindexingNotFound
from knowledge.models import Document, Library, Reindexing
from knowledge.reindexing import count_documents
from knowledge.vector_store import MAX_RESULTS, Hit, Scalar

# Chunks of a revision that is being replaced, or of a document that is being erased, are found too and dropped.
SPARE_SHARE = 0.25  # of what is asked for, searched beside it
FACTOR_AFTER_LOSSES = 8
MOST_COUNTED = 100_000
# Every search begins and ends with these: to have the ORM write them anew takes longer than the database's answer.
_LIBRARY = "SELECT vectordb_id, embedder_fingerprint, dimension FROM knowledge_library WHERE project_id = %s"
_LIVE_DOCUMENTS = """
    SELECT id, live_revision, title, source_url FROM knowledge_document
    WHERE project_id = %s AND id = ANY(%s::uuid[]) AND deleted_at IS NULL AND live_revision IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A chunk of a live document. `score` orders passages, larger is better; `cosine` is nearness to the query."""

    chunk_id: str
    document_id: str
    title: str
    source_url: str
    content: str
    score: float
    cosine: float


@dataclass(frozen=True, slots=True)
class ReindexingProgress:
    """How many reindexings run, and how far all of them are, in documents."""

    running: int
    total: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class SearchPlace:
    """A project's live library, None when there is none yet, and the embedder whose vectors it holds."""

    project_id: UUID
    library_id: str | None
    embedder: Embedder
    dimension: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far some documents are: how many are pending, indexed and failed, and the chunks stored of pending ones."""

    pending: int
    indexed: int
    failed: int
    staged_chunks: int


@dataclass(frozen=True, slots=True)
class Pending:
    """How many documents wait to be indexed (MOST_COUNTED: at least so many), and for how long the oldest has."""

    documents: int
    oldest_s: float


def count_pending() -> Pending:
    """Over all projects, for operators; read from the index of what awaits work."""
    waiting = Document.objects.filter(state=Document.State.PENDING, deleted_at=None)
    waiting = waiting.order_by("index_after")[:MOST_COUNTED]  # the index's own order
    found = waiting.aggregate(documents=Count("pk"), since=Min("updated_at"))
    since = found["since"]
    return Pending(found["documents"], (timezone.now() - since).total_seconds() if since else 0.0)


def documents_of(project_id: UUID) -> QuerySet[Document]:
    """The project's documents without their content, which may be large."""
    return Document.objects.filter(project_id=project_id, deleted_at=None).defer("content")


def find_document(project_id: UUID, document_id: UUID) -> Document:
    """One of the project's documents, without its content. Raises DocumentNotFound."""
    document = documents_of(project_id).filter(pk=document_id).first()
    if document is None:
        raise DocumentNotFound("The project has no such document.")
    return document


def count_progress(document_ids: Sequence[UUID]) -> Progress:
    """How far these documents are. Deleted ones are not counted."""
    documents = Document.objects.filter(pk__in=document_ids, deleted_at=None)
    counted = documents.aggregate(
        **{state: Count("pk", filter=Q(state=state)) for state in ("pending", "indexed", "failed")},
        staged_chunks=Coalesce(Sum("staged_chunks"), 0),
    )
    return Progress(**counted)


def find_unfinished(document_ids: Sequence[UUID]) -> list[Document]:
    """Those of the documents that failed or still wait, without their content, by name."""
    documents = Document.objects.filter(pk__in=document_ids, deleted_at=None).exclude(state=Document.State.INDEXED)
    return list(documents.defer("content").order_by("external_id"))


def find_reindexing(project_id: UUID) -> Reindexing:
    """The project's last reindexing, which may be running. Raises ReindexingNotFound."""
    reindexing = Reindexing.objects.filter(project_id=project_id).order_by("-started_at").first()
    if reindexing is None:
        raise ReindexingNotFound("The project's documents were never indexed again.")
    return reindexing


def count_reindexings(ids: Sequence[UUID]) -> ReindexingProgress:
    """How far these reindexings are together."""
    rows = Reindexing.objects.filter(pk__in=ids)
    counts = [count_documents(each) for each in rows]
    return ReindexingProgress(
        running=sum(each.state == Reindexing.State.RUNNING for each in rows),
        total=sum(each.total for each in counts),
        done=sum(each.done for each in counts),
        failed=sum(each.failed for each in counts),
    )


def find_place(project_id: UUID) -> SearchPlace:
    """Where the project's passages are searched now. Raises EmbedderChanged."""
    in_use = composition.embedders_in_use()
    with connection.cursor() as cursor:
        cursor.execute(_LIBRARY, [project_id])
        library = cursor.fetchone()
    if library is None:
        return SearchPlace(project_id, None, in_use.current)
    vectordb_id, fingerprint, dimension = library
    return SearchPlace(project_id, vectordb_id, in_use.of(fingerprint), dimension)


def search_passages(
    place: SearchPlace,
    *,
    embedding: NDArray[np.float32],
    text: str,
    k: int,
    filters: Mapping[str, Scalar] | None = None,
) -> list[FoundPassage]:
    """The k best passages of the project's documents by meaning and words, best first.

    `embedding`, of shape (dimension,), is the query's, by the place's embedder. `filters` maps names of documents'
    metadata to the values that they must equal. Every passage is of the revision of its document that is live now.
    Raises VectorStoreUnavailable; of its kinds LibraryReplaced when another library is the live one by now, and
    LibraryMissing when the chunks of indexed documents are gone.
    """
    if place.library_id is None:
        return []
    if embedding.shape[0] != place.dimension:
        raise EmbedderChanged(f"The library holds {place.dimension} dimensions, not {embedding.shape[0]}.")
    try:
        return _search(place.project_id, place.library_id, embedding=embedding, text=text, k=k, filters=filters)
    except LibraryMissing as missing:
        if not Library.objects.filter(project_id=place.project_id, vectordb_id=place.library_id).exists():
            raise LibraryReplaced("The project's library was replaced.", retry_after_s=1) from missing
        if documents_of(place.project_id).filter(live_revision__isnull=False).exists():
            raise  # its data is lost: "I don't know" would be untrue
        return []


def _search(
    project_id: UUID,
    library_id: str,
    *,
    embedding: NDArray[np.float32],
    text: str,
    k: int,
    filters: Mapping[str, Scalar] | None,
) -> list[FoundPassage]:
    wanted = k + math.ceil(k * SPARE_SHARE)
    while True:
        fetched = min(wanted, MAX_RESULTS)
        release_connection()
        hits = composition.vector_store().hybrid_search(
            library_id, embedding=embedding, text=text, k=fetched, filters=filters
        )
        passages = _keep_live(project_id, hits)
        if len(passages) >= k or len(hits) < fetched or fetched == MAX_RESULTS:
            return passages[:k]
        wanted = fetched * FACTOR_AFTER_LOSSES


def _keep_live(project_id: UUID, hits: Sequence[Hit]) -> list[FoundPassage]:
    ids = list({hit.document_id for hit in hits})
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_DOCUMENTS, [project_id, ids])
        rows = {(str(pk), revision): (title, source_url) for pk, revision, title, source_url in cursor}
    passages = []
    for hit in hits:
        row = rows.get((hit.document_id, hit.revision))
        if row is not None:
            title, source_url = row
            passages.append(
                FoundPassage(hit.chunk_id, hit.document_id, title, source_url, hit.text, hit.score, hit.cosine)
            )
    return passages
