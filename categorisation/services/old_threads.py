"""Threads that are no longer young when they are announced: people's decisions on them were forgotten.

The live window does not look for them. They are classified where backfills are, so that no new conversation waits
behind them: one by itself, many by a backfill.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from categorisation import selectors
from categorisation.classifiers import Classifier
from categorisation.errors import RunIsOpen
from categorisation.models import Run, RunKind, RunState
from categorisation.services import runs
from categorisation.services.classification import label_thread
from categorisation.services.history import BEAT
from categorisation.services.results import Outcome
from categorisation.services.scopes import YOUNG_AGE
from query.models import Thread
from schema.locks import session_lock


def is_old(thread_id: UUID) -> bool:
    """Whether it belongs to a backfill by its age."""
    return _old(thread_id).exists()


def label_old_thread(thread_id: UUID, classifier: Classifier, worker: str) -> Outcome:
    """Classify a thread by itself, or leave it to a backfill: one that runs, or one that is begun now, because this
    worker is classifying another by itself at the moment."""
    project_id = _old(thread_id).values_list("project_id", flat=True).first()
    if project_id is None:
        return Outcome.NOT_CLAIMED
    with session_lock(f"old thread of {worker}") as is_alone:
        if _is_left_to_a_backfill(thread_id, project_id, may_begin=not is_alone):
            return Outcome.NOT_CLAIMED
        return label_thread(thread_id, classifier)


def _old(thread_id: UUID) -> QuerySet[Thread]:
    return Thread.objects.filter(pk=thread_id, created_at__lte=Now() - YOUNG_AGE)


def _is_left_to_a_backfill(thread_id: UUID, project_id: UUID, *, may_begin: bool) -> bool:
    """Whether a backfill of the project runs, which is begun now if it may be; not one that somebody paused, suspended
    or limited."""
    running = Run.objects.filter(kind=RunKind.BACKFILL, state=RunState.RUNNING, limit=None)
    if running.filter(project_id=project_id).exists():
        return True
    if not may_begin or not selectors.due_threads().filter(pk=thread_id).exists():
        return False
    try:
        return runs.start_backfill_if_wanted(project_id, BEAT)
    except RunIsOpen:  # somebody else has begun one, or it is paused
        return running.filter(project_id=project_id).exists()
