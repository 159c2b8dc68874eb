"""Runs: begun, paused, resumed and cancelled. Each change of a run's state holds the project's taxonomy, so that a
backfill that is being cancelled and one that is being started do not pass each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from categorisation import selectors
from categorisation.errors import RunIsOpen, RunNotFound, RunStateForbids
from categorisation.models import OPEN_STATES, Category, ReclassifyScope, Run, RunKind, RunState, Taxonomy
from categorisation.services.history import Actor
from categorisation.services.taxonomies import lock_taxonomy
from categorisation.signals import run_waits

ONE_OPEN_CONSTRAINT = "run_open_once_of_a_kind"
_NOTE_EFFORT = """
UPDATE categorisation_run SET result = jsonb_build_object(
    'classified', coalesce((result->>'classified')::int, 0) + %(classified)s,
    'busy_s', coalesce((result->>'busy_s')::float8, 0) + %(busy_s)s
) WHERE id = %(run)s
"""


def start_backfill(*, project_id: UUID, actor: Actor, limit: int | None = None) -> Run:
    """Label the project's unlabelled threads that are older than a day, at most `limit` of them.

    Lifts the suspension that an earlier one's cancelling left, unless it has a limit: the rest would follow it by
    itself. Raises RunIsOpen.
    """
    with open_once(RunKind.BACKFILL), transaction.atomic():
        taxonomy = lock_taxonomy(project_id)
        if taxonomy.backfill_is_suspended and limit is None:
            taxonomy.backfill_is_suspended = False
            taxonomy.save(update_fields=["backfill_is_suspended"])
        return create_run(taxonomy, RunKind.BACKFILL, actor, limit=limit)


def start_backfill_if_wanted(project_id: UUID, actor: Actor) -> bool:
    """Start a backfill that nobody asked for; whether nobody suspended the project's meanwhile. Raises RunIsOpen."""
    with open_once(RunKind.BACKFILL), transaction.atomic():
        taxonomy = lock_taxonomy(project_id)
        if taxonomy.backfill_is_suspended or not taxonomy.is_enabled:
            return False
        create_run(taxonomy, RunKind.BACKFILL, actor)
        return True


def start_reclassify(
    *, project_id: UUID, actor: Actor, scope: ReclassifyScope | str, category_id: UUID | None = None
) -> Run:
    """Compute labels that the classifier gave again: all, those given under an older taxonomy, or one category's.

    Raises RunIsOpen, and CategoryNotFound for a category that is not a live one of the project.
    """
    with open_once(RunKind.RECLASSIFY), transaction.atomic():
        taxonomy = lock_taxonomy(project_id)
        category = None if category_id is None else selectors.find_category(project_id, category_id)
        return create_run(taxonomy, RunKind.RECLASSIFY, actor, scope=scope, category=category)


def start_after_deletion(taxonomy: Taxonomy, category: Category, actor: Actor) -> Run:
    """See to the threads of a category that is being deleted, in the transaction that deletes it."""
    return create_run(taxonomy, RunKind.CATEGORY_DELETED, actor, category=category)


def create_run(taxonomy: Taxonomy, kind: RunKind, actor: Actor, **details: Any) -> Run:
    """A new run, which the planner is told of when it is committed. The taxonomy must be locked.

    Raises IntegrityError when there is an open one: see `open_once`.
    """
    run = Run.objects.create(
        project_id=taxonomy.project_id,
        kind=kind,
        taxonomy_version=taxonomy.version,
        started_by_kind=actor.kind,
        started_by=actor.name,
        started_at=Now(),  # the database's: a re-run compares it with the times of labels, which are
        **details,
    )
    run.refresh_from_db(fields=["started_at"])
    _announce(run)
    return run


@contextmanager
def open_once(kind: RunKind) -> Iterator[None]:
    """Tell a second open run of a kind by RunIsOpen. Encloses the transaction."""
    try:
        yield
    except IntegrityError as error:
        if ONE_OPEN_CONSTRAINT not in str(error):
            raise
        raise RunIsOpen(f"The project has an open run of the kind {kind}.") from error


def pause_run(*, project_id: UUID, run_id: UUID, actor: Actor) -> Run:
    """Let a running run claim nothing more until it is resumed. Raises RunNotFound or RunStateForbids."""
    with _change(project_id, run_id, actor, "paused", [RunState.RUNNING]) as run:
        run.state = RunState.PAUSED
    return run


