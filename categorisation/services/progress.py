"""Waiting for runs, from outside of the workers: how far they are, and why when nothing moves.

Whoever waits plans, too, so that runs go on where no beat does it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from celery import current_app
from django.db.models.functions import Now
from kombu.exceptions import KombuError, OperationalError

from categorisation import composition
from categorisation.models import OPEN_STATES, ClassifierHealth, Run, RunState, Taxonomy
from categorisation.services import batches
from categorisation.services.planning import plan

STALLED_AFTER_S = 15.0
ASKED_EVERY_S = 15.0
ANSWER_TIMEOUT_S = 1.0
BROKER_ERRORS = (KombuError, OperationalError, OSError)


class Obstacle(StrEnum):
    """Why nothing moves."""

    PAUSED = "The run is paused. It goes on when somebody resumes it, in the admin or by the API."
    BROKER = "The broker does not answer. The run goes on when it does."
    NO_WORKER = (
        "No backfill worker answers. The run waits for one: celery -A config worker -Q backfill (or `make run`)."
    )
    SWITCHED_OFF = "Classification is switched off, for the project or for all. The run goes on when it is on again."
    CLASSIFIER = "The classifier is not available. It is tried again by itself."
    WAITING = "Nothing is due at the moment: threads wait for their next attempt, or for a worker's lease to end."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the runs are together. `total` is None until all are counted."""

    total: int | None
    done: int
    failed: int
    reused: int
    open_runs: int
    obstacle: Obstacle | None

    @property
    def through(self) -> int:
        return self.done + self.failed


def plan_here() -> bool:
    """A turn of the planner in this process; whether the broker took what it sent."""
    try:
        plan(begins=False)
    except BROKER_ERRORS:
        return False
    return True


def watch(
    run_ids: Collection[UUID],
    *,
    look_every_s: float = 0.5,
    stalled_after_s: float = STALLED_AFTER_S,
    asked_every_s: float = ASKED_EVERY_S,
) -> Iterator[Progress]:
    """How far the runs are, twice a second, until none is open."""
    planned = asked = moved = time.monotonic() - asked_every_s
    broker_answers, through, obstacle = True, -1, None
    while True:
        runs = list(Run.objects.filter(pk__in=run_ids))
        now = time.monotonic()
        if (seen := sum(run.done + run.failed for run in runs)) != through:
            through, moved, asked, obstacle = seen, now, now - asked_every_s, None
        elif now - moved >= stalled_after_s and now - asked >= asked_every_s:
            obstacle = find_obstacle(runs, broker_answers=broker_answers)
            asked = time.monotonic()
        yield _sum_up(runs, obstacle)
        if not any(run.is_open for run in runs):
            return
        is_all_through = all(run.measured_at is not None and run.left == 0 for run in runs)
        if is_all_through or now - planned >= composition.planner_interval_s():
            broker_answers, planned = plan_here(), time.monotonic()
        time.sleep(look_every_s)


def find_obstacle(runs: Collection[Run], *, broker_answers: bool = True) -> Obstacle:
    """The likeliest reason why none of the open runs moves."""
    if all(run.state == RunState.PAUSED for run in runs if run.state in OPEN_STATES):
        return Obstacle.PAUSED
    if not _is_switched_on(runs):
        return Obstacle.SWITCHED_OFF
    return _find_obstacle_of_workers() if broker_answers else Obstacle.BROKER


def _find_obstacle_of_workers() -> Obstacle:
    try:
        queues = current_app.control.inspect(timeout=ANSWER_TIMEOUT_S).active_queues() or {}
    except BROKER_ERRORS:
        return Obstacle.BROKER
    if not any(queue["name"] == batches.QUEUE for consumed in queues.values() for queue in consumed):
        return Obstacle.NO_WORKER
    if ClassifierHealth.objects.filter(open_until__gt=Now()).exists():
        return Obstacle.CLASSIFIER
    return Obstacle.WAITING


def _is_switched_on(runs: Collection[Run]) -> bool:
    """Whether any of their projects may be classified."""
    projects = [run.project_id for run in runs if run.is_open]
    enabled = Taxonomy.objects.filter(project_id__in=projects, is_enabled=True)
    return composition.classification_is_enabled() and enabled.exists()


def _sum_up(runs: Collection[Run], obstacle: Obstacle | None) -> Progress:
    are_counted = all(run.measured_at is not None or not run.is_open for run in runs)
    return Progress(
        total=sum(max(run.total, run.done + run.failed) for run in runs) if are_counted else None,
        done=sum(run.done for run in runs),
        failed=sum(run.failed for run in runs),
        reused=sum(run.reused for run in runs),
        open_runs=sum(run.is_open for run in runs),
        obstacle=obstacle,
    )
