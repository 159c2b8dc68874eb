"""How a classifier does, as all workers see it together: the breaker's memory, one row for each classifier version."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import connection, transaction
from django.db.models.functions import Now

from categorisation import composition
from categorisation.models import ClassifierHealth
from categorisation.services.breaker import BreakerState, Observation, Verdict, judge

logger = logging.getLogger(__name__)


def read_state(classifier_version: str) -> tuple[BreakerState, datetime]:
    """The breaker as it stands, and the database's time."""
    row = ClassifierHealth.objects.filter(pk=classifier_version).annotate(now=Now()).first()
    return (BreakerState(), _read_time()) if row is None else (_as_state(row), row.now)


def observe(classifier_version: str, seen: Observation, *, last_error: str = "") -> Verdict:
    """Let the breaker judge what was seen, and remember it."""
    if seen.says_nothing_bad:
        state, _ = read_state(classifier_version)
        if state == BreakerState():  # the usual case: all is well, and nothing has to be written
            return Verdict(state)
    with transaction.atomic():
        ClassifierHealth.objects.bulk_create([ClassifierHealth(classifier=classifier_version)], ignore_conflicts=True)
        row = ClassifierHealth.objects.select_for_update().annotate(now=Now()).get(pk=classifier_version)
        before = _as_state(row)
        verdict = judge(before, seen, row.now, composition.pacing().breaker_pauses)
        if verdict.state != before:
            _save(classifier_version, verdict.state, last_error or row.last_error)
    _log(classifier_version, before, verdict.state)
    return verdict


def _as_state(row: ClassifierHealth) -> BreakerState:
    return BreakerState(tuple(row.failing_threads), row.successes, row.openings, row.open_until)


def _save(classifier_version: str, state: BreakerState, last_error: str) -> None:
    ClassifierHealth.objects.filter(pk=classifier_version).update(
        failing_threads=list(state.failing),
        successes=state.successes,
        openings=state.openings,
        open_until=state.open_until,
        last_error=last_error[:200],
        updated_at=Now(),
    )


def _log(classifier_version: str, before: BreakerState, after: BreakerState) -> None:
    if after.openings > before.openings:
        logger.warning("the classifier %s fails; nothing is claimed until %s", classifier_version, after.open_until)
    elif before.openings and after.is_closed:
        logger.warning("the classifier %s is well again", classifier_version)


def _read_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now
