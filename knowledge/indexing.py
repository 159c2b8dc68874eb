"""From a document's row to its chunks in the vector database, and out of it again.

A replacement is seen whole or not at all: its chunks are stored beside those of the revision before it, and answers
are drawn from one revision only, `live_revision`, which moves in one conditional update when every chunk is there.
Then the others are deleted. Any step may be repeated, by any worker, at any time: chunk ids are made of the document,
its revision and the position, so that a repeated step writes what is there already.

While a reindexing fills another library (knowledge.targets), all of this is done in both.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import Enum
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Greatest, Now

from knowledge import claims
from knowledge.claims import Claim, ClaimLost, Holding, Published
from knowledge.embedders.choice import Embedders
from knowledge.errors import (
    ChunksLost,
    DocumentUnreadable,
    EmbedderChanged,
    EmbedderUnavailable,
    ModelFilesInvalid,
    VectorStoreRefused,
    VectorStoreUnavailable,
)
from knowledge.extraction import Extractor
from knowledge.loaders import Loader
from knowledge.models import Document, FilePart, Reindexing
from knowledge.splitter import Piece, Splitter
from knowledge.staging import Stager, name_chunks
from knowledge.targets import Target, Targets, TargetsMoved, confirm, ensure_targets, find_targets
from knowledge.vector_store import VectorStore
from observability import metrics

logger = logging.getLogger(__name__)

PARTS_AT_A_TIME = 4
TIME_BUDGET_S = 60.0
PAUSE_WITHOUT_MODEL_S = 60
PAUSE_FOR_REINDEXING_S = 30
GIVEN_UP = "The document could not be indexed, for a reason inside the service. Its operators find it in the log."
TO_BE_RETRIED = "An attempt at indexing the document failed; there will be another."
OTHER_EMBEDDER = "Waits: the service embeds otherwise now, and the project's documents have to be indexed again."
WAITS_FOR_REINDEXING = "Waits until all the project's documents are indexed again."


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
        embedders: Embedders,
        splitter: Splitter,
        loader_for: Callable[[str], Loader],
        extractor_for: Callable[[str], Extractor],
        stager: Stager | None = None,
        budget_s: float = TIME_BUDGET_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._embedders = embedders
        self._splitter = splitter
        self._loader_for = loader_for
        self._extractor_for = extractor_for
        self._stager = stager or Stager(store, embedders)
        self._budget_s = budget_s
        self._monotonic = monotonic
        self._outage = ""
        self._outage_until = 0.0

    @property
    def outage_left_s(self) -> float:
        """How long the embedder or the vector database is not asked again; 0 while they are well."""
        return max(0.0, self._outage_until - self._monotonic())

    def index(self, document_id: UUID, *, started: float | None = None) -> Outcome:
        """Bring the vector database to what the document's row says, or a good part of the way.

        The budget counts from `started`, by the clock that this was made with; left out, from now.
        """
        started = self._monotonic() if started is None else started
        claim = claims.claim(document_id)
        if claim is None:
            return Outcome.NOTHING_TO_DO
        try:
            outcome = self._try(claim, started)
            metrics.DOCUMENTS.labels(outcome.value).inc()
            return outcome
        except (ClaimLost, TargetsMoved):
            # a newer revision is indexed by the next call; a deleted document may be erased now
            return Outcome.UNFINISHED if claim.release() else Outcome.NOTHING_TO_DO

    def erase(self, document_id: UUID) -> Outcome:
        """Delete a deleted document's chunks, then its row; the row once no claimant can be writing any more."""
        document = Document.objects.filter(pk=document_id, deleted_at__isnull=False).only("pk", "project_id").first()
        if document is None:
            return Outcome.NOTHING_TO_DO
        targets = find_targets(document.project_id)
        try:
            self._stager.erase(document_id, targets.all if targets else ())
        except VectorStoreUnavailable as exc:
            later = Now() + timedelta(seconds=exc.retry_after_s)
            Document.objects.filter(pk=document_id).update(index_after=Greatest("index_after", later))
            return Outcome.POSTPONED
        gone, _ = Document.objects.filter(pk=document_id, deleted_at__isnull=False, index_after__lte=Now()).delete()
        return Outcome.INDEXED if gone else Outcome.POSTPONED

    def _try(self, claim: Claim, started: float) -> Outcome:
        document = claim.document
        try:
            if self.outage_left_s:
                claim.wait(self._outage, retry_after_s=round(self.outage_left_s) + 1)
                return Outcome.POSTPONED
            try:
                if claim.is_one_too_many:
                    return self._give_up(claim, GIVEN_UP, started)
                return self._work(claim, started)
            except DocumentUnreadable as exc:
                return self._give_up(claim, str(exc), started)
        except EmbedderChanged as exc:
            logger.warning("document %s waits: %s", document.pk, exc)
            claim.wait(OTHER_EMBEDDER, retry_after_s=exc.retry_after_s)
        except ModelFilesInvalid as exc:
            logger.error("document %s waits for the embedding model: %s", document.pk, exc)
            metrics.DEPENDENCY_FAILURES.labels("embedder").inc()
            claim.wait("Waits for the embedding model to be installed.", retry_after_s=PAUSE_WITHOUT_MODEL_S)
        except ChunksLost as exc:
            claim.wait(str(exc), retry_after_s=exc.retry_after_s)
        except (EmbedderUnavailable, VectorStoreUnavailable) as exc:
            logger.warning("document %s waits: %s", document.pk, exc)
            metrics.DEPENDENCY_FAILURES.labels("embedder" if isinstance(exc, EmbedderUnavailable) else "vectordb").inc()
            self._outage, self._outage_until = (
                f"Waits: {exc}",
                self._monotonic() + min(exc.retry_after_s, claims.MAX_PAUSE_S),
            )
            claim.wait(self._outage, retry_after_s=exc.retry_after_s)
        except (ClaimLost, TargetsMoved):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever one document does to a parser, the others must go on
            return self._count_failure(claim, exc, started)
        return Outcome.POSTPONED

    def _work(self, claim: Claim, started: float) -> Outcome:
        document = claim.document
        targets = ensure_targets(document.project_id, self._embedders.current)
        lagging = self._find_lagging(document, targets)
        if lagging and not document.content:
            with metrics.timed(metrics.INDEXING_STEP_SECONDS, "extract"):
                self._extract(claim)
            if self._is_time_up(started):  # a slice takes long, too
                claim.release()
                return Outcome.UNFINISHED
        with metrics.timed(metrics.INDEXING_STEP_SECONDS, "cut"):
            pieces = self._cut(document) if lagging else []
        self._stager.introduce(document, targets.all)
        is_time_up = partial(self._is_time_up, started)
        if not self._stager.stage(document, pieces, lagging, note_progress=claim.renew, is_time_up=is_time_up):
            claim.release()
            return Outcome.UNFINISHED
        staged = {target: Holding(document.revision, len(pieces)) for target in lagging}
        with metrics.timed(metrics.INDEXING_STEP_SECONDS, "publish"):
            outcome = self._publish(claim, targets, staged)
        logger.info("document %s: %d chunks in %.1f s", document.pk, len(pieces), self._monotonic() - started)
        return outcome

    def _find_lagging(self, document: Document, targets: Targets) -> list[Target]:
        """The libraries that this revision has to be stored in. Raises EmbedderChanged.

        While a reindexing fills another one, the live library may be left behind for want of its embedder.
        """
        lagging = [target for target in targets.all if not target.is_up_to_date(document)]
        if targets.building is None:
            for target in lagging:
                self._embedders.of(target.fingerprint)
        return [target for target in lagging if self._embedders.has(target.fingerprint)]

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

    def _is_time_up(self, started: float) -> bool:
        return self._monotonic() - started >= self._budget_s

    def _publish(self, claim: Claim, targets: Targets, staged: dict[Target, Holding]) -> Outcome:
        """Let this revision be what the libraries hold, once all of it is seen to be stored; then delete the others."""
        document = claim.document
        holdings = {**_find_holdings(document, targets), **staged}
        stored = self._stager.find_chunks(document, holdings)
        wanted = {
            target: name_chunks(document.pk, held.revision, held.chunk_count) for target, held in holdings.items()
        }
        lost = {target: holdings[target] for target in holdings if not wanted[target] <= stored[target]}
        if lost:
            claim.restart(_name_holdings(lost))
            raise ChunksLost
        leftovers = {target: stored[target] - wanted[target] for target in holdings if stored[target] != wanted[target]}
        is_live = targets.live in staged or targets.live.is_up_to_date(document)
        published = _name_holdings(staged)
        with transaction.atomic():
            confirm(document.project_id, targets)
            if is_live and not leftovers:
                claim.publish_and_end(published)
                return Outcome.INDEXED
            claim.publish(published)
        self._stager.delete(leftovers)
        if not is_live:
            claim.wait(WAITS_FOR_REINDEXING, retry_after_s=PAUSE_FOR_REINDEXING_S)
            return Outcome.POSTPONED
        claim.end()
        return Outcome.INDEXED

    def _give_up(self, claim: Claim, error: str, started: float) -> Outcome:
        if not self._keep_what_answers(claim, started):
            claim.release()
            return Outcome.UNFINISHED
        claim.fail(error)
        return Outcome.FAILED

    def _keep_what_answers(self, claim: Claim, started: float) -> bool:
        """Leave nothing of a revision that failed behind, and what answers are drawn from in every library.

        False when the time is up before all of it is there.
        """
        document = claim.document
        targets = find_targets(document.project_id)
        if targets is None:
            return True
        self._stager.delete_what_is_not_shown(document, targets.all)
        goal = targets.building
        if goal is None or document.live_revision is None or goal.revision_of(document) is not None:
            return True
        if claim.kills_whoever_tries or not self._embedders.has(goal.fingerprint):
            return True
        self._stager.introduce(document, [goal])
        note_progress, is_time_up = partial(claim.renew, 0), partial(self._is_time_up, started)
        if not self._stager.carry_over(
            document, targets.live, goal, note_progress=note_progress, is_time_up=is_time_up
        ):
            return False
        with transaction.atomic():
            confirm(document.project_id, targets)
            claim.publish(_name_holdings({goal: Holding(document.live_revision, document.chunk_count)}))
        return True

    def _count_failure(self, claim: Claim, exc: Exception, started: float) -> Outcome:
        # no message and no values: they may quote the document
        logger.error("indexing document %s failed: %s", claim.document.pk, _locate(exc))
        if claim.retry(TO_BE_RETRIED):
            return Outcome.POSTPONED
        try:
            return self._give_up(claim, GIVEN_UP, started)
        except (EmbedderUnavailable, VectorStoreUnavailable) as unavailable:
            claim.wait(f"Waits: {unavailable}", retry_after_s=unavailable.retry_after_s)
            return Outcome.POSTPONED
        except (ClaimLost, TargetsMoved):
            raise
        except VectorStoreRefused as refusal:  # what may be left is never shown, and goes with the next revision
            logger.error("what document %s left cannot be deleted: %s", claim.document.pk, refusal)
        except Exception as again:  # noqa: BLE001 - what it does to an embedder, it may do once more
            logger.error("document %s cannot be carried over: %s", claim.document.pk, _locate(again))
        claim.fail(GIVEN_UP)
        return Outcome.FAILED


