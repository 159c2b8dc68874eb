"""The one place of this room that reads the settings and puts its parts together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

import knowledge.composition
from categorisation.classifiers import Classifier, DummyClassifier, EmbeddingClassifier

EMBEDDING_QUESTIONS_PER_CALL = 32


@dataclass(frozen=True, slots=True)
class Pacing:
    """How long a claim holds, and the pauses: of a thread after its first failure and on, of all when the breaker opens."""

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
    if settings.ENVIRONMENT.classifier == "embedding":
        return EMBEDDING_QUESTIONS_PER_CALL
    return int(getattr(classifier(), "questions_per_call", 1))


def classification_is_enabled() -> bool:
    """The off switch of the whole service; a project's own stands in its taxonomy."""
    return bool(settings.ENVIRONMENT.classification_enabled)
