"""From a document's row to its chunks in the vector database, and out of it again.

A replacement is seen whole or not at all: its chunks are stored beside those of the revision before it, and answers
are drawn from one revision only, `live_revision`, which moves in one conditional update when every chunk is there.
Then the others are deleted. Any step may be repeated, by any worker, at any time: chunk ids are made of the document,
its revision and the position, so that a repeated step writes what is there already.
"""

from __future__ import annotations

import logging
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from enum import Enum
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Greatest, Now

from knowledge import claims
from knowledge.claims import Claim, ClaimLost
from knowledge.embedders import Embedder
from knowledge.errors import (
    DocumentUnreadable,
    EmbedderChanged,
    EmbedderUnavailable,
    ModelFilesInvalid,
    VectorStoreRefused,
    VectorStoreUnavailable,
)
from knowledge.extraction import Extractor
from knowledge.loaders import Loader
from knowledge.models import Document, FilePart, Library
from knowledge.splitter import Piece, Splitter
from knowledge.vector_store import StoredChunk, VectorStore
from observability import metrics

logger = logging.getLogger(__name__)

SLICE_PIECES = 64
PARTS_AT_A_TIME = 4
TIME_BUDGET_S = 60.0
PAUSE_WITHOUT_MODEL_S = 60
CHUNKS_LOST = "The vector database has lost some of the document's chunks; they are stored again."
GIVEN_UP = "The document could not be indexed, for a reason inside the service. Its operators find it in the log."
TO_BE_RETRIED = "An attempt at indexing the document failed; there will be another."


class Outcome(Enum):
    """What came of a call."""

    INDEXED = "indexed"
    UNFINISHED = "unfinished"  # there is more to do at once
    POSTPONED = "postponed"  # there is more to do later: the row says when
    FAILED = "failed"
    NOTHING_TO_DO = "nothing to do"


