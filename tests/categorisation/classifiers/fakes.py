from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from categorisation.classifiers.cues import split_words


class WordEmbedder:
    """An Embedder whose vectors count words: texts are as near as the words they share. Remembers what it embedded."""

    dimension = 64
    fingerprint = "words@1"
    relevance_threshold = 0.5

    def __init__(self) -> None:
        self.embedded: list[str] = []
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._lock:
            self.embedded.extend(texts)
            return np.array([self._embed(text) for text in texts], dtype=np.float32).reshape(-1, self.dimension)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    def _embed(self, text: str) -> NDArray[np.float64]:
        vector = np.zeros(self.dimension)
        for word in split_words(text):
            vector[self._places.setdefault(word, len(self._places) % self.dimension)] += 1
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


class FailingEmbedder(WordEmbedder):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise self._error
