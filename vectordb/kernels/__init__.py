"""Arithmetic over arrays: scores and the best k of them. Knows nothing of chunks, files or requests."""

from vectordb.kernels.scores import bound_error, measure_rows, normalise_rows, score_exactly, score_rows
from vectordb.kernels.top_k import pad_results, select_above, select_top_k

__all__ = [
    "bound_error",
    "measure_rows",
    "normalise_rows",
    "pad_results",
    "score_exactly",
    "score_rows",
    "select_above",
    "select_top_k",
]
