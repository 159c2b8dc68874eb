"""The best k of many scores, the same ones every time."""

from collections.abc import Callable

import numpy as np

from vectordb.schemas.arrays import FloatArray, IdArray


def select_top_k(ids: IdArray, scores: FloatArray, k: int) -> tuple[IdArray, FloatArray]:
    """Return the at most k best (ids, scores), best first; equal scores stand by rising id, at the k-th place too.

    `ids` int64 (n,) and `scores` float32 (n,) belong together; k >= 1.
    """
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        # Everything that ties with the k-th stays in, so that the id decides between them.
        candidates = np.flatnonzero(scores >= threshold)
        ids, scores = ids[candidates], scores[candidates]
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]


def select_above(scores: FloatArray, k: int, margin: Callable[[float], float]) -> IdArray:
    """Return the places of all `scores` (n,) that may be among the k best.

    Each may be off by `margin` of the k-th best; k >= 1.
    """
    if len(scores) <= k:
        return np.arange(len(scores))
    kth = float(np.partition(scores, len(scores) - k)[len(scores) - k])
    # The k-th itself may be too high by the margin, and another too low.
    return np.flatnonzero(scores >= np.float64(kth - 2.0 * margin(kth)))


def pad_results(found: list[tuple[IdArray, FloatArray]], k: int) -> tuple[IdArray, FloatArray]:
    """Return (int64 (q, k), float32 (q, k)) from q results of at most k, padded with -1 and -inf."""
    ids = np.full((len(found), k), -1, dtype=np.int64)
    scores = np.full((len(found), k), -np.inf, dtype=np.float32)
    for number, (row_ids, row_scores) in enumerate(found):
        ids[number, : len(row_ids)] = row_ids
        scores[number, : len(row_scores)] = row_scores
    return ids, scores
