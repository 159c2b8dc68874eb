"""Taking deleted categories off the threads that bear them, a thousand or two at a time.

A thread becomes unlabelled, and the deletion's run owes it a new label; or it moves to the category that replaces the
deleted one, and whose decision it was stays. Each transaction is whole by itself, so this may end anywhere and go on
later. No new thread can come to bear a deleted category: who writes a label holds its category FOR SHARE and sees it
live, and the deletion waited for them. Threads that somebody else holds are passed over and come later, so that this
never waits with locks in its hands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from categorisation import selectors
from categorisation.models import Category, Run, RunKind
from categorisation.services import runs
from categorisation.services.history import BEAT
from categorisation.services.locks import share_categories
from categorisation.services.taxonomies import lock_taxonomy
from query.models import CategorySource, Thread
from schema.locks import session_lock

THREADS_PER_TRANSACTION = 2_000
PAUSE_S = 0.1  # before threads that somebody else held are tried again

# What was borne before. With `run`, the thread is owed a label by it; without, by whoever looks after its age.
TAKE_OFF = """
WITH borne AS (
    SELECT id, created_at FROM query_thread
    WHERE project_id = %(project)s AND category_id = %(category)s AND category_source = %(source)s
        AND created_at <= %(until)s
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), taken_off AS (
    UPDATE query_thread AS thread SET {changes}, updated_at = STATEMENT_TIMESTAMP()
    FROM borne WHERE thread.id = borne.id
), history AS (
    INSERT INTO categorisation_labelchange
        (thread_id, at, from_category_id, from_source, to_category_id, to_source, actor_kind, actor, run_id)
    SELECT id, STATEMENT_TIMESTAMP(), %(category)s, %(source)s, {becomes}, %(actor_kind)s, %(actor)s, %(noted_run)s
    FROM borne
)
SELECT count(*), min(created_at) FROM borne
"""
FREE = TAKE_OFF.format(
    changes="category_id = NULL, category_source = NULL, category_confidence = NULL, categorised_at = NULL,"
    " category_taxonomy_version = NULL, classify_after = STATEMENT_TIMESTAMP(), classify_attempts = 0,"
    " classify_run_id = %(run)s",
    becomes="NULL, NULL",
)
# The confidence was in the old category, and is not known for the new one. When the label was given stays: a run that
# computes labels anew has those before it still, also one that is begun while threads move. Who holds a claim on the
# old label has lost it.
MOVE = TAKE_OFF.format(
    changes="category_id = %(successor)s, category_confidence = NULL,"
    " classify_after = LEAST(thread.classify_after, STATEMENT_TIMESTAMP())",
    becomes="%(successor)s, %(source)s",
)
EVERYTHING = datetime.max.replace(tzinfo=UTC)


class SuccessorChanged(Exception):
    """The category's successor was deleted in between; the next transaction sees what became of it."""


@dataclass(frozen=True, slots=True)
class _Batch:
    count: int
    oldest: datetime | None


def empty_categories(budget_s: float, should_stop: Callable[[], bool] = lambda: False) -> bool:
    """Take every deleted category off its threads; whether that was ended within the time.

    A category that another process is emptying is left to it, and counts as not ended. `should_stop` is asked between
    transactions.
    """
    deadline = time.monotonic() + budget_s

    def is_over() -> bool:
        return should_stop() or time.monotonic() > deadline

    are_empty = True
    for category in categories_to_empty():
        if is_over():
            return False
        with session_lock(f"empty category {category.pk}") as is_ours:
            are_empty &= is_ours and _empty(category, is_over)
    return are_empty


def categories_to_empty() -> QuerySet[Category]:
    """Deleted categories that threads may still bear, the first deleted first. A deleted project's threads just go."""
    categories = Category.objects.filter(deleted_at__isnull=False, emptied_at=None, project__deleted_at=None)
    return categories.order_by("deleted_at", "id")


def threads_of(category: Category) -> QuerySet[Thread]:
    return Thread.objects.filter(project_id=category.project_id, category_id=category.pk)


def run_of_deletion(category: Category) -> Run:
    """The run that sees to a deleted category's threads; begun now for one that was deleted before there were runs."""
    ours = Run.objects.filter(project_id=category.project_id, kind=RunKind.CATEGORY_DELETED, category=category)
    if (run := ours.first()) is not None:
        return run
    with transaction.atomic():
        taxonomy = lock_taxonomy(category.project_id)
        return ours.first() or runs.start_after_deletion(taxonomy, category, BEAT)


def count_threads(run: Run) -> int:
    """How many threads a deletion's run has to do with, as long as nobody has begun to take its category off."""
    return threads_of(run.category).count() if run.category is not None else 0


def _empty(category: Category, is_over: Callable[[], bool]) -> bool:
    run = run_of_deletion(category)
    runs.note_total(run, count_threads)
    while not is_over():
        for source in CategorySource:
            until: datetime | None = EVERYTHING
            while until is not None and not is_over():
                until = _take_off(category, run, source, until)
        if _note_emptied(category):
            return True
        time.sleep(PAUSE_S)
    return False


def _take_off(category: Category, run: Run, source: str, until: datetime) -> datetime | None:
    """One transaction: the newest threads that are no newer than `until`; from where to go on, None at the end."""
    try:
        with transaction.atomic():
            share_categories(category.project_id)
            successor_id = _hold_successor(category.pk)
            batch = _execute(category, run, source, until, successor_id)
            if successor_id is not None or not _classifies(run):
                runs.count_done(run.pk, batch.count)
    except SuccessorChanged:
        return until
    return batch.oldest


def _execute(category: Category, run: Run, source: str, until: datetime, successor_id: UUID | None) -> _Batch:
    parameters: dict[str, Any] = {
        "project": category.project_id,
        "category": category.pk,
        "source": source,
        "until": until,
        "limit": THREADS_PER_TRANSACTION,
        "successor": successor_id,
        "run": run.pk if _classifies(run) else None,
        "noted_run": run.pk,
        "actor_kind": run.started_by_kind,
        "actor": run.started_by,
    }
    with connection.cursor() as cursor:
        cursor.execute(FREE if successor_id is None else MOVE, parameters)
        return _Batch(*cursor.fetchone())


def _classifies(run: Run) -> bool:
    return selectors.categories_of(run.project_id).exists()


def _hold_successor(category_id: UUID) -> UUID | None:
    """The live category that replaces the deleted one, which stays so until the transaction ends."""
    successor_id = Category.objects.values_list("reassigned_to_id", flat=True).get(pk=category_id)
    with connection.cursor() as cursor:  # in the order in which everybody locks categories
        cursor.execute(
            "SELECT id, reassigned_to_id FROM categorisation_category WHERE id = ANY(%s::uuid[]) ORDER BY id FOR SHARE",
            [[category_id, successor_id] if successor_id else [category_id]],
        )
        if dict(cursor.fetchall())[category_id] != successor_id:
            raise SuccessorChanged
    return successor_id


def _note_emptied(category: Category) -> bool:
    if threads_of(category).exists():
        return False
    Category.objects.filter(pk=category.pk, emptied_at=None).update(emptied_at=Now())
    return True
