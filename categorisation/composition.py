"""The one place of this room that reads the settings and puts its parts together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

import knowledge.composition
from categorisation.classifiers import Classifier, DummyClassifier, EmbeddingClassifier
from categorisation.lanes import Lanes


@dataclass(frozen=True, slots=True)
class Pacing:
    """How long a claim holds; the pauses of a thread after each failure, and of all when the breaker opens."""

    lease: timedelta
    pauses: tuple[timedelta, ...]
    breaker_pauses: tuple[timedelta, ...]


def pacing() -> Pacing:
    environment = settings.ENVIRONMENT
    return Pacing(
        timedelta(seconds=environment.classification_lease_s),
        tuple(timedelta(seconds=seconds) for seconds in environment.classification_pauses_s),
        tuple(timedelta(seconds=seconds) for seconds in environment.breaker_pauses_s),
    )


@cache
def classifier() -> Classifier:
    """The classifier that `CLASSIFIER` names; made once a process, when the first question needs it."""
    match settings.ENVIRONMENT.classifier:
        case "dummy":
            return DummyClassifier(settings.ENVIRONMENT.dummy_classifier_seconds)
        case "embedding":
            return EmbeddingClassifier(knowledge.composition.embedder())
        case dotted:
            made: Classifier = import_string(dotted)()
            return made


def questions_per_call() -> int:
    """How many questions a call of the classifier takes with gain. One of somebody else's may say so itself."""
    return int(getattr(classifier(), "questions_per_call", 1))


def calls_at_once() -> int:
    """How many calls a worker's batches have under way at most: as many as there are lanes, or as the classifier gains
    from."""
    return min(backfill_lanes(), getattr(classifier(), "calls_at_once", None) or backfill_lanes())


@cache
def lanes() -> Lanes:
    """The lanes of this process."""
    return Lanes(max(live_lanes(), backfill_lanes()))


def live_lanes() -> int:
    """How many calls a worker's live window has under way at most."""
    return int(settings.ENVIRONMENT.live_lanes)


def backfill_lanes() -> int:
    """How many calls all batches of a worker have under way at most."""
    return int(settings.ENVIRONMENT.backfill_lanes)


def batch_times_s() -> tuple[float, float]:
    """How long a batch claims, and how long it waits at most for what is under way then."""
    return settings.ENVIRONMENT.backfill_batch_s, settings.ENVIRONMENT.backfill_drain_s


def planner_interval_s() -> float:
    return float(settings.ENVIRONMENT.planner_interval_s)


def classification_is_enabled() -> bool:
    """The off switch of the whole service; a project's own stands in its taxonomy."""
    return bool(settings.ENVIRONMENT.classification_enabled)
