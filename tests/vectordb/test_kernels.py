import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tests.vectordb.naive import NaiveVectors
from vectordb.errors import Invalid
from vectordb.kernels import normalise_rows, pad_results, score_rows, select_top_k

_small = st.floats(-100, 100, width=32)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@settings(deadline=None)
@given(data=st.data())
def test_scores_are_those_of_the_formula(metric, data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 8)))
    rows = data.draw(nps.arrays(np.float32, shape, elements=_small))
    queries = data.draw(nps.arrays(np.float32, (2, shape[1]), elements=_small))
    if metric == "cosine":
        rows[~rows.any(axis=1), 0] = 1.0
        queries[~queries.any(axis=1), 0] = 1.0
        scores = score_rows(normalise_rows(rows), normalise_rows(queries), metric)
    else:
        scores = score_rows(rows, queries, metric)
    naive = NaiveVectors(metric)
    expected = [[naive.score(row, query) for row in rows] for query in queries]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-1 if metric == "dot" else 1e-3)


def test_more_rows_than_one_block_are_all_scored():
    rows = np.arange(10_000, dtype=np.float32).reshape(-1, 1)
    scores = score_rows(rows, np.zeros((1, 1), dtype=np.float32), "l2")
    np.testing.assert_array_equal(scores[0], -rows[:, 0])


def test_a_zero_row_has_no_direction():
    with pytest.raises(Invalid):
        normalise_rows(np.array([[1, 0], [0, 0]], dtype=np.float32))


def test_a_row_whose_squares_underflow_keeps_its_direction():
    unit = normalise_rows(np.array([[3e-30, 4e-30]], dtype=np.float32))
    np.testing.assert_allclose(unit, [[0.6, 0.8]], rtol=1e-6)


@settings(deadline=None)
@given(
    scores=st.lists(st.integers(-3, 3), max_size=40).map(lambda values: np.array(values, dtype=np.float32)),
    k=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_the_best_k_are_those_of_a_full_sort_with_ties_by_id(scores, k, seed):
    ids = np.random.default_rng(seed).permutation(len(scores)).astype(np.int64)
    expected = sorted(zip(ids.tolist(), scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))[:k]
    best_ids, best_scores = select_top_k(ids, scores, k)
    assert list(zip(best_ids.tolist(), best_scores.tolist(), strict=True)) == expected


def test_missing_results_are_padded():
    ids, scores = pad_results([(np.array([7]), np.array([0.5], dtype=np.float32))], 3)
    assert ids.tolist() == [[7, -1, -1]]
    assert scores.tolist() == [[0.5, -np.inf, -np.inf]]
