"""What becomes of what came out: labels are written, failures counted or forgiven, threads given back, runs moved on.

A stream's part of a flush is one transaction.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from uuid import UUID, uuid5

from django.db import OperationalError, transaction
from django.db.models import F

from categorisation import composition
from categorisation.classifiers import Classification
from categorisation.errors import ClassifierError, ClassifierUnavailable
from categorisation.models import Run
from categorisation.services import claims as claiming
from categorisation.services import health, runs, writing
from categorisation.services.breaker import BreakerState, Observation, Verdict
from categorisation.services.calls import NoResult
from categorisation.services.claims import Claim
from categorisation.services.locks import was_a_deadlock
from categorisation.services.streams import Done, Stream
from categorisation.services.writing import NewLabel, Written
from observability import metrics
from query.models import MAX_ATTEMPTS

logger = logging.getLogger(__name__)

DEADLOCK_TRIES = 5


class Outcome(StrEnum):
    """What became of a claim."""

    NOT_CLAIMED = "not claimed"  # it is not due, or somebody else has it
    LABELLED = "labelled"
    SUPERSEDED = "superseded"  # somebody else labelled it meanwhile
    DROPPED = "dropped"  # its category was deleted meanwhile: due again at once
    POSTPONED = "postponed"  # the classifier is not available, or its failures are not held against threads
    FAILED = "failed"
    GIVEN_UP = "given up"


FINISHED = (Outcome.LABELLED, Outcome.SUPERSEDED)
UNFINISHED = (Outcome.DROPPED, Outcome.POSTPONED, Outcome.FAILED)


def record(done: Sequence[Done], classifier_version: str) -> tuple[list[Outcome], BreakerState]:
    """Write all that came out; an outcome for each, in order, and how the classifier does."""
    with metrics.timed(metrics.LABEL_WRITE_SECONDS):
        outcomes, state = _record(done, classifier_version)
    for outcome, count in Counter(outcomes).items():
        metrics.CLASSIFICATIONS.labels(outcome.value).inc(count)
    return outcomes, state


def _record(done: Sequence[Done], classifier_version: str) -> tuple[list[Outcome], BreakerState]:
    verdict = health.observe(classifier_version, summarise(done), last_error=_describe_last_error(done))
    if verdict.forgiven:
        claiming.forgive_attempts(verdict.forgiven, composition.pacing().breaker_pauses[0])
    groups: dict[tuple[Stream, bool], list[int]] = {}
    for index, item in enumerate(done):
        groups.setdefault((item.work.stream, item.is_reused), []).append(index)
    outcomes = [Outcome.NOT_CLAIMED] * len(done)
    for (stream, is_reused), indexes in groups.items():
        recorder = _Recorder(stream, classifier_version, verdict, is_reused=is_reused)
        found = _retry_deadlocks(recorder, [done[index] for index in indexes])
        for index, outcome in zip(indexes, found, strict=True):
            outcomes[index] = outcome
    return outcomes, verdict.state


def summarise(done: Sequence[Done]) -> Observation:
    """What the breaker is told. What was reused says nothing about the classifier."""
    own = [item for item in done if not item.is_reused]
    unavailable = [item.result for item in own if isinstance(item.result, ClassifierUnavailable)]
    failed = [item.work for item in own if item.is_failure and not isinstance(item.result, ClassifierUnavailable)]
    return Observation(
        successes=sum(item.is_success for item in own),
        failures=len(failed),
        first_failures=tuple(_name(work.claim) for work in failed if work.claim.attempts == 0),
        unavailable_for=max((timedelta(seconds=error.retry_after_s) for error in unavailable), default=None),
    )


def _name(claim: Claim) -> UUID:
    """What the breaker knows it by: the thread, whose attempt it may give back, or a preview's row of it."""
    return claim.thread_id if claim.preview_id is None else uuid5(claim.preview_id, str(claim.thread_id))


