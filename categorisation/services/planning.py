"""The planner: starts backfills that nobody has to ask for, measures runs, ends those that have nothing left, and tells
workers that there is work.

One plans at a time; who comes while another does has nothing to do. Everything it knows stands in rows, so that it may
be ended anywhere, and beat, a command that waits and several of both may all call it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import OperationalError
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from categorisation import composition, selectors
from categorisation.errors import RunIsOpen
from categorisation.models import OPEN_STATES, ActorKind, Category, Run, RunKind, RunState, Taxonomy
from categorisation.services import batches, claims, emptying, previews, runs
from categorisation.services.history import BEAT
from categorisation.services.locks import bounded_waits, could_not_lock
from categorisation.services.scopes import YOUNG_AGE
from query.models import MAX_ATTEMPTS, Thread
from schema.locks import session_lock

logger = logging.getLogger(__name__)

LOCK = "planner of runs"
LONGEST_WAIT_S = 1.0  # for a row that somebody holds: the other runs wait meanwhile
MEASURED_EVERY = timedelta(seconds=4)
LEAST_PACE_PER_S = 0.001
WEIGHT_OF_NEW = 0.4  # of the pace just measured, against what was known


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn of the planner did. `waiting` are the running runs with work left."""

    started: int
    finished: int
    waiting: int
    messages: int


def plan(*, begins: bool = True) -> Plan | None:
    """One turn; None when another planner is at work. `begins` says whether it starts backfills that are due."""
    with session_lock(LOCK) as is_ours:
        if not is_ours:
            return None
        with bounded_waits(LONGEST_WAIT_S):
            due = projects_due_for_backfill() if begins else []
            started = sum(_start_if_still_due(project_id) for project_id in due)
            running = list(Run.objects.select_related("category").filter(state=RunState.RUNNING).order_by("started_at"))
            waiting = sum(not _tend_alone(run) for run in running)
            previews.forget_samples()
        return Plan(started, len(running) - waiting, waiting, _send_messages(waiting))


def projects_due_for_backfill() -> list[UUID]:
    """Projects whose backfill beat starts by itself: there is something to do, and nobody wants otherwise."""
    projects = _projects_with_categories().filter(Exists(_of_project(_claimable(_old_threads()))))
    return list(
        projects.filter(~Exists(_open_runs(RunKind.BACKFILL)), is_enabled=True, backfill_is_suspended=False)
        # what a deletion freed is its run's; and when that is done, what is left is seen
        .filter(~Exists(_open_runs(RunKind.CATEGORY_DELETED)))
        .values_list("project_id", flat=True)
    )


def projects_to_backfill() -> list[UUID]:
    """Projects in which a backfill that a person starts has something to do, be it what was given up before."""
    old = _old_threads()
    has_work = Exists(_of_project(_claimable(old))) | Exists(_of_project(_given_up(old)))
    return list(_projects_with_categories().filter(has_work, is_enabled=True).values_list("project_id", flat=True))


def count_backfill_work(project_id: UUID) -> tuple[int, int]:
    """How many threads a backfill of the project has to do with, and how many more were given up before."""
    old = _old_threads().filter(project_id=project_id)
    return _claimable(old).count(), _given_up(old).count()


def _projects_with_categories() -> QuerySet[Taxonomy]:
    return Taxonomy.objects.filter(Exists(Category.objects.filter(project_id=OuterRef("project_id"), deleted_at=None)))


def _old_threads() -> QuerySet[Thread]:
    return Thread.objects.filter(category=None, category_source=None, created_at__lte=Now() - YOUNG_AGE)


def _of_project(threads: QuerySet[Thread]) -> QuerySet[Thread]:
    return threads.filter(project_id=OuterRef("project_id"))


def _claimable(threads: QuerySet[Thread]) -> QuerySet[Thread]:
    return threads.filter(classify_attempts__lt=MAX_ATTEMPTS)


def _given_up(threads: QuerySet[Thread]) -> QuerySet[Thread]:
    return threads.filter(classify_attempts__gte=MAX_ATTEMPTS)


def _open_runs(kind: RunKind) -> QuerySet[Run]:
    return Run.objects.filter(project_id=OuterRef("project_id"), kind=kind, state__in=OPEN_STATES)


def _start_if_still_due(project_id: UUID) -> bool:
    try:
        return runs.start_backfill_if_wanted(project_id, BEAT)
    except RunIsOpen:  # a person was faster
        return False
    except OperationalError as error:
        if not could_not_lock(error):
            raise
        logger.warning("the project %s is locked; its backfill is started at another turn", project_id)
        return False


def _tend_alone(run: Run) -> bool:
    """As `_tend`; a run that cannot be tended holds nobody else's up, and is tried again at the next turn."""
    try:
        return _tend(run)
    except OperationalError as error:
        if not could_not_lock(error):  # the database itself: every run's trouble
            raise
        logger.warning("the %s run %s is locked, and is tended at another turn", run.kind, run.pk)
        return False
    except Exception:
        logger.exception("the %s run %s could not be tended", run.kind, run.pk)
        return False


def _tend(run: Run) -> bool:
    """Count, measure, and end a run that has nothing left; whether it is ended."""
    if run.measured_at is None:
        runs.note_total(run, _begin)
    else:
        _measure(run, timezone.now())
    if run.limit is not None and run.claimed >= run.limit:
        claims.correct_claimed(run)
    has_categories = run.kind == RunKind.PREVIEW or selectors.categories_of(run.project_id).exists()
    if _is_being_emptied(run) or (has_categories and claims.has_work_left(run)):
        if run.left == 0:  # more came in since it was counted
            runs.add_to_total(run, claims.count_threads(run))
        return False
    if run.kind == RunKind.PREVIEW:
        return previews.finish(run)
    # what a deletion freed needs no label where there is none to give; others' threads wait for the next run
    return runs.finish_run(run, is_cut_short=not has_categories and run.kind != RunKind.CATEGORY_DELETED)


def _begin(run: Run) -> int:
    if run.kind == RunKind.CATEGORY_DELETED:
        return emptying.count_threads(run)
    if run.started_by_kind != ActorKind.BEAT:  # beat would try poison again and again
        claims.retry_given_up(run)
    return claims.count_threads(run)


def _measure(run: Run, now: datetime) -> None:
    assert run.measured_at is not None
    elapsed = now - run.measured_at
    if elapsed < MEASURED_EVERY:
        return
    through = run.done + run.failed
    pace = max(0, through - run.measured_done) / elapsed.total_seconds()
    if run.rate_per_s is not None:
        pace = WEIGHT_OF_NEW * pace + (1 - WEIGHT_OF_NEW) * run.rate_per_s
    rate = pace if pace >= LEAST_PACE_PER_S else None  # nothing comes through: when it will end is not known
    Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
        rate_per_s=rate, measured_at=now, measured_done=through
    )


def _is_being_emptied(run: Run) -> bool:
    if run.kind != RunKind.CATEGORY_DELETED or run.category is None:
        return False
    return run.category.emptied_at is None


def _send_messages(waiting: int) -> int:
    messages = 0
    if emptying.categories_to_empty().exists():
        messages += _send_emptying()
    if waiting and composition.classification_is_enabled():
        messages += batches.send_batches()
    return messages


def _send_emptying() -> int:
    from categorisation import tasks  # tasks stand on services

    tasks.empty_categories.apply_async(expires=composition.planner_interval_s())
    return 1
