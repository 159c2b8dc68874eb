"""One thread's way to a label: claim it, read the taxonomy, classify, write.

`label_thread` goes it in the calling thread, for a single conversation; windows go it with many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from categorisation import selectors
from categorisation.classifiers import Classifier
from categorisation.selectors import TaxonomySnapshot
from categorisation.services import claims as claiming
from categorisation.services import health, results
from categorisation.services.calls import Result, classify_all
from categorisation.services.claims import Claim
from categorisation.services.results import Outcome
from categorisation.services.streams import Done, Stream, Work

MAX_ROUNDS = 3


def label_thread(thread_id: UUID, classifier: Classifier) -> Outcome:
    """Classify a thread that is due, and label it if it is still unlabelled by then."""
    outcome = Outcome.NOT_CLAIMED
    for _ in range(MAX_ROUNDS):
        state, now = health.read_state(classifier.version)
        claim = None if state.is_open(now) else claiming.claim_thread(thread_id)
        if claim is None:
            break
        taxonomy = selectors.read_taxonomy(claim.project_id)
        found = classify_all(classifier, [claim.question], taxonomy.categories)
        (outcome,) = record_results(
            [claim], found, taxonomy_version=taxonomy.version, classifier_version=classifier.version
        )
        if outcome is not Outcome.DROPPED:
            break
    return outcome


def record_results(
    claims: Sequence[Claim], found: Sequence[Result], *, taxonomy_version: int, classifier_version: str
) -> list[Outcome]:
    """Write what came out for claimed threads of one project; one outcome for each, in order."""
    if not claims:
        return []
    stream = Stream(claims[0].project_id, TaxonomySnapshot(taxonomy_version, ()))
    done = [Done(Work(stream, claim), result) for claim, result in zip(claims, found, strict=True)]
    outcomes, _ = results.record(done, classifier_version)
    return outcomes
