"""Sorts a question by how near its meaning is to the categories' sample questions."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from categorisation.classifiers.cues import count_cues, split_words
from categorisation.classifiers.protocol import CategorySpec, Classification
from categorisation.errors import ClassifierError, ClassifierUnavailable
from knowledge.embedders import Embedder
from knowledge.errors import EmbedderRefused, EmbedderUnavailable, KnowledgeError

# Weak on purpose: a cue decides between categories that are about as near, and does not outvote the meaning.
CUE_WEIGHT = 0.07
CUE_LIMIT = 2
TEMPERATURE = 0.06
CACHED_TEXTS = 10_000
RETRY_AFTER_SETUP_S = 60
QUESTIONS_PER_CALL = 32
# Lower than any cosine, so that a category that says nothing is chosen only when it is alone.
SCORE_OF_NO_WORDS = -1.0


class EmbeddingClassifier:
    """Takes the category whose prototypes are nearest to the question in meaning.

    A category's prototypes are its examples and "title: description". Its score is the cosine between the question and
    the prototypes' centroid (Rocchio's classifier: Manning, Raghavan & Schütze 2008, section 14.2), plus `CUE_WEIGHT`
    for each cue that occurs in the question, `CUE_LIMIT` of them at most. The centroid, not the nearest prototype: one
    example that happens to share a topic with the question says little about its kind. And its cosine, not the mean
    of the cosines, which is lower the more the examples differ, so that twenty varied ones would lose to five alike.

    The confidence is the softmax of the scores at `TEMPERATURE`, which makes labelled questions likeliest (least log
    loss); its mean then comes out at the share of right answers.

    Prototypes are embedded once and kept for `cached_texts` texts, the least recently used going first.
    """

    def __init__(self, embedder: Embedder, *, cached_texts: int = CACHED_TEXTS) -> None:
        self._embedder = embedder
        self._cached_texts = cached_texts
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        return f"embedding-1/{self._embedder.fingerprint}"

    @property
    def questions_per_call(self) -> int:
        return QUESTIONS_PER_CALL

    @property
    def calls_at_once(self) -> int:
        """Two for each processor: while the labels of one are written, the next one is under way."""
        return 2 * (os.cpu_count() or 1)

    def classify(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> list[Classification]:
        if not categories:
            raise ClassifierError("There is no category to choose from.")
        if not questions:
            return []
        try:
            scores = self._score(questions, categories)
        except EmbedderRefused as exc:
            raise ClassifierError(str(exc)) from exc
        except EmbedderUnavailable as exc:
            raise ClassifierUnavailable(str(exc), retry_after_s=exc.retry_after_s) from exc
        except KnowledgeError as exc:
            raise ClassifierUnavailable(str(exc), retry_after_s=RETRY_AFTER_SETUP_S) from exc
        best = scores.argmax(axis=1)
        confidences = _softmax(scores / TEMPERATURE)
        return [Classification(categories[index].id, float(confidences[row, index])) for row, index in enumerate(best)]

    def _score(self, questions: Sequence[str], categories: Sequence[CategorySpec]) -> NDArray[np.float64]:
        """[questions, categories]"""
        prototypes = [_list_prototypes(category) for category in categories]
        vectors = self._embed_prototypes(text for texts in prototypes for text in texts)
        question_vectors = self._embedder.embed_documents(questions)
        scores: NDArray[np.float64] = np.full((len(questions), len(categories)), SCORE_OF_NO_WORDS)
        for column, texts in enumerate(prototypes):
            centroid = np.sum([vectors[text] for text in texts], axis=0) if texts else np.zeros(1)
            norm = np.linalg.norm(centroid)
            if norm > 0:
                scores[:, column] = question_vectors @ (centroid / norm)
        return scores + CUE_WEIGHT * _count_cues(questions, categories)

    def _embed_prototypes(self, texts: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        wanted = dict.fromkeys(texts)
        with self._lock:
            found = {text: self._cache[text] for text in wanted if text in self._cache}
        missing = [text for text in wanted if text not in found]
        # Outside the lock: two lanes may embed the same text, none waits for another's network.
        if missing:
            found.update(zip(missing, self._embedder.embed_documents(missing), strict=True))
        with self._lock:
            self._cache.update(found)
            for text in wanted:
                self._cache.move_to_end(text)
            while len(self._cache) > self._cached_texts:
                self._cache.popitem(last=False)
        return found


def _list_prototypes(category: CategorySpec) -> list[str]:
    summary = ": ".join(part for part in (category.title.strip(), category.description.strip()) if part)
    return [text for text in (*category.examples, summary) if text.strip()]


def _count_cues(questions: Sequence[str], categories: Sequence[CategorySpec]) -> NDArray[np.int64]:
    counts = [[count_cues(words, category.cues) for category in categories] for words in map(split_words, questions)]
    return np.minimum(np.array(counts, dtype=np.int64), CUE_LIMIT)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares
