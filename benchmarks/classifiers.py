"""Classifiers whose cost is known: one that costs nothing, and one whose latencies are spread log-normally."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Sequence
from statistics import NormalDist

from categorisation.classifiers import CategorySpec, Classification

SIGMA = 1.0  # the slowest hundredth of calls then takes six times the mean
MEAN_VARIABLE = "BENCHMARK_MEAN_S"


class FreeClassifier:
    """Takes the first category, at once."""

    version = "free-1"

    def classify(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> list[Classification]:
        return [Classification(categories[0].id, 0.5)] * len(questions)


class LogNormalClassifier(FreeClassifier):
    """Waits as long as `latency_of` says for each question."""

    version = "log-normal-1"

    def __init__(self) -> None:
        self._mean_s = float(os.environ[MEAN_VARIABLE])

    def classify(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> list[Classification]:
        for question in questions:
            time.sleep(latency_of(question, self._mean_s))
        return super().classify(questions, categories)


def latency_of(question: str, mean_s: float) -> float:
    """Seconds: always the same for a question, over many of them log-normal with that mean."""
    digest = int.from_bytes(hashlib.md5(question.encode()).digest()[:6], "big")
    share = (digest + 0.5) / 2**48
    return mean_s * math.exp(SIGMA * NormalDist().inv_cdf(share) - SIGMA**2 / 2)
