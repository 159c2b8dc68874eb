"""Calls of a classifier: what runs in lanes. Nothing here touches the database.

A classifier may be anybody's. Whatever it raises or answers becomes a result for each question.
"""

from __future__ import annotations

import math
import time
from asyncio import CancelledError
from collections.abc import Sequence
from enum import Enum

from categorisation.classifiers import CategorySpec, Classification, Classifier
from categorisation.errors import ClassifierError, ClassifierUnavailable


class NoResult(Enum):
    """Why a thread was not even tried."""

    NO_CATEGORY = "the project's last category was deleted after the thread was claimed"
    SAME_QUESTION_FAILED = "another thread with the same question failed, and is enough to try it"


Result = Classification | ClassifierError | NoResult


def classify_all(
    classifier: Classifier, questions: Sequence[str], categories: Sequence[CategorySpec], deadline: float = math.inf
) -> list[Result]:
    """A classification for each question, in order, or the reason why there is none. Raises nothing.

    Without categories, every question's is NO_CATEGORY. When a call with many questions fails, each is tried alone, so
    that a question that no classifier can bear fails alone; those that are not reached before the deadline (of
    `time.monotonic`) count as not available.
    """
    if not categories:
        return [NoResult.NO_CATEGORY] * len(questions)
    try:
        return list(_checked(classifier.classify(questions, categories), questions, categories))
    except ClassifierUnavailable as error:
        return [error] * len(questions)
    except (Exception, CancelledError) as error:  # noqa: BLE001 - somebody else's classifier may raise anything, for one poisonous question
        if len(questions) == 1:
            return [_as_classifier_error(error)]
    results: list[Result] = []
    for question in questions:
        if time.monotonic() > deadline or (results and isinstance(results[-1], ClassifierUnavailable)):
            results.append(ClassifierUnavailable("There was no time left for this question."))
        else:
            results += classify_all(classifier, [question], categories)
    return results


def classify_in_parts(
    classifier: Classifier, questions: Sequence[str], categories: Sequence[CategorySpec], questions_per_call: int
) -> list[Result]:
    """The same, one call after another of so many questions each."""
    results: list[Result] = []
    for start in range(0, len(questions), questions_per_call):
        results += classify_all(classifier, questions[start : start + questions_per_call], categories)
    return results


def _checked(
    found: Sequence[Classification], questions: Sequence[str], categories: Sequence[CategorySpec]
) -> Sequence[Classification]:
    if len(found) != len(questions):
        raise ClassifierError(f"The classifier gave {len(found)} classifications for {len(questions)} questions.")
    known = {category.id for category in categories}
    for classification in found:
        if classification.category_id not in known:
            raise ClassifierError("The classifier named a category that it was not given.")
        if not 0 <= classification.confidence <= 1:
            raise ClassifierError("The classifier's confidence is not between 0 and 1.")
    return found


def _as_classifier_error(error: BaseException) -> ClassifierError:
    if isinstance(error, ClassifierError):
        return error
    wrapped = ClassifierError(f"The classifier raised {type(error).__name__}.")
    wrapped.__cause__ = error
    return wrapped
