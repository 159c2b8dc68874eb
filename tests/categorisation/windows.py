"""Windows of the tests' own: small, quick, with the classifier that a test brings."""

from __future__ import annotations

from collections import Counter
from typing import Any

from categorisation import services
from categorisation.classifiers import Classifier
from categorisation.lanes import Lanes
from categorisation.services import BatchParts, LiveParts, Outcome


def do_nothing() -> None:
    pass


def live_parts(classifier: Classifier, **changes: Any) -> LiveParts:
    parts = {"lanes": Lanes(8), "max_calls": 8, "worker": "test", "send_successor": do_nothing, **changes}
    return LiveParts(classifier=classifier, **parts)


def batch_parts(classifier: Classifier, **changes: Any) -> BatchParts:
    parts = {"lanes": Lanes(8), "max_calls": 8, "worker": "test", "send_successor": do_nothing}
    return BatchParts(classifier=classifier, **{**parts, "claims_s": 20.0, "drains_s": 10.0, **changes})


def sweep(classifier: Classifier, **changes: Any) -> Counter[Outcome]:
    """What the sweeper does."""
    return services.label_young_threads(live_parts(classifier, **changes))


def run_batch(classifier: Classifier, **changes: Any) -> Counter[Outcome]:
    """What a batch of the backfill does."""
    return services.run_batch(batch_parts(classifier, **changes))
