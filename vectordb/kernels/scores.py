"""Scores of rows against queries; larger is better in every metric."""

import numpy as np

from vectordb.errors import Invalid
from vectordb.schemas.arrays import FloatArray
from vectordb.schemas.base import Metric

_BLOCK_ROWS = 4_096


def normalise_rows(rows: FloatArray) -> FloatArray:
    """Return `rows` (n, d) brought to unit length; norms are taken in float64, so that tiny rows keep their direction.

    Raises Invalid when a row is all zeros: it has no direction.
    """
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    if not norms.all():
        raise Invalid("a zero vector has no direction under cosine")
    unit: FloatArray = (rows / norms[:, np.newaxis]).astype(np.float32)
    return unit


def score_rows(rows: FloatArray, queries: FloatArray, metric: Metric) -> FloatArray:
    """Return the scores float32 (q, n) of `rows` (n, d) for `queries` (q, d).

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
