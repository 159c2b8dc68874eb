"""A project's documents, all embedded and stored anew, without a moment in which answers lack any of them.

    named       a library of its own, with the embedder that the workers have now; from then on every change of a
                document goes into both libraries (knowledge.targets)
    marked      documents that nobody works on become pending, a batch at a time; the live library still answers
    rebuilt     one after the other, as the indexer does with any pending document
    switched    when none that was marked waits any more, and the new library holds all that answers are drawn from: one
                transaction moves the project's row to it, and leaves the old library to be deleted

Each step is a conditional write and may be repeated; which of them is next, the rows say. So whichever worker comes
after one that was killed goes on where that one stood. A document that cannot be rebuilt, and would be missing, ends
the reindexing as failed: the live library stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Now

from knowledge import libraries
from knowledge.claims import LEASE, MAX_PAUSE_S
from knowledge.embedders.choice import Embedders
from knowledge.errors import EmbedderChanged, EmbedderUnavailable, ModelFilesInvalid, VectorStoreUnavailable
from knowledge.indexing import PAUSE_WITHOUT_MODEL_S, Indexer, Outcome, has_nothing_newer, is_left_to_reindexing
from knowledge.models import Document, Library, Reindexing
from knowledge.targets import ensure_targets, name_library
from knowledge.vector_store import VectorStore

logger = logging.getLogger(__name__)

MARKED_AT_ONCE = 500
# Whoever sends a document meanwhile waits behind a turn of this length, at most, for a worker of one process.
TURN_S = 20.0
PAUSE_S = 5
LOST = (
    "{count} documents could not be indexed again and would be missing from answers. The library from before goes on "
    "answering. Correct or delete the documents that failed, and index anew."
)
OTHER_EMBEDDER = "It was begun with an embedder that the service no longer has. Begin another one."
SUPERSEDED = "The embedder changed meanwhile, and another reindexing was begun."
CALLED_OFF = "It was called off."


class Ended(Exception):
    """It was called off, or its project deleted, while a turn was taken."""


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """How far a reindexing is, in documents."""

    total: int
    done: int
    failed: int


class Reindexer:
    """Moves reindexings on, one turn at a time."""

    def __init__(
        self,
        *,
        store: VectorStore,
        embedders: Embedders,
        indexer: Indexer,
        turn_s: float = TURN_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._embedders = embedders
        self._indexer = indexer
        self._turn_s = turn_s
        self._monotonic = monotonic

    def advance(self, reindexing_id: UUID) -> Outcome:
        """Take a turn, unless another worker does. INDEXED: it came to its end, one way or the other."""
        started = self._monotonic()
        due = _running(reindexing_id).filter(advance_after__lte=Now(), project__deleted_at=None)
        if not due.update(advance_after=Now() + LEASE):
            return Outcome.NOTHING_TO_DO
        try:
            return self._advance(Reindexing.objects.get(pk=reindexing_id), started)
        except (Reindexing.DoesNotExist, Ended):
            return Outcome.NOTHING_TO_DO
        except ModelFilesInvalid:
            return _postpone(reindexing_id, "Waits for the embedding model.", PAUSE_WITHOUT_MODEL_S)
        except EmbedderChanged as exc:
            logger.warning("reindexing %s waits: %s", reindexing_id, exc)
            return _postpone(reindexing_id, OTHER_EMBEDDER, exc.retry_after_s)
        except (EmbedderUnavailable, VectorStoreUnavailable) as exc:
            logger.warning("reindexing %s waits: %s", reindexing_id, exc)
            return _postpone(reindexing_id, f"Waits: {exc}", min(exc.retry_after_s, MAX_PAUSE_S))

    def _advance(self, reindexing: Reindexing, started: float) -> Outcome:
        self._name_library(reindexing)
        self._embedders.of(reindexing.embedder_fingerprint)
        _adopt(reindexing)
        while _mark_batch(reindexing):
            if self._is_time_up(started):
                return _hand_over(reindexing.pk)
        while (document_id := _find_next(reindexing)) is not None:
            self._indexer.index(document_id, started=started)
            if wait_s := self._indexer.outage_left_s:
                return _postpone(reindexing.pk, "Waits for a neighbour that does not answer.", round(wait_s) + 1)
            if self._is_time_up(started):
                return _hand_over(reindexing.pk)
        if _settle(reindexing):
            return Outcome.INDEXED
        return _postpone(reindexing.pk, "", PAUSE_S)

    def _name_library(self, reindexing: Reindexing) -> None:
        """Name the new library, then make it: whoever dies in between leaves a name, under which it is found."""
        if not reindexing.vectordb_id:
            current = self._embedders.current
            ensure_targets(reindexing.project_id, current)
            with transaction.atomic():
                # whoever publishes a revision at this moment does so before, or sees the new library
                Library.objects.select_for_update().filter(pk=reindexing.project_id).first()
                _running(reindexing.pk).filter(vectordb_id="").update(
                    vectordb_id=name_library(reindexing.project_id),
                    embedder_fingerprint=current.fingerprint,
                    dimension=current.dimension,
                )
            reindexing.refresh_from_db()
        if reindexing.dimension is None:
            raise Ended
        self._store.ensure_library(reindexing.vectordb_id, name=reindexing.vectordb_id, dimension=reindexing.dimension)

    def _is_time_up(self, started: float) -> bool:
        return self._monotonic() - started >= self._turn_s


def end(reindexing_id: UUID, state: Reindexing.State, error: str = "") -> bool:
    """End a running reindexing before the switch, and discard its library; False when it has ended already."""
    with transaction.atomic():
        reindexing = _running(reindexing_id).select_for_update().first()
        if reindexing is None:
            return False
        _finish(reindexing, state, error)
        if reindexing.vectordb_id:
            libraries.discard(reindexing.vectordb_id)
    return True


def find_due_reindexings() -> list[UUID]:
    """The reindexings whose next turn is due."""
    running = Reindexing.objects.filter(
        state=Reindexing.State.RUNNING, advance_after__lte=Now(), project__deleted_at=None
    )
    return list(running.order_by("advance_after").values_list("pk", flat=True))


def count_documents(reindexing: Reindexing) -> DocumentCounts:
    """How many documents there are, the new library holds, and failed; once it has ended, as it was then."""
    if reindexing.total is not None:
        return DocumentCounts(reindexing.total, reindexing.done or 0, reindexing.failed or 0)
    is_mine, has_failed = Q(reindexing_id=reindexing.pk), Q(state=Document.State.FAILED)
    counted = _documents_of(reindexing).aggregate(
        total=Count("pk"),
        done=Count("pk", filter=is_mine & Q(rebuilt_revision__isnull=False) & ~has_failed),
        failed=Count("pk", filter=is_mine & has_failed),
    )
    return DocumentCounts(**counted)


def _mark_batch(reindexing: Reindexing) -> bool:
    """Have some documents rebuilt of which the new library holds nothing yet; False when there are no more.

    Those that are pending need no mark: who indexes them sees the new library.
    """
    is_missing = Q(state=Document.State.INDEXED) & ~Q(reindexing_id=reindexing.pk, rebuilt_revision=F("revision"))
    untouched = _documents_of(reindexing).filter(is_missing | _has_failed_before(reindexing))
    with transaction.atomic():
        batch = untouched.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True)
        return bool(
            Document.objects.filter(pk__in=list(batch[:MARKED_AT_ONCE])).update(
                state=Document.State.PENDING,
                error="",
                reindexing_id=reindexing.pk,
                rebuilt_revision=None,
                rebuilt_chunk_count=None,
                staged_chunks=0,
                index_attempts=0,
                index_after=Now(),
            )
        )


def _has_failed_before(reindexing: Reindexing) -> Q:
    return Q(state=Document.State.FAILED) & ~Q(reindexing_id=reindexing.pk)


def _adopt(reindexing: Reindexing) -> None:
    """Take over the documents that wait for their turn in a reindexing that was ended before the switch."""
    waiting = _documents_of(reindexing).filter(has_nothing_newer(), state=Document.State.PENDING)
    left = waiting.filter(reindexing_id__isnull=False).exclude(reindexing_id=reindexing.pk)
    left.update(reindexing_id=reindexing.pk, rebuilt_revision=None, rebuilt_chunk_count=None)


def _find_next(reindexing: Reindexing) -> UUID | None:
    waiting = _documents_of(reindexing).filter(is_left_to_reindexing(), index_after__lte=Now())
    return waiting.order_by("index_after").values_list("pk", flat=True).first()


def _settle(reindexing: Reindexing) -> bool:
    """Switch to the new library if every document had its turn, and it holds all that answers are drawn from.

    Returns whether the reindexing has ended.
    """
    with transaction.atomic():
        # nothing is published while the project's row is locked
        library = Library.objects.select_for_update().filter(pk=reindexing.project_id).first()
        mine = _running(reindexing.pk).select_for_update().first()
        if library is None or mine is None:  # it was called off, or the project deleted
            return True
        left = Q(is_left_to_reindexing(), reindexing_id=mine.pk) | _has_failed_before(mine)
        if _documents_of(mine).filter(left).exists():
            return False
        answering = _documents_of(mine).filter(live_revision__isnull=False)
        rebuilt = Q(reindexing_id=mine.pk, rebuilt_revision__gte=F("live_revision"))
        missing = answering.exclude(rebuilt)
        if missing.exclude(state=Document.State.FAILED, reindexing_id=mine.pk).exists():
            return False
        if lost := missing.count():
            _finish(mine, Reindexing.State.FAILED, LOST.format(count=lost))
            libraries.discard(mine.vectordb_id)
            return True
        _switch(library, mine)
    logger.info("reindexing %s: the project is answered from %s now", mine.pk, mine.vectordb_id)
    return True


def _switch(library: Library, reindexing: Reindexing) -> None:
    """Move the project to the new library, in the caller's transaction."""
    held = _documents_of(reindexing).filter(reindexing_id=reindexing.pk, rebuilt_revision__isnull=False)
    moved = held.exclude(live_revision=F("rebuilt_revision"), chunk_count=F("rebuilt_chunk_count"))
    moved.update(live_revision=F("rebuilt_revision"), chunk_count=F("rebuilt_chunk_count"), indexed_at=Now())
    libraries.discard(library.vectordb_id)
    assert reindexing.dimension is not None
    library.vectordb_id = reindexing.vectordb_id
    library.embedder_fingerprint = reindexing.embedder_fingerprint
    library.dimension = reindexing.dimension
    library.save(update_fields=["vectordb_id", "embedder_fingerprint", "dimension"])
    # what waited for this goes on now
    waiting = _documents_of(reindexing).filter(state=Document.State.PENDING).exclude(error="")
    waiting.update(index_after=Now())
    _finish(reindexing, Reindexing.State.DONE)


def _finish(reindexing: Reindexing, state: Reindexing.State, error: str = "") -> None:
    counts = asdict(count_documents(reindexing))
    _running(reindexing.pk).update(state=state, error=error, finished_at=Now(), **counts)


def _documents_of(reindexing: Reindexing) -> QuerySet[Document]:
    return Document.objects.filter(project_id=reindexing.project_id, deleted_at=None)


def _running(reindexing_id: UUID) -> QuerySet[Reindexing]:
    return Reindexing.objects.filter(pk=reindexing_id, state=Reindexing.State.RUNNING)


def _hand_over(reindexing_id: UUID) -> Outcome:
    _running(reindexing_id).update(advance_after=Now(), error="")
    return Outcome.UNFINISHED


def _postpone(reindexing_id: UUID, error: str, pause_s: float) -> Outcome:
    _running(reindexing_id).update(advance_after=Now() + timedelta(seconds=pause_s), error=error)
    return Outcome.POSTPONED
