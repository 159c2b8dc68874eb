"""Searches of one library: filter -> allowed numbers -> indexes -> payload from the record.

Ranking and payload are read at two moments. A chunk that was deleted in between is dropped.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vectordb.engine.fusion import fuse_rankings
from vectordb.engine.indexes import LibraryIndexes
from vectordb.engine.observing import Observer, timed_step
from vectordb.engine.results import Hit, HitScores
from vectordb.schemas import Condition, FloatArray, HybridSearchRequest, IdArray, SearchRequest
from vectordb.storage import LibraryFile, ReaderPool

FUSION_DEPTH = 100
"""Hybrid search joins the best max(100, 5 k) of each side: what neither side ranks that high is not found."""
_FUSION_DEPTH_PER_K = 5
_GROUP_DEPTH_PER_K = 4
_DEPTH_GROWTH = 4

Ranker = Callable[[int], tuple[IdArray, FloatArray]]
"""Gives the best `depth` (numbers, scores), best first, without padding."""


class Searcher:
    """Answers searches from the indexes and a reader's connection."""

    def __init__(self, indexes: LibraryIndexes, readers: ReaderPool, observer: Observer) -> None:
        self._indexes = indexes
        self._readers = readers
        self._observer = observer

    def search(self, queries: FloatArray, request: SearchRequest) -> list[list[Hit]]:
        """Return the hits of each row of `queries` (q, d)."""
        with self._readers.reader() as file:
            allowed = self._match(file, request.filter)
            if request.group_by is None:
                with timed_step(self._observer, "vectors"):
                    numbers, scores = self._indexes.vectors.search(queries, request.k, allowed=allowed)
                ranked = [_unpad(*row) for row in zip(numbers, scores, strict=True)]
            else:
                ranked = [
                    self._group(file, partial(self._rank, query, allowed=allowed), request.k, allowed)
                    for query in queries
                ]
            kept = [_keep_above(*row, request.score_threshold) for row in ranked]
            with timed_step(self._observer, "payload"):
                return _read_hits(file, kept, with_embedding="embedding" in request.include)

    def search_hybrid(self, query: FloatArray, request: HybridSearchRequest) -> list[Hit]:
        """Return the hits for `query` (d,) and the words of `request.text`, joined by reciprocal rank."""
        with self._readers.reader() as file:
            allowed = self._match(file, request.filter)

            def rank(depth: int) -> tuple[IdArray, FloatArray]:
                by_vector, _ = self._rank(query, depth, allowed)
                with timed_step(self._observer, "words"):
                    by_words, _ = _unpad(*self._indexes.words.search(request.text, depth, allowed=allowed))
                return fuse_rankings([by_vector, by_words])

            depth = max(FUSION_DEPTH, _FUSION_DEPTH_PER_K * request.k)
            if request.group_by is None:
                numbers, scores = rank(depth)
                numbers, scores = numbers[: request.k], scores[: request.k]
            else:
                numbers, scores = self._group(file, rank, request.k, allowed, first_depth=depth)
            numbers, scores = _keep_above(numbers, scores, request.score_threshold)
            explained = self._explain(query, request.text, numbers) if "scores" in request.include else {}
            with_embedding = "embedding" in request.include
            with timed_step(self._observer, "payload"):
                return _read_hits(file, [(numbers, scores)], with_embedding=with_embedding, explained=explained)[0]

    def _match(self, file: LibraryFile, condition: Condition | None) -> IdArray | None:
        if condition is None:
            return None
        with timed_step(self._observer, "filter"):
            return file.chunks.match(condition)

    def _rank(self, query: FloatArray, depth: int, allowed: IdArray | None) -> tuple[IdArray, FloatArray]:
        with timed_step(self._observer, "vectors"):
            numbers, scores = self._indexes.vectors.search(query[np.newaxis, :], depth, allowed=allowed)
        return _unpad(numbers[0], scores[0])

    def _group(
        self, file: LibraryFile, rank: Ranker, k: int, allowed: IdArray | None, *, first_depth: int = 0
    ) -> tuple[IdArray, FloatArray]:
        """Return the best chunk of each of the best k documents, looking deeper until there are k or no more."""
        most = len(self._indexes.vectors) if allowed is None else len(allowed)
        depth = max(first_depth, _GROUP_DEPTH_PER_K * k)
        while True:
            numbers, scores = rank(depth)
            documents = file.chunks.find_documents(numbers)
            seen: set[int] = set()
            best: list[int] = []
            for place, number in enumerate(numbers.tolist()):
                document = documents.get(number)
                if document is not None and document not in seen:
                    seen.add(document)
                    best.append(place)
            if len(best) >= k or depth >= most:
                chosen = np.array(best[:k], dtype=np.int64)
                return numbers[chosen], scores[chosen]
            depth = min(depth * _DEPTH_GROWTH, most)

    def _explain(self, query: FloatArray, text: str, numbers: IdArray) -> dict[int, HitScores]:
        """Return both scores of each of `numbers`, however it was found."""
        if len(numbers) == 0:
            return {}
        among = np.sort(numbers)
        vector_numbers, vector_scores = self._rank(query, len(among), among)
        by_vector = dict(zip(vector_numbers.tolist(), vector_scores.tolist(), strict=True))
        text_numbers, text_scores = _unpad(*self._indexes.words.search(text, len(among), allowed=among))
        by_words = dict(zip(text_numbers.tolist(), text_scores.tolist(), strict=True))
        return {number: HitScores(by_vector.get(number), by_words.get(number)) for number in numbers.tolist()}


def _unpad(numbers: IdArray, scores: FloatArray) -> tuple[IdArray, FloatArray]:
    found = numbers >= 0
    return numbers[found], scores[found]


def _keep_above(numbers: IdArray, scores: FloatArray, threshold: float | None) -> tuple[IdArray, FloatArray]:
    if threshold is None:
        return numbers, scores
    kept = scores >= threshold
    return numbers[kept], scores[kept]


def _read_hits(
    file: LibraryFile,
    ranked: Sequence[tuple[IdArray, FloatArray]],
    *,
    with_embedding: bool,
    explained: dict[int, HitScores] | None = None,
) -> list[list[Hit]]:
    """Return the hits of each ranking; chunks that are gone meanwhile are dropped."""
    wanted = np.unique(np.concatenate([numbers for numbers, _ in ranked]))
    rows = file.chunks.find_by_numbers(wanted, with_embedding=with_embedding)
    scores_of = explained or {}
    return [
        [
            Hit(rows[number], score, scores_of.get(number))
            for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
            if number in rows
        ]
        for numbers, scores in ranked
    ]
