"""The classifier's way to a label: claim threads, read the taxonomy, classify, write.

No transaction and no lock is held while a classifier computes, and only the calling thread uses the database: lanes run
`classify_all` alone.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum
from uuid import UUID

from categorisation import selectors
from categorisation.classifiers import CategorySpec, Classification, Classifier
from categorisation.errors import ClassifierError, ClassifierUnavailable
from categorisation.selectors import TaxonomySnapshot
from categorisation.services import claims as claiming
from categorisation.services.claims import Claim
from categorisation.services.labels import ComputedLabel, write_computed_labels

logger = logging.getLogger(__name__)

MAX_ROUNDS = 3
WINDOW = 32
SWEEP_BUDGET_S = 25.0  # a tick is over before the next one comes


class NoCategory(Enum):
    """The project's last category was deleted after its thread was claimed."""

    NO_CATEGORY = "no category"


NO_CATEGORY = NoCategory.NO_CATEGORY
Result = Classification | ClassifierError | NoCategory


class Outcome(StrEnum):
    """What became of a claim."""

    NOT_CLAIMED = "not claimed"  # it is not due, or somebody else has it
    LABELLED = "labelled"
    SUPERSEDED = "superseded"  # somebody else labelled it meanwhile
    DROPPED = "dropped"  # its category was deleted meanwhile: due again at once
    POSTPONED = "postponed"  # the classifier is not available
    FAILED = "failed"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the classifier: questions of one project, and the categories that it chooses from."""

    claims: Sequence[Claim]
    taxonomy: TaxonomySnapshot

    @property
    def questions(self) -> list[str]:
        return [claim.question for claim in self.claims]


def label_thread(thread_id: UUID, classifier: Classifier) -> Outcome:
    """Classify a thread that is due, and label it if it is still unlabelled by then."""
    outcome = Outcome.NOT_CLAIMED
    for _ in range(MAX_ROUNDS):
        claim = claiming.claim_thread(thread_id)
        if claim is None:
            break
        (outcome,) = label_claims([claim], classifier)
        if outcome is not Outcome.DROPPED:
            break
    return outcome


def sweep_unlabelled_threads(
    classifier: Classifier, *, questions_per_call: int = 1, budget_s: float = SWEEP_BUDGET_S
) -> Counter[Outcome]:
    """Label young threads that nobody announced, or whose turn has come again, until none is due or time is up.

    Every project with such threads gets its share of a window. Stops early when the classifier is not available.
    """
    deadline = time.monotonic() + budget_s
    outcomes: Counter[Outcome] = Counter()
    while time.monotonic() < deadline and not outcomes[Outcome.POSTPONED]:
        claims = _claim_window()
        if not claims:
            break
        outcomes.update(label_claims(claims, classifier, questions_per_call, deadline))
    return outcomes


def _claim_window() -> list[Claim]:
    return claiming.claim_young_threads(WINDOW, share=WINDOW // 4)


def label_claims(
    claims: Sequence[Claim], classifier: Classifier, questions_per_call: int = 1, deadline: float = math.inf
) -> list[Outcome]:
    """Classify claimed threads and write what comes out; an outcome for each, a project's together."""
    calls = [call for group in _by_project(claims) for call in _plan_calls(group, questions_per_call)]
    outcomes: list[Outcome] = []
    for call, results in zip(calls, _run_in_lanes(classifier, calls, deadline), strict=True):
        outcomes += record_results(call.claims, results, taxonomy_version=call.taxonomy.version)
    return outcomes


def _by_project(claims: Sequence[Claim]) -> list[list[Claim]]:
    groups: dict[UUID, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.project_id, []).append(claim)
    return list(groups.values())


def _plan_calls(claims: Sequence[Claim], questions_per_call: int) -> list[Call]:
    taxonomy = selectors.read_taxonomy(claims[0].project_id)
    starts = range(0, len(claims), questions_per_call)
    return [Call(claims[start : start + questions_per_call], taxonomy) for start in starts]


def _run_in_lanes(classifier: Classifier, calls: Sequence[Call], deadline: float) -> list[list[Result]]:
    def run(call: Call) -> list[Result]:
        return classify_all(classifier, call.questions, call.taxonomy.categories, deadline)

    if len(calls) == 1:  # in this thread, where a time limit of the task reaches the classifier, too
        return [run(calls[0])]
    with ThreadPoolExecutor(len(calls), thread_name_prefix="lane") as lanes:
        return list(lanes.map(run, calls))


def classify_all(
    classifier: Classifier, questions: Sequence[str], categories: Sequence[CategorySpec], deadline: float = math.inf
) -> list[Result]:
    """A classification for each question, in order, or the reason why there is none. Raises nothing.

    Without categories, every question's is NO_CATEGORY. When a call with many questions fails, each is tried alone, so
    that a question that no classifier can bear fails alone; those that are not reached before the deadline (of
    `time.monotonic`) count as not available.
    """
    if not categories:
        return [NO_CATEGORY] * len(questions)
    try:
        return list(_checked(classifier.classify(questions, categories), questions, categories))
    except ClassifierUnavailable as error:
        return [error] * len(questions)
    except Exception as error:  # noqa: BLE001 - somebody else's classifier may raise anything, for one poisonous question
        if len(questions) == 1:
            return [_as_classifier_error(error)]
    results: list[Result] = []
    for question in questions:
        if time.monotonic() > deadline or (results and isinstance(results[-1], ClassifierUnavailable)):
            results.append(ClassifierUnavailable("There was no time left for this question."))
        else:
            results += classify_all(classifier, [question], categories)
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


def _as_classifier_error(error: Exception) -> ClassifierError:
    if isinstance(error, ClassifierError):
        return error
    wrapped = ClassifierError(f"The classifier raised {type(error).__name__}.")
    wrapped.__cause__ = error
    return wrapped


def record_results(claims: Sequence[Claim], results: Sequence[Result], *, taxonomy_version: int) -> list[Outcome]:
    """Write what came out for claimed threads of one project; one outcome for each, in order."""
    computed = [
        ComputedLabel(claim.thread_id, UUID(result.category_id), float(result.confidence))
        for claim, result in zip(claims, results, strict=True)
        if isinstance(result, Classification)
    ]
    labelled: set[UUID] = set()
    dropped: set[UUID] = set()
    if computed:
        labelled, dropped = write_computed_labels(claims[0].project_id, computed, taxonomy_version=taxonomy_version)
    outcomes = []
    for claim, result in zip(claims, results, strict=True):
        if isinstance(result, ClassifierError):
            outcomes.append(_record_error(claim, result))
        elif result is NO_CATEGORY or claim.thread_id in dropped:
            outcomes.append(_drop(claim))
        else:
            outcomes.append(Outcome.LABELLED if claim.thread_id in labelled else Outcome.SUPERSEDED)
    return outcomes


def _record_error(claim: Claim, error: ClassifierError) -> Outcome:
    if isinstance(error, ClassifierUnavailable):
        claiming.postpone([claim], timedelta(seconds=error.retry_after_s))
        return Outcome.POSTPONED
    is_given_up = claiming.count_failures([claim]) > 0
    # not the message: a classifier may have put the question into it
    cause = type(error.__cause__ or error).__name__
    logger.warning("thread %s could not be classified (%s), attempt %d", claim.thread_id, cause, claim.attempts + 1)
    return Outcome.GIVEN_UP if is_given_up else Outcome.FAILED


def _drop(claim: Claim) -> Outcome:
    claiming.release([claim])
    return Outcome.DROPPED