def resume_run(*, project_id: UUID, run_id: UUID, actor: Actor) -> Run:
    """Let a paused run go on. Raises RunNotFound or RunStateForbids."""
    with _change(project_id, run_id, actor, "resumed", [RunState.PAUSED]) as run:
        run.state = RunState.RUNNING
        run.rate_per_s = None
        if run.measured_at is not None:
            run.measured_at, run.measured_done = timezone.now(), run.done + run.failed
        _announce(run)
    return run


def cancel_run(*, project_id: UUID, run_id: UUID, actor: Actor) -> Run:
    """End an open run where it stands; what it labelled stays labelled.

    After a backfill, beat starts no other for the project until someone does. A deletion's run cannot be cancelled:
    its threads would be left without a label. Raises RunNotFound or RunStateForbids.
    """
    with _change(project_id, run_id, actor, "cancelled", OPEN_STATES) as run:
        if run.kind == RunKind.CATEGORY_DELETED:
            raise RunStateForbids("A run that follows the deletion of a category cannot be cancelled.")
        run.state, run.finished_at = RunState.CANCELLED, Now()
        if run.kind == RunKind.BACKFILL:
            Taxonomy.objects.filter(project_id=project_id).update(backfill_is_suspended=True)
    run.refresh_from_db(fields=["finished_at"])
    return run


def finish_run(run: Run, *, is_cut_short: bool = False, **details: Any) -> bool:
    """End a running run that has nothing left to do; whether it was still running.

    What was not given up needs nothing more, whoever saw to it. A run that `is_cut_short` had only so much to do with
    as it did.
    """
    with transaction.atomic():
        lock_taxonomy(run.project_id)
        found = Run.objects.select_for_update(no_key=True).filter(pk=run.pk, state=RunState.RUNNING).first()
        if found is None:
            return False
        through = found.done + found.failed
        found.total = through if is_cut_short else max(found.total, through)
        found.done = found.total - found.failed
        found.state, found.finished_at = RunState.DONE, Now()
        for name, value in details.items():
            setattr(found, name, value)
        found.save(update_fields=["total", "done", "state", "finished_at", *details])
        return True


def note_total(run: Run, count: Callable[[Run], int]) -> None:
    """Count once what a run has to do with; from then on its pace is measured."""
    if run.measured_at is None:
        total = count(run)
        Run.objects.filter(pk=run.pk, measured_at=None).update(total=total, measured_at=timezone.now())
        run.refresh_from_db()


def add_to_total(run: Run, found: int) -> None:
    """Note that a run that is through with all it was counted to have has so much more to do with, within its limit."""
    total = run.done + run.failed + found
    total = total if run.limit is None else min(total, run.limit)
    Run.objects.filter(pk=run.pk, total__lt=total).update(total=total)


def count_done(run_id: UUID, number: int) -> None:
    """Count threads of a run that need nothing more, in the transaction that sees to them."""
    Run.objects.filter(pk=run_id).update(done=F("done") + number)


def note_effort(run_id: UUID, *, classified: int, busy_s: float) -> None:
    """Add what classifications of a preview's sample took: so many, for so many seconds of lanes."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_EFFORT, {"run": run_id, "classified": classified, "busy_s": busy_s})


@contextmanager
def _change(
    project_id: UUID, run_id: UUID, actor: Actor, event: str, allowed: Collection[RunState | str]
) -> Iterator[Run]:
    with transaction.atomic():
        lock_taxonomy(project_id)
        run = Run.objects.select_for_update(no_key=True).filter(pk=run_id, project_id=project_id).first()
        if run is None:
            raise RunNotFound("There is no such run.")
        if run.state not in allowed:
            raise RunStateForbids(f"A run that is {run.state} cannot be {event}.")
        run.events = [*run.events, {"at": timezone.now().isoformat(), "event": event, "by": actor.name}]
        yield run
        run.save(update_fields=["state", "finished_at", "rate_per_s", "measured_at", "measured_done", "events"])


def _announce(run: Run) -> None:
    transaction.on_commit(partial(run_waits.send_robust, sender=Run, run_id=run.pk), robust=True)
