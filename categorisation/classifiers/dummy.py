"""A stand-in for a slow classifier of somebody else's: it waits, then chooses at random."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from categorisation.classifiers.protocol import CategorySpec, Classification
from categorisation.errors import ClassifierError


class DummyClassifier:
    """Waits `seconds` for each question, as for an answer from the network, and takes any of the categories.

    Its confidence is what a random choice deserves: one divided by the number of categories.
    """

    def __init__(
        self,
        seconds: float = 2.0,
        *,
        choose: Callable[[Sequence[CategorySpec]], CategorySpec] = random.choice,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if seconds < 0:
            raise ValueError(f"seconds must not be negative, got {seconds}")
        self._seconds = seconds
        self._choose = choose
        self._sleep = sleep

    @property
    def version(self) -> str:
        return "dummy-1"

    def classify(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> list[Classification]:
        if not categories:
            raise ClassifierError("There is no category to choose from.")
        return [self._classify_one(categories) for _ in questions]

    def _classify_one(self, categories: Sequence[CategorySpec]) -> Classification:
        self._sleep(self._seconds)
        return Classification(self._choose(categories).id, 1 / len(categories))