class Indexer:
    """Indexes documents, one claim at a time.

    A call ends after about `budget_s`, however large the document is; the next one continues. While the embedder or
    the vector database does not answer, this process asks it once in a while and not once for every document.
    """

    def __init__(
        self,
        *,
        store: VectorStore,
        embedder: Embedder,
        splitter: Splitter,
        loader_for: Callable[[str], Loader],
        extractor_for: Callable[[str], Extractor],
        slice_pieces: int = SLICE_PIECES,
        budget_s: float = TIME_BUDGET_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._splitter = splitter
        self._loader_for = loader_for
        self._extractor_for = extractor_for
        self._slice_pieces = slice_pieces
        self._budget_s = budget_s
        self._monotonic = monotonic
        self._outage = ""
        self._outage_until = 0.0

    def index(self, document_id: UUID) -> Outcome:
        """Bring the vector database to what the document's row says, or a good part of the way."""
        started = self._monotonic()
        claim = claims.claim(document_id)
        if claim is None:
            return Outcome.NOTHING_TO_DO
        try:
            outcome = self._try(claim, started)
            metrics.DOCUMENTS.labels(outcome.value).inc()
            return outcome
        except ClaimLost:
            # a newer revision is indexed by the next call; a deleted document may be erased now
            return Outcome.UNFINISHED if claim.release() else Outcome.NOTHING_TO_DO

    def erase(self, document_id: UUID) -> Outcome:
        """Delete a deleted document's chunks, then its row; the row once no claimant can be writing any more."""
        document = Document.objects.filter(pk=document_id, deleted_at__isnull=False).only("pk", "project_id").first()
        if document is None:
            return Outcome.NOTHING_TO_DO
        try:
            self._delete_chunks_of(document)
        except VectorStoreUnavailable as exc:
            later = Now() + timedelta(seconds=exc.retry_after_s)
            Document.objects.filter(pk=document_id).update(index_after=Greatest("index_after", later))
            return Outcome.POSTPONED
        gone, _ = Document.objects.filter(pk=document_id, deleted_at__isnull=False, index_after__lte=Now()).delete()
        return Outcome.INDEXED if gone else Outcome.POSTPONED

    def _delete_chunks_of(self, document: Document) -> None:
        library = Library.objects.filter(project_id=document.project_id).first()
        if library is not None:
            self._store.delete_document(library.vectordb_id, str(document.pk))

    def _try(self, claim: Claim, started: float) -> Outcome:
        document = claim.document
        try:
            if self._monotonic() < self._outage_until:
                claim.wait(self._outage, retry_after_s=round(self._outage_until - self._monotonic()) + 1)
                return Outcome.POSTPONED
            try:
                if claim.is_one_too_many:
                    return self._give_up(claim, GIVEN_UP)
                return self._work(claim, started)
            except DocumentUnreadable as exc:
                return self._give_up(claim, str(exc))
        except EmbedderChanged as exc:
            claim.wait(str(exc), retry_after_s=exc.retry_after_s)
        except ModelFilesInvalid as exc:
            logger.error("document %s waits for the embedding model: %s", document.pk, exc)
            metrics.DEPENDENCY_FAILURES.labels("embedder").inc()
            claim.wait("Waits for the embedding model to be installed.", retry_after_s=PAUSE_WITHOUT_MODEL_S)
        except (EmbedderUnavailable, VectorStoreUnavailable) as exc:
            logger.warning("document %s waits: %s", document.pk, exc)
            metrics.DEPENDENCY_FAILURES.labels("embedder" if isinstance(exc, EmbedderUnavailable) else "vectordb").inc()
            self._outage, self._outage_until = (
                f"Waits: {exc}",
                self._monotonic() + min(exc.retry_after_s, claims.MAX_PAUSE_S),
            )
            claim.wait(self._outage, retry_after_s=exc.retry_after_s)
        except ClaimLost:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever one document does to a parser, the others must go on
            return self._count_failure(claim, exc)
        return Outcome.POSTPONED

    def _work(self, claim: Claim, started: float) -> Outcome:
        document = claim.document
        is_live = document.live_revision == document.revision
        if not (is_live or document.content):
            with metrics.timed(metrics.INDEXING_STEP_SECONDS, "extract"):
                self._extract(claim)
            if self._is_time_up(started):  # a slice takes long, too
                claim.release()
                return Outcome.UNFINISHED
        with metrics.timed(metrics.INDEXING_STEP_SECONDS, "cut"):
            pieces = [] if is_live else self._cut(document)
        library_id = self._ensure_library(document.project_id)
        self._store.put_document(library_id, str(document.pk), name=document.title, metadata=document.metadata)
        if not self._stage(claim, library_id, pieces, started):
            claim.release()
            return Outcome.UNFINISHED
        chunk_count = document.chunk_count if is_live else len(pieces)
        with metrics.timed(metrics.INDEXING_STEP_SECONDS, "publish"):
            self._publish(claim, library_id, chunk_count)
        logger.info("document %s: %d chunks in %.1f s", document.pk, chunk_count, self._monotonic() - started)
        return Outcome.INDEXED

    def _extract(self, claim: Claim) -> None:
        document = claim.document
        text = self._extractor_for(document.content_type).extract(_read_file(document))
        with transaction.atomic():
            claim.keep_text(text)
            document.file_parts.all().delete()

    def _cut(self, document: Document) -> list[Piece]:
        blocks = self._loader_for(document.content_type).load(document.content)
        pieces = self._splitter.split(document.title, blocks)
        if not pieces:
            raise DocumentUnreadable("The document has no text.")
        return pieces

    def _ensure_library(self, project_id: UUID) -> str:
        fingerprint, dimension = self._embedder.fingerprint, self._embedder.dimension
        library, _ = Library.objects.get_or_create(
            project_id=project_id,
            defaults={
                "vectordb_id": name_library(project_id),
                "embedder_fingerprint": fingerprint,
                "dimension": dimension,
            },
        )
        check_embedder(library, fingerprint, dimension)
        self._store.ensure_library(library.vectordb_id, name=library.vectordb_id, dimension=dimension)
        return library.vectordb_id

    def _stage(self, claim: Claim, library_id: str, pieces: Sequence[Piece], started: float) -> bool:
        """Embed and store the pieces that are not stored yet; False when the time is up before the last one."""
        document = claim.document
        for start in range(min(document.staged_chunks, len(pieces)), len(pieces), self._slice_pieces):
            batch = pieces[start : start + self._slice_pieces]
            with metrics.timed(metrics.INDEXING_STEP_SECONDS, "embed"):
                vectors = self._embedder.embed_documents([piece.embedding_text for piece in batch])
            chunks = [
                StoredChunk(
                    id=name_chunk(document.pk, document.revision, position),
                    text=piece.content,
                    embedding=vector,
                    revision=document.revision,
                    position=position,
                    heading=" > ".join(piece.heading_path),
                )
                for position, (piece, vector) in enumerate(zip(batch, vectors, strict=True), start)
            ]
            with metrics.timed(metrics.INDEXING_STEP_SECONDS, "store"):
                are_stored = self._store.put_chunks(library_id, str(document.pk), chunks)
            if not are_stored:
                raise VectorStoreUnavailable(CHUNKS_LOST)
            staged = start + len(batch)
            claim.renew(staged_chunks=staged)
            if staged < len(pieces) and self._is_time_up(started):
                return False
        return True

    def _is_time_up(self, started: float) -> bool:
        return self._monotonic() - started >= self._budget_s

    def _publish(self, claim: Claim, library_id: str, chunk_count: int) -> None:
        """Let answers be drawn from this revision, once all of it is seen to be stored; then delete the others."""
        document = claim.document
        stored = self._store.chunk_ids(library_id, str(document.pk))
        wanted = {name_chunk(document.pk, document.revision, position) for position in range(chunk_count)}
        if not wanted <= stored:
            claim.restart()
            raise VectorStoreUnavailable(CHUNKS_LOST)
        if document.live_revision != document.revision:
            if stored == wanted:
                claim.publish_and_end(chunk_count=chunk_count)
                return
            claim.publish(chunk_count=chunk_count)
        self._store.delete_chunks(library_id, sorted(stored - wanted))
        claim.end()

    def _give_up(self, claim: Claim, error: str) -> Outcome:
        self._delete_what_is_not_live(claim.document)
        claim.fail(error)
        return Outcome.FAILED

    def _delete_what_is_not_live(self, document: Document) -> None:
        """Leave nothing of a revision that failed behind; what was live before it stays so."""
        library = Library.objects.filter(project_id=document.project_id).first()
        if library is None:
            return
        if document.live_revision is None:
            self._store.delete_document(library.vectordb_id, str(document.pk))
            return
        live = name_chunk(document.pk, document.live_revision, "")
        stored = self._store.chunk_ids(library.vectordb_id, str(document.pk))
        self._store.delete_chunks(library.vectordb_id, sorted(each for each in stored if not each.startswith(live)))

    def _count_failure(self, claim: Claim, exc: Exception) -> Outcome:
        # no message and no values: they may quote the document
        logger.error("indexing document %s failed: %s", claim.document.pk, _locate(exc))
        if claim.retry(TO_BE_RETRIED):
            return Outcome.POSTPONED
        try:
            self._delete_what_is_not_live(claim.document)
        except VectorStoreUnavailable as unavailable:
            claim.wait(f"Waits: {unavailable}", retry_after_s=unavailable.retry_after_s)
            return Outcome.POSTPONED
        except VectorStoreRefused as refusal:  # what may be left is never shown, and goes with the next revision
            logger.error("what document %s left cannot be deleted: %s", claim.document.pk, refusal)
        claim.fail(GIVEN_UP)
        return Outcome.FAILED


def _read_file(document: Document) -> Iterator[bytes]:
    parts = FilePart.objects.filter(document=document).order_by("position")
    for data in parts.values_list("data", flat=True).iterator(chunk_size=PARTS_AT_A_TIME):
        yield bytes(data)


def check_embedder(library: Library, fingerprint: str, dimension: int) -> None:
    """Raise EmbedderChanged unless the library's vectors are this embedder's."""
    if (library.embedder_fingerprint, library.dimension) != (fingerprint, dimension):
        raise EmbedderChanged(
            f"The project's documents were embedded with {library.embedder_fingerprint}, and the service now embeds "
            f"with {fingerprint}. Set EMBEDDER back, or have the project's documents embedded anew."
        )


def name_library(project_id: UUID) -> str:
    """A new id for a library of the project; the row that keeps it is what finds the library again."""
    return f"{project_id}-{secrets.token_hex(6)}"


def name_chunk(document_id: UUID, revision: int | None, position: int | str) -> str:
    return f"{document_id}-{revision}-{position}"


def find_due(limit: int) -> tuple[list[UUID], list[UUID]]:
    """The documents that await indexing, and those that await erasure, longest overdue first."""
    due = Document.objects.filter(
        Q(state=Document.State.PENDING) | Q(deleted_at__isnull=False), index_after__lte=Now()
    ).order_by("index_after")
    rows = list(due.values_list("pk", "deleted_at")[:limit])
    return [pk for pk, deleted_at in rows if deleted_at is None], [pk for pk, deleted_at in rows if deleted_at]


def _locate(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)[-4:]
    places = [f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames)]
    return f"{type(exc).__name__} in {' < '.join(places)}"
