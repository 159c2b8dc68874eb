"""Joining rankings by reciprocal rank.

Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods" (SIGIR
2009): a result is worth the sum of 1 / (60 + rank) over the rankings that hold it.
"""

from collections.abc import Sequence

import numpy as np

from vectordb.schemas.arrays import FloatArray, IdArray

RANK_CONSTANT = 60


def fuse_rankings(rankings: Sequence[IdArray]) -> tuple[IdArray, FloatArray]:
    """Return (ids, joined scores), best first and equal ones by id, of rankings of ids, each best first."""
    worth: dict[int, float] = {}
    for ranking in rankings:
        for rank, id_ in enumerate(ranking.tolist(), start=1):
            worth[id_] = worth.get(id_, 0.0) + 1.0 / (RANK_CONSTANT + rank)
    ordered = sorted(worth.items(), key=lambda item: (-item[1], item[0]))
    ids = np.array([id_ for id_, _ in ordered], dtype=np.int64)
    return ids, np.array([score for _, score in ordered], dtype=np.float32)
