"""Who works on a document: the claims that workers hold, kept in the document's row.

    state     error    index_after
    pending   ""       passed         whoever asks may claim it
    pending   ""       to come        claimed: the lease of the one worker that indexes it ends then
    pending   set      to come        waits for what the error names, or pauses before another attempt
    (any)     (any)    passed         and deleted_at set: may be erased; before, a claimant might still be writing

A claim is taken, renewed and ended by conditional updates that name the lease which this worker was given: whoever
lost it changes nothing more. A worker that dies loses it when the lease ends. Writes of people move `revision` and
`updated_at`, never a lease that runs, so that one worker at a time writes the chunks of a document.

`index_attempts` counts claims since the last progress. Waiting for a neighbour gives the count back, so what is left
is failures, and deaths of the worker: a document that kills every worker is given up too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from knowledge.models import Document

# Longer than any task may run (CELERY_TASK_TIME_LIMIT), so that the claimant is gone when another may claim.
LEASE = timedelta(seconds=150)
MAX_PAUSE_S = 300
RETRY_PAUSES_S = (5, 15, 60, 180)
MAX_ATTEMPTS = len(RETRY_PAUSES_S) + 1

_IS_PENDING = Q(state=Document.State.PENDING, deleted_at=None)


class ClaimLost(Exception):
    """The document was changed or deleted, or the lease ran out and another worker has it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A revision and how many chunks it has."""

    revision: int
    chunk_count: int


@dataclass(frozen=True, slots=True)
class Published:
    """What the live library holds of a document, and that of a reindexing: None where that is not said."""

    live: Holding | None = None
    rebuilt: Holding | None = None
    reindexing_id: UUID | None = None


class Claim:
    """The right to index one document, until the lease ends. `document` is the row as it was claimed."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._until: datetime = document.index_after
        self._attempts: int = document.index_attempts

    @property
    def is_one_too_many(self) -> bool:
        """Whether every attempt that this revision has was begun, and none came to an end."""
        return self._attempts > MAX_ATTEMPTS

    @property
    def kills_whoever_tries(self) -> bool:
        """Whether even giving it up was begun, and did not come to an end."""
        return self._attempts > MAX_ATTEMPTS + 1

    def renew(self, staged_chunks: int) -> None:
        """Note progress, and start the lease anew. Raises ClaimLost, also when there is a newer revision."""
        mine = self._still_wanted()
        if not mine.update(staged_chunks=staged_chunks, index_after=Now() + LEASE, index_attempts=1):
            raise ClaimLost
        self._take_note_of_renewal()

    def keep_text(self, text: str) -> None:
        """Store the text that was taken out of the document's file, and start the lease anew. Raises ClaimLost."""
        if not self._still_wanted().update(content=text, index_after=Now() + LEASE, index_attempts=1):
            raise ClaimLost
        self._take_note_of_renewal()
        self.document.content = text

    def publish(self, published: Published) -> None:
        """From now on these libraries hold this revision whole. Raises ClaimLost."""
        if not self._still_wanted().update(staged_chunks=0, **_written(published)):
            raise ClaimLost

    def publish_and_end(self, published: Published) -> None:
        """`publish` and `end` in one step, for a document without chunks of other revisions. Raises ClaimLost."""
        written = {"staged_chunks": 0, **_written(published), **_ended(Document.State.INDEXED)}
        if not self._unchanged().update(**written):
            raise ClaimLost

    def end(self) -> None:
        """The vector database holds exactly what the row says. Raises ClaimLost."""
        if not self._unchanged().update(**_ended(Document.State.INDEXED)):
            raise ClaimLost

    def fail(self, error: str) -> None:
        """Give this revision up, for a reason that is the document's owner's to read. Raises ClaimLost."""
        if not self._unchanged().update(staged_chunks=0, **_ended(Document.State.FAILED, error)):
            raise ClaimLost

    def wait(self, error: str, *, retry_after_s: int) -> None:
        """Try again later, without counting an attempt; the longer it has waited, the longer the next pause.

        Raises ClaimLost.
        """
        age_s = (timezone.now() - self.document.updated_at).total_seconds()
        pause_s = min(max(float(retry_after_s), age_s / 4), MAX_PAUSE_S)
        self._postpone(pause_s, error=error, index_attempts=self._attempts - 1)

    def retry(self, error: str) -> bool:
        """Try again after a pause; False when this was the last attempt. Raises ClaimLost."""
        if self._attempts >= MAX_ATTEMPTS:
            return False
        self._postpone(RETRY_PAUSES_S[self._attempts - 1], error=error)
        return True

    def restart(self, lost: Published) -> None:
        """Forget what was staged, and that these libraries hold it: chunks are missing there. Raises ClaimLost."""
        values: dict[str, Any] = {"live_revision": None} if lost.live is not None else {}
        if lost.rebuilt is not None:
            values["rebuilt_revision"] = None
        if not self._still_wanted().update(staged_chunks=0, **values):
            raise ClaimLost

    def release(self) -> bool:
        """Let another worker have the document at once; False when this one had lost it already."""
        return bool(self._mine().update(index_after=Now()))

    def _postpone(self, pause_s: float, **values: Any) -> None:
        postponed = self._still_wanted().update(index_after=Now() + timedelta(seconds=pause_s), **values)
        if not postponed:
            raise ClaimLost

    def _take_note_of_renewal(self) -> None:
        self._attempts = 1
        self._until = Document.objects.values_list("index_after", flat=True).get(pk=self.document.pk)

    def _mine(self) -> QuerySet[Document]:
        return Document.objects.filter(pk=self.document.pk, index_after=self._until)

    def _still_wanted(self) -> QuerySet[Document]:
        return self._mine().filter(_IS_PENDING, revision=self.document.revision)

    def _unchanged(self) -> QuerySet[Document]:
        return self._still_wanted().filter(updated_at=self.document.updated_at)


def claim(document_id: UUID) -> Claim | None:
    """The claim of a document that awaits indexing now; None when it does not, or another worker has it."""
    free = Document.objects.filter(_IS_PENDING, pk=document_id, index_after__lte=Now())
    if not free.update(index_after=Now() + LEASE, error="", index_attempts=F("index_attempts") + 1):
        return None
    document = Document.objects.filter(pk=document_id).first()
    return Claim(document) if document is not None else None


def when_claimable() -> Combinable:
    """From when a document that is written or deleted now may be worked on: at once, or when its lease ends."""
    is_leased = Q(state=Document.State.PENDING, error="")
    return Case(When(is_leased, then=Greatest(F("index_after"), Now())), default=Now())


def _written(published: Published) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if published.live is not None:
        values |= {
            "live_revision": published.live.revision,
            "chunk_count": published.live.chunk_count,
            "indexed_at": Now(),
        }
    if published.rebuilt is not None:
        values |= {
            "reindexing_id": published.reindexing_id,
            "rebuilt_revision": published.rebuilt.revision,
            "rebuilt_chunk_count": published.rebuilt.chunk_count,
        }
    return values


def _ended(state: str, error: str = "") -> dict[str, Any]:
    return {"state": state, "error": error, "index_attempts": 0, "index_after": Now()}
