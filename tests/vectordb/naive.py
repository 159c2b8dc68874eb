"""Slow twins: the same answers by the plainest way there is."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from vectordb.index.tokens import Tokeniser


class NaiveVectors:
    """Every vector in a dict, every score by one formula in float64."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.vectors: dict[int, np.ndarray] = {}

    def score(self, vector: np.ndarray, query: np.ndarray) -> float:
        x, y = vector.astype(np.float64), query.astype(np.float64)
        if self.metric == "l2":
            return -math.dist(x, y)
        product = float(x @ y)
        return product / math.sqrt(float(x @ x) * float(y @ y)) if self.metric == "cosine" else product

    def search(self, query: np.ndarray, k: int, allowed: set[int] | None = None) -> list[tuple[int, float]]:
        scored = [
            (id_, self.score(vector, query))
            for id_, vector in self.vectors.items()
            if allowed is None or id_ in allowed
        ]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


class NaiveWords:
    """BM25 as the formula says it, text by text."""

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self.k1, self.b = k1, b
        self.tokenise = Tokeniser().tokenise
        self.texts: dict[int, Counter[str]] = {}

    def add(self, id_: int, text: str) -> None:
        self.texts[id_] = Counter(self.tokenise(text))

    def score(self, counts: Counter[str], question: list[str]) -> float:
        mean = sum(text.total() for text in self.texts.values()) / len(self.texts)
        total = 0.0
        for word in question:
            holding = sum(word in text for text in self.texts.values())
            if not counts[word]:
                continue
            idf = math.log(1 + (len(self.texts) - holding + 0.5) / (holding + 0.5))
            norm = self.k1 * (1 - self.b + self.b * counts.total() / mean)
            total += idf * counts[word] * (self.k1 + 1) / (counts[word] + norm)
        return total

    def search(self, text: str, k: int, allowed: set[int] | None = None) -> list[tuple[int, float]]:
        question = self.tokenise(text)
        scored = [(id_, self.score(counts, question)) for id_, counts in self.texts.items()]
        found = [pair for pair in scored if pair[1] > 0 and (allowed is None or pair[0] in allowed)]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]


def assert_same_ranking(ids: np.ndarray, scores: np.ndarray, expected: list[tuple[int, float]]) -> None:
    """The same scores, the same ids where scores differ by more than rounding, and padding behind them."""
    count = len(expected)
    assert (ids[count:] == -1).all()
    assert np.isneginf(scores[count:]).all()
    assert len(set(ids[:count].tolist())) == count
    np.testing.assert_allclose(scores[:count], [score for _, score in expected], rtol=1e-4, atol=1e-4)
    for place, (id_, score) in enumerate(expected):
        if ids[place] == id_:
            continue
        neighbours = [other for other_place, (_, other) in enumerate(expected) if other_place != place]
        # Another id at this place is right only among scores that rounding cannot tell apart; the last place may be
        # tied with one that was cut off.
        assert place == count - 1 or any(math.isclose(score, other, rel_tol=1e-4, abs_tol=1e-4) for other in neighbours)
