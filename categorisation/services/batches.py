"""Batches: the backfill's unit of work, a task that claims for a minute and then hands over.

A worker has one claiming batch at a time. When its minute is over it sends its successor before it waits for what is
under way, and the successor uses the lanes that it frees, one by one: together they never have more than the worker's
lanes, and no lane idles. What a batch holds stands in its row; one that was not seen for ten seconds is dead.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from celery import current_app
from django.db import connection, transaction
from django.db.models import QuerySet, Sum
from django.db.models.functions import Now

from categorisation import composition
from categorisation.classifiers import Classifier
from categorisation.lanes import Lanes
from categorisation.models import Batch
from categorisation.queues import count_waiting
from categorisation.services.results import Outcome
from categorisation.services.sources import OpenRuns
from categorisation.services.window import Allowance, Manner, Window
from observability import metrics

logger = logging.getLogger(__name__)

QUEUE = "backfill"
DEAD_AFTER = timedelta(seconds=10)
BEAT_S = 0.5
HANDOVER_BEAT_S = 0.1


@dataclass(frozen=True, slots=True)
class BatchParts:
    """What a batch is made of. `send_successor` is called when its time is over."""

    classifier: Classifier
    lanes: Lanes
    max_calls: int
    worker: str
    claims_s: float
    drains_s: float
    send_successor: Callable[[], object]
    should_stop: Callable[[], bool] = lambda: False
    questions_per_call: int = 1
    calls_at_once: int | None = None


class BatchKeeper:
    """Keeps a batch's row, and leaves to other batches of its worker the lanes that they hold."""

    def __init__(self, batch: Batch, parts: BatchParts) -> None:
        self._batch = batch
        self._parts = parts
        self._is_draining = False
        self.is_lost = False

    def beat(self, calls: int) -> Allowance:
        self.is_lost = not Batch.objects.filter(pk=self._batch.pk).update(lanes=calls, seen_at=Now())
        if self._is_draining or self.is_lost:
            return Allowance(0, BEAT_S)
        others = fresh_batches().filter(worker=self._parts.worker).exclude(pk=self._batch.pk)
        held = others.aggregate(lanes=Sum("lanes"))["lanes"]
        lanes = max(0, self._parts.max_calls - (held or 0))
        return Allowance(lanes, BEAT_S if held is None else HANDOVER_BEAT_S)

    def begin_draining(self, calls: int) -> None:
        self._is_draining = True
        Batch.objects.filter(pk=self._batch.pk).update(is_draining=True, lanes=calls, seen_at=Now())
        self._parts.send_successor()


def run_batch(parts: BatchParts) -> Counter[Outcome]:
    """Classify for the open runs, unless another batch of this worker claims; what became of the claims."""
    batch = begin_batch(parts.worker)
    metrics.BATCHES.labels("idle" if batch is None else "worked").inc()
    if batch is None:
        return Counter()
    try:
        keeper = BatchKeeper(batch, parts)
        manner = Manner(parts.claims_s, parts.drains_s, parts.questions_per_call, parts.calls_at_once)
        source = OpenRuns(parts.questions_per_call)

        def should_stop() -> bool:
            return keeper.is_lost or parts.should_stop()

        outcomes = Window(source, parts.classifier, parts.lanes, keeper, manner, should_stop).run()
    finally:
        Batch.objects.filter(pk=batch.pk).delete()
    if outcomes:
        logger.info("a batch ended: %s", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    return outcomes


@transaction.atomic
def begin_batch(worker: str) -> Batch | None:
    """Register a batch, or None when another one of the worker claims."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"batches of {worker}"])
    Batch.objects.filter(worker=worker, seen_at__lte=Now() - DEAD_AFTER).delete()
    if Batch.objects.filter(worker=worker, is_draining=False).exists():
        return None
    return Batch.objects.create(worker=worker)


def fresh_batches() -> QuerySet[Batch]:
    """Batches of workers that are alive."""
    return Batch.objects.filter(seen_at__gt=Now() - DEAD_AFTER)


def send_batches() -> int:
    """Tell every worker, and one more that may have come, that there is work; how many messages that took.

    Two for each: some are taken by a worker that has a batch already, and come to nothing. What waits already is not
    sent again: a queue that nobody reads must not grow.
    """
    from categorisation import tasks  # tasks stand on services

    workers = fresh_batches().values("worker").distinct().count()
    messages = max(0, 2 * (workers + 1) - count_waiting(current_app, QUEUE))
    for _ in range(messages):
        tasks.run_batch.apply_async(expires=composition.planner_interval_s())
    return messages
