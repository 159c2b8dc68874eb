"""Conversations are erased here, with all that belongs to them: batch by batch, each a short transaction.

A batch takes the oldest conversations that nobody else has in hand at the moment; those come later. What other rooms
keep about them goes in the same transaction (`threads_erased`). So an erasure may be ended anywhere, and begun or gone
on with by anybody: what is erased is no longer found. An open one is a row; its session lock says that it is being
worked on, so that what a killed process left is taken up by a worker.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

from auditlog.models import LogEntry
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from query.criteria import Criterion
from query.errors import ErasureIsOver
from query.models import Erasure, QuestionAnswer, Thread
from query.signals import threads_erased
from schema.locks import session_lock
from teams import audit
from teams.models import Project

logger = logging.getLogger(__name__)

THREADS_PER_BATCH = 500
AT_A_TIME = 50  # erasures that take turns
PAUSE_S = 0.2  # before conversations that somebody else had in hand are tried again
RESTING = 1.0  # how long a worker rests after a batch, in batches: the others' requests go first
RETENTION_EVERY = timedelta(hours=23)  # an erasure a day and project at most
TRIES = 5

Key = tuple[datetime, UUID]
Batches = Generator[int, None, None]


# -- what is to be erased ---------------------------------------------------------------------------------------------


def begin(
    criterion: Criterion,
    *,
    asked_by: str,
    reason: Erasure.Reason = Erasure.Reason.ASKED_FOR,
    erasure_id: UUID | None = None,
    announce: bool = True,
) -> Erasure:
    """Record that these conversations are to be erased. With `announce` a worker is told; without, beat finds it."""
    project = Project.including_deleted.filter(pk=criterion.project_id).first() if criterion.project_id else None
    with transaction.atomic():
        erasure = Erasure.objects.create(
            pk=erasure_id or uuid4(),
            reason=reason,
            project=project,
            project_name="" if project is None else project.name,
            user_email=criterion.email.strip(),
            user_unique_client_id=criterion.client_id.strip(),
            idle_since=criterion.idle_since,
            asked_by=asked_by,
            **criterion.digests(),
        )
        if announce:
            transaction.on_commit(_tell_a_worker, robust=True)
    erasure.refresh_from_db(fields=["started_at"])
    return erasure


def _tell_a_worker() -> None:
    from query import tasks  # tasks stand on this

    tasks.erase_conversations.nudge()


def begin_retentions() -> int:
    """Begin an erasure for each project that has kept conversations for long enough; how many were begun."""
    now = timezone.now()
    of_late = Erasure.objects.filter(
        Q(state=Erasure.State.OPEN) | Q(started_at__gt=now - RETENTION_EVERY),
        project=OuterRef("pk"),
        reason=Erasure.Reason.RETENTION,
    )
    begun = 0
    for project in Project.objects.filter(~Exists(of_late), retention_days__gte=1):
        kept = timedelta(days=project.retention_days or 0)
        criterion = Criterion(project_id=project.pk, idle_since=now - kept)
        if criterion.find_threads().exists():
            asked_by = f"retention of {kept.days} days"
            begin(criterion, asked_by=asked_by, reason=Erasure.Reason.RETENTION, announce=False)
            begun += 1
    return begun


def cancel(erasure_id: UUID) -> None:
    """End an open erasure where it stands; what is erased stays so; recorded. Raises ErasureIsOver."""
    with transaction.atomic():
        if not _end(erasure_id, Erasure.State.CANCELLED):
            raise ErasureIsOver("This erasure is over.")
        changes = {"state": [Erasure.State.OPEN.value, Erasure.State.CANCELLED.value]}
        audit.record(Erasure.objects.get(pk=erasure_id), LogEntry.Action.UPDATE, changes)


def erase_selected(thread_ids: Sequence[UUID], *, asked_by: str) -> int:
    """Erase these threads now, in one transaction, and record it; how many were still there. Waits for whoever has one
    in hand."""
    with transaction.atomic():
        locked = Thread.objects.filter(pk__in=thread_ids).order_by("pk").select_for_update()
        ids = list(locked.values_list("pk", flat=True))
        erase_threads(ids)
        Erasure.objects.create(
            reason=Erasure.Reason.SELECTED,
            state=Erasure.State.DONE,
            asked_by=asked_by,
            total=len(ids),
            erased=len(ids),
            finished_at=Now(),
        )
    return len(ids)


# -- carrying it out --------------------------------------------------------------------------------------------------


@contextmanager
def in_hand(erasure_id: UUID) -> Iterator[bool]:
    """Whether this process alone works on the erasure, while the block lasts."""
    with session_lock(f"erasure {erasure_id}") as is_ours:
        yield is_ours


def carry_out(erasure: Erasure) -> Batches:
    """Erase; yields how many each batch erased, 0 where others have all that is left in hand.

    It must be in hand. Raises ErasureIsOver when it is cancelled meanwhile.
    """
    criterion = Criterion.of(erasure)
    if erasure.total is None:
        erasure.total = criterion.find_threads().count()
        Erasure.objects.filter(pk=erasure.pk).update(total=erasure.total)
    yield from erase_in_batches(criterion, partial(_note, erasure.pk))
    if not _end(erasure.pk, Erasure.State.DONE):
        raise ErasureIsOver("It was cancelled meanwhile.")


def carry_out_open(budget_s: float, rest: Callable[[float], None] = time.sleep) -> bool:
    """Begin what retention asks for, and work on all open erasures in turns, a batch of each, for so long.

    Whether nothing is left to do. One process does so at a time: to others there is nothing left.
    """
    deadline = time.monotonic() + budget_s
    with ExitStack() as stack:
        if not stack.enter_context(session_lock("erasures")):
            return True
        begin_retentions()
        erasures = list(Erasure.objects.filter(state=Erasure.State.OPEN).order_by("started_at", "pk")[:AT_A_TIME])
        works = deque((each, carry_out(each)) for each in erasures if stack.enter_context(in_hand(each.pk)))
        while works and time.monotonic() < deadline:
            erasure, batches = works.popleft()
            begun = time.monotonic()
            if _is_to_go_on(erasure, batches):
                works.append((erasure, batches))
            rest(RESTING * (time.monotonic() - begun))
        return not works and len(erasures) < AT_A_TIME


def erase_in_batches(criterion: Criterion, note: Callable[[int], None]) -> Batches:
    """Erase what meets the criterion; yields how many each batch erased, 0 where others have what is left in hand,
    after a pause.

    `note` is called within each batch's transaction, with its number; what it raises undoes the batch.
    """
    while True:
        for project_id in _projects_of(criterion):
            threads = criterion.find_threads().filter(project_id=project_id)
            after: Key | None = None
            while (batch := _retry(partial(_erase_batch, threads, after, note))) is not None:
                number, after = batch
                yield number
        if not criterion.find_threads().exists():
            return
        time.sleep(PAUSE_S)
        yield 0


def _is_to_go_on(erasure: Erasure, batches: Batches) -> bool:
    """Whether there is more to do after its next batch, in this turn."""
    try:
        next(batches)
    except (StopIteration, ErasureIsOver):
        return False
    except Exception:  # the others go on; this one, too, the next time
        logger.exception("the erasure %s could not be gone on with", erasure.pk)
        return False
    return True


def _projects_of(criterion: Criterion) -> list[UUID]:
    if criterion.project_id is not None:
        return [criterion.project_id]
    return list(Project.including_deleted.order_by("pk").values_list("pk", flat=True))


@transaction.atomic
def _erase_batch(threads: QuerySet[Thread], after: Key | None, note: Callable[[int], None]) -> tuple[int, Key] | None:
    """Erase the project's oldest of these threads that come after the key: how many, and the last one's key."""
    keys = _lock_oldest(threads, after)
    if not keys:
        return None
    erase_threads([thread_id for _, thread_id in keys])
    note(len(keys))
    return len(keys), keys[-1]


def _lock_oldest(threads: QuerySet[Thread], after: Key | None) -> list[Key]:
    if after is not None:
        begun_at, thread_id = after
        threads = threads.filter(Q(created_at__gt=begun_at) | Q(pk__gt=thread_id), created_at__gte=begun_at)
    rows = threads.order_by("created_at", "pk").select_for_update(skip_locked=True)
    return list(rows.values_list("created_at", "pk")[:THREADS_PER_BATCH])


def erase_threads(thread_ids: list[UUID]) -> None:
    """Delete the threads, which the caller's transaction holds FOR UPDATE, and all that belongs to them.

    By plain statements: whoever listens to the deletion of single rows might write down what was in them.
    """
    threads_erased.send(sender=Thread, thread_ids=thread_ids)
    with connection.cursor() as cursor:
        for table, column in ((QuestionAnswer, "thread_id"), (Thread, "id")):
            name = connection.ops.quote_name(table._meta.db_table)
            cursor.execute(f"DELETE FROM {name} WHERE {column} = ANY(%s::uuid[])", [thread_ids])  # noqa: S608


def _retry(action: Callable[[], tuple[int, Key] | None]) -> tuple[int, Key] | None:
    """Do it again when a row came to refer to a thread in the same moment."""
    for _ in range(TRIES - 1):
        try:
            return action()
        except IntegrityError:
            continue
    return action()


def _note(erasure_id: UUID, number: int) -> None:
    if not _open(erasure_id).update(erased=F("erased") + number):
        raise ErasureIsOver("It was cancelled meanwhile.")


def _end(erasure_id: UUID, state: Erasure.State) -> bool:
    return bool(_open(erasure_id).update(state=state, finished_at=Now(), user_email="", user_unique_client_id=""))


def _open(erasure_id: UUID) -> QuerySet[Erasure]:
    return Erasure.objects.filter(pk=erasure_id, state=Erasure.State.OPEN)