class _Recorder:
    """Writes what came out for threads of one stream."""

    def __init__(self, stream: Stream, classifier_version: str, verdict: Verdict, *, is_reused: bool) -> None:
        self._stream = stream
        self._classifier_version = classifier_version
        self._verdict = verdict
        self._is_reused = is_reused

    @transaction.atomic
    def __call__(self, done: Sequence[Done]) -> list[Outcome]:
        written = self._write([item for item in done if item.is_success])
        if written.is_complete and all(item.is_success for item in done):
            outcomes = [Outcome.LABELLED] * len(done)
        else:
            outcomes = [self._decide(item, written) for item in done]
            self._give_back(done, outcomes)
        if self._stream.run_id is not None:
            self._move_run(self._stream.run_id, Counter(outcomes))
            if self._stream.is_preview and not self._is_reused:
                self._note_effort(self._stream.run_id, [item for item in done if item.is_success])
        return outcomes

    def _write(self, successes: Sequence[Done]) -> Written:
        if not successes:
            return Written(frozenset(), frozenset())
        stream = self._stream
        if stream.is_preview:
            assert stream.run_id is not None
            writing.write_sample(stream.run_id, {d.work.claim.thread_id: int(_category_of(d)) for d in successes})
            return Written(frozenset(), frozenset())
        return writing.write_labels(
            stream.project_id,
            [_as_label(item) for item in successes],
            taxonomy_version=stream.taxonomy.version,
            classifier_version=self._classifier_version,
            run_id=stream.run_id,
        )

    def _decide(self, item: Done, written: Written) -> Outcome:
        thread_id = item.work.claim.thread_id
        if item.is_success:
            if thread_id in written.dropped:
                return Outcome.DROPPED
            return Outcome.SUPERSEDED if thread_id in written.superseded else Outcome.LABELLED
        if item.result is NoResult.NO_CATEGORY:
            return Outcome.DROPPED
        if self._is_forgiven(item):
            return Outcome.POSTPONED
        return Outcome.GIVEN_UP if item.work.claim.attempts + 1 >= MAX_ATTEMPTS else Outcome.FAILED

    def _is_forgiven(self, item: Done) -> bool:
        if isinstance(item.result, NoResult | ClassifierUnavailable):
            return True
        return not self._verdict.failures_count

    def _give_back(self, done: Sequence[Done], outcomes: Sequence[Outcome]) -> None:
        claiming.release(_claims_of(done, outcomes, Outcome.DROPPED))
        claiming.count_failures(_claims_of(done, outcomes, Outcome.FAILED, Outcome.GIVEN_UP))
        by_pause: dict[timedelta, list[Claim]] = {}
        for item, outcome in zip(done, outcomes, strict=True):
            if outcome is Outcome.POSTPONED:
                by_pause.setdefault(_choose_pause(item), []).append(item.work.claim)
            if outcome in (Outcome.FAILED, Outcome.GIVEN_UP):
                _log_failure(item)
        for pause, postponed in by_pause.items():
            claiming.postpone(postponed, pause)

    def _note_effort(self, run_id: UUID, classified: Sequence[Done]) -> None:
        if classified:
            runs.note_effort(run_id, classified=len(classified), busy_s=sum(item.lane_s for item in classified))

    def _move_run(self, run_id: UUID, outcomes: Counter[Outcome]) -> None:
        # The last write of the transaction: other workers' flushes of the run wait for this row.
        finished = sum(outcomes[outcome] for outcome in FINISHED)
        moved = {"done": finished, "failed": outcomes[Outcome.GIVEN_UP], "reused": finished * self._is_reused}
        if self._stream.run is not None and self._stream.run.limit is not None:
            moved["claimed"] = -sum(outcomes[outcome] for outcome in UNFINISHED)
        changes = {name: F(name) + by for name, by in moved.items() if by}
        if changes:
            Run.objects.filter(pk=run_id).update(**changes)


def _retry_deadlocks(
    write: Callable[[Sequence[Done]], list[Outcome]], done: Sequence[Done], tries: int = DEADLOCK_TRIES
) -> list[Outcome]:
    """Two bulk writes may lock the same rows in different orders; PostgreSQL ends one of them, which comes again."""
    for _ in range(tries - 1):
        try:
            return write(done)
        except OperationalError as error:
            if not was_a_deadlock(error):
                raise
    return write(done)


def _as_label(item: Done) -> NewLabel:
    assert isinstance(item.result, Classification)
    claim = item.work.claim
    return NewLabel(
        claim.thread_id, _parse_id(item.result.category_id), float(item.result.confidence), claim.category_id
    )


@lru_cache(maxsize=1_000)
def _parse_id(category_id: str) -> UUID:
    return UUID(category_id)


def _category_of(item: Done) -> str:
    assert isinstance(item.result, Classification)
    return item.result.category_id


def _claims_of(done: Sequence[Done], outcomes: Sequence[Outcome], *wanted: Outcome) -> list[Claim]:
    return [item.work.claim for item, outcome in zip(done, outcomes, strict=True) if outcome in wanted]


def _choose_pause(item: Done) -> timedelta:
    if isinstance(item.result, ClassifierUnavailable):
        return timedelta(seconds=item.result.retry_after_s)
    return composition.pacing().pauses[0]


def _log_failure(item: Done) -> None:
    # not the message: a classifier may have put the question into it
    claim = item.work.claim
    cause = _name_cause(item)
    logger.warning("thread %s could not be classified (%s), attempt %d", claim.thread_id, cause, claim.attempts + 1)


def _describe_last_error(done: Sequence[Done]) -> str:
    return next((_name_cause(item) for item in reversed(done) if item.is_failure), "")


def _name_cause(item: Done) -> str:
    assert isinstance(item.result, ClassifierError)
    return type(item.result.__cause__ or item.result).__name__
