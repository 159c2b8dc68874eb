"""The one place of this room that reads the settings and puts its parts together."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

import knowledge.composition
from categorisation.classifiers import Classifier, DummyClassifier, EmbeddingClassifier

EMBEDDING_QUESTIONS_PER_CALL = 32


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
