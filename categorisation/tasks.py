"""What workers run. Each is harmless when it is delivered twice."""

from __future__ import annotations

import logging
import os
import socket
from uuid import UUID

from celery import Task, shared_task

from categorisation import composition, services
from categorisation.services import emptying, planning
from categorisation.shutdown import is_shutting_down

logger = logging.getLogger(__name__)

EMPTYING_BUDGET_S = 60.0


@shared_task(bind=True)  # type: ignore[untyped-decorator]  # celery has no types
def classify_thread(self: Task, thread_id: str) -> None:
    """Classify a thread that is announced, and whatever else is young and due."""
    if not composition.classification_is_enabled():
        return
    if services.is_old(UUID(thread_id)):
        classify_old_thread.nudge(thread_id)
        return
    services.label_young_threads(_live_parts(self))
    _replace_process_of_stuck_lanes(self)


@shared_task(bind=True)  # type: ignore[untyped-decorator]  # celery has no types
def classify_old_thread(self: Task, thread_id: str) -> None:
    """Classify one that is announced though it is not young, or see to it that a backfill does."""
    if composition.classification_is_enabled():
        services.label_old_thread(UUID(thread_id), composition.classifier(), _name_worker(self))


@shared_task(bind=True)  # type: ignore[untyped-decorator]  # celery has no types
def sweep_unlabelled_threads(self: Task) -> None:
    """On beat: label the young threads that no message announced."""
    if composition.classification_is_enabled():
        services.label_young_threads(_live_parts(self))
        _replace_process_of_stuck_lanes(self)


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def plan() -> None:
    """On beat: begin, measure and end runs, and send batches where there is work."""
    planning.plan()


@shared_task(bind=True)  # type: ignore[untyped-decorator]  # celery has no types
def run_batch(self: Task) -> None:
    """Classify for the open runs."""
    if not composition.classification_is_enabled():
        return
    services.run_batch(_batch_parts(self))
    _replace_process_of_stuck_lanes(self)


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def empty_categories() -> None:
    """Take deleted categories off their threads."""
    emptying.empty_categories(EMPTYING_BUDGET_S, is_shutting_down)


def _live_parts(task: Task) -> services.LiveParts:
    return services.LiveParts(
        classifier=composition.classifier(),
        lanes=composition.lanes(),
        max_calls=composition.live_lanes(),
        worker=_name_worker(task),
        send_successor=sweep_unlabelled_threads.nudge,
        should_stop=is_shutting_down,
        questions_per_call=composition.questions_per_call(),
        calls_at_once=composition.calls_at_once(),
    )


def _batch_parts(task: Task) -> services.BatchParts:
    claims_s, drains_s = composition.batch_times_s()
    return services.BatchParts(
        classifier=composition.classifier(),
        lanes=composition.lanes(),
        max_calls=composition.backfill_lanes(),
        worker=_name_worker(task),
        claims_s=claims_s,
        drains_s=drains_s,
        send_successor=run_batch.nudge,
        should_stop=is_shutting_down,
        questions_per_call=composition.questions_per_call(),
        calls_at_once=composition.calls_at_once(),
    )


def _name_worker(task: Task) -> str:
    return task.request.hostname or socket.gethostname()


def _replace_process_of_stuck_lanes(task: Task) -> None:
    """End a process whose classifier calls hang for good: only that frees what they hold.

    Celery starts another one, and delivers this task's message again.
    """
    lanes = composition.lanes()
    if lanes.idle == lanes.size or task.request.is_eager or is_shutting_down():
        return
    logger.error("%d calls of the classifier hang; their process is replaced", lanes.size - lanes.idle)
    logging.shutdown()
    os._exit(1)
