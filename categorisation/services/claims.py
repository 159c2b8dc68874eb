"""Who may classify a thread, and when: one column says from when it may be claimed, one counts failures.

A claim moves `classify_after` to the end of its lease, so that whoever dies with a claim loses it by itself, and ten
deliveries of one message work once. The same moment fences the claim's own later writes: when it has changed, somebody
else has the thread, and a failure or a release that comes late changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, QuerySet, Value
from django.db.models.functions import Now

from categorisation import selectors
from query.models import Thread

LEASE = timedelta(seconds=130)  # outlives the hard time limit of a task (120 s)
PAUSES = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))
MAX_ATTEMPTS = len(PAUSES) + 1
# Given up. Not PostgreSQL's infinity: Python's datetime has no such value, and the driver's stand-in for it, the last
# moment of the year 9999, overflows when it is moved to another time zone.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to classify a thread until `lease_ends_at`."""

    thread_id: UUID
    project_id: UUID
    question: str
    attempts: int
    lease_ends_at: datetime


def claim_thread(thread_id: UUID, *, lease: timedelta = LEASE) -> Claim | None:
    """The claim, or None when the thread is not due: labelled, claimed, pausing, given up, or switched off."""
    claims = _claim(selectors.due_threads().filter(pk=thread_id).select_for_update(of=("self",)), lease)
    return claims[0] if claims else None


def claim_due_threads(
    project_id: UUID, *, created_after: datetime, limit: int, lease: timedelta = LEASE
) -> Sequence[Claim]:
    """Claims on the project's threads that have been due for longest, those that nobody else is claiming."""
    due = selectors.due_threads().filter(project_id=project_id, created_at__gt=created_after)
    return _claim(due.order_by("classify_after").select_for_update(skip_locked=True, of=("self",))[:limit], lease)


@transaction.atomic
def _claim(due: QuerySet[Thread], lease: timedelta) -> Sequence[Claim]:
    lease_ends_at = ExpressionWrapper(Now() + Value(lease), DateTimeField())
    rows = due.annotate(lease_ends_at=lease_ends_at).values_list(
        "pk", "project_id", "first_question", "classify_attempts", "lease_ends_at"
    )
    claims = [Claim(*row) for row in rows]
    if claims:
        ids = [claim.thread_id for claim in claims]
        Thread.objects.filter(pk__in=ids).update(classify_after=claims[0].lease_ends_at)
    return claims


def release(claim: Claim) -> None:
    """Give the thread back: it is due at once."""
    _still_claimed(claim).update(classify_after=Now())


def postpone(claim: Claim, pause: timedelta) -> None:
    """Give the thread back for later, without counting an attempt: the fault is not its own."""
    _still_claimed(claim).update(classify_after=Now() + pause)


def count_failure(claim: Claim) -> bool:
    """Count an attempt and pause the thread for longer each time; whether it was the last one, and it is given up."""
    attempts = claim.attempts + 1
    is_given_up = attempts >= MAX_ATTEMPTS
    again = Value(NEVER) if is_given_up else Now() + PAUSES[attempts - 1]
    _still_claimed(claim).update(classify_attempts=attempts, classify_after=again)
    return is_given_up


def retry_classification(threads: QuerySet[Thread]) -> int:
    """Make unlabelled threads, given up or pausing, due at once with all attempts before them; how many there were."""
    unlabelled = threads.filter(category=None, category_source=None, classify_attempts__gt=0)
    return unlabelled.update(classify_after=Now(), classify_attempts=0)


def _still_claimed(claim: Claim) -> QuerySet[Thread]:
    return Thread.objects.filter(
        pk=claim.thread_id, category=None, category_source=None, classify_after=claim.lease_ends_at
    )
