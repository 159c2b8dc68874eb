"""Scores of rows against queries; larger is better in every metric."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vectordb.errors import Invalid
from vectordb.schemas.arrays import FloatArray
from vectordb.schemas.base import Metric

_BLOCK_ROWS = 4_096
_EXACT_BLOCK_NUMBERS = 1_000_000
_FLOAT32_EPSILON = float(np.finfo(np.float32).eps)
_SMALLEST_PRODUCT = 1e-40
_SMALLEST_DISTANCE = 1e-20
"""Both are above what products lose that are too small for float32."""


def normalise_rows(rows: FloatArray) -> FloatArray:
    """Return `rows` (n, d) brought to unit length; norms are taken in float64, so that tiny rows keep their direction.

    Equal rows come out equal, wherever they stand. Raises Invalid when a row is all zeros: it has no direction.
    """
    norms = measure_rows(rows)
    if not norms.all():
        raise Invalid("a zero vector has no direction under cosine")
    unit: FloatArray = (rows / norms[:, np.newaxis]).astype(np.float32)
    return unit


def measure_rows(rows: FloatArray) -> NDArray[np.float64]:
    """Return the lengths float64 (n,) of `rows` (n, d)."""
    return np.sqrt(_sum_by_row(rows, lambda block: np.square(block, dtype=np.float64)))


def score_exactly(rows: FloatArray, query: FloatArray, metric: Metric) -> FloatArray:
    """Return the scores float32 (n,) of `rows` (n, d) for `query` (d,), the same for a row whatever stands beside it.

    Each row is summed by itself in float64, and rounded once.
    """
    wide = query.astype(np.float64)
    if metric == "l2":
        squares = _sum_by_row(rows, lambda block: np.square(block - wide))
        return -np.sqrt(squares).astype(np.float32)
    products = _sum_by_row(rows, lambda block: block * wide).astype(np.float32)
    return np.clip(products, -1.0, 1.0) if metric == "cosine" else products


def bound_error(metric: Metric, query: FloatArray, longest_row: float, score: float) -> float:
    """Return how far a score by `score_rows` that is about as good as `score` may be from the exact one.

    Higham, "Accuracy and Stability of Numerical Algorithms" (2002), section 3.1: a sum of d products is off by at most
    about d units of rounding of the product of lengths, in whichever order it is summed. We take twice that.
    """
    relative = (len(query) + 4) * _FLOAT32_EPSILON
    if metric == "l2":
        return relative * abs(score) + _SMALLEST_DISTANCE
    return relative * longest_row * float(measure_rows(query[np.newaxis])[0]) + _SMALLEST_PRODUCT


def score_rows(rows: FloatArray, queries: FloatArray, metric: Metric) -> FloatArray:
    """Return the scores float32 (q, n) of `rows` (n, d) for `queries` (q, d), fast and almost exact.

    The last bits may differ between equal rows, and with what stands beside them; see `score_exactly`.

    cosine: the dot product, of rows and queries that are of unit length already. dot: the dot product. l2: minus the
    Euclidean distance, from differences rather than from the expanded square, which cancels where rows are near.
    """
    if metric == "cosine":
        cosines: FloatArray = np.clip(queries @ rows.T, -1.0, 1.0)  # rounding may leave a hair above 1
        return cosines
    if metric == "dot":
        return queries @ rows.T
    scores = np.empty((len(queries), len(rows)), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        for number, query in enumerate(queries):
            differences = block - query
            squares = np.einsum("nd,nd->n", differences, differences)
            scores[number, start : start + len(block)] = -np.sqrt(squares)
    return scores


def _sum_by_row(rows: FloatArray, spread: Callable[[FloatArray], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the sums float64 (n,) over each row of what `spread` makes of blocks of `rows` (n, d).

    numpy sums along a contiguous axis row by row, pairwise: how depends on d alone.
    """
    sums = np.empty(len(rows), dtype=np.float64)
    step = max(1, _EXACT_BLOCK_NUMBERS // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        sums[start : start + step] = spread(rows[start : start + step]).sum(axis=1)
    return sums