def find_due(limit: int) -> tuple[list[UUID], list[UUID]]:
    """The documents that await indexing, and those that await erasure, longest overdue first.

    Those that only wait for a reindexing's own turn are left out: they are many, and others must not wait behind them.
    """
    due = Document.objects.filter(
        Q(state=Document.State.PENDING) | Q(deleted_at__isnull=False), index_after__lte=Now()
    ).order_by("index_after")
    rows = list(due.exclude(is_left_to_reindexing()).values_list("pk", "deleted_at")[:limit])
    return [pk for pk, deleted_at in rows if deleted_at is None], [pk for pk, deleted_at in rows if deleted_at]


def is_left_to_reindexing() -> Q:
    """The documents that a running reindexing has marked and nobody changed since: they await their turn in it."""
    running = Reindexing.objects.filter(pk=OuterRef("reindexing_id"), state=Reindexing.State.RUNNING)
    return Q(
        Exists(running),
        has_nothing_newer(),
        state=Document.State.PENDING,
        deleted_at=None,
        rebuilt_revision=None,
    )


def has_nothing_newer() -> Q:
    """The documents whose newest revision answers are drawn from, and those that answers were never drawn from."""
    return Q(live_revision=F("revision")) | Q(live_revision=None)


def _read_file(document: Document) -> Iterator[bytes]:
    parts = FilePart.objects.filter(document=document).order_by("position")
    for data in parts.values_list("data", flat=True).iterator(chunk_size=PARTS_AT_A_TIME):
        yield bytes(data)


def _find_holdings(document: Document, targets: Targets) -> dict[Target, Holding]:
    """What the libraries hold of the document's newest revision, as far as its row knows."""
    return {
        target: Holding(document.revision, target.chunk_count_of(document))
        for target in targets.all
        if target.is_up_to_date(document)
    }


def _name_holdings(holdings: dict[Target, Holding]) -> Published:
    live = next((held for target, held in holdings.items() if target.reindexing_id is None), None)
    rebuilt = next(((target, held) for target, held in holdings.items() if target.reindexing_id is not None), None)
    return Published(live, rebuilt[1], rebuilt[0].reindexing_id) if rebuilt else Published(live)


def _locate(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)[-4:]
    places = [f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames)]
    return f"{type(exc).__name__} in {' < '.join(places)}"
