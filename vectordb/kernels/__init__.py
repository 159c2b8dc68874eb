"""Arithmetic over arrays: scores and the best k of them. Knows nothing of chunks, files or requests."""

from vectordb.kernels.scores import normalise_rows, score_rows
from vectordb.kernels.top_k import pad_results, select_top_k

__all__ = ["normalise_rows", "pad_results", "score_rows", "select_top_k"]
