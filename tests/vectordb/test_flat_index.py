import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectordb.naive import NaiveVectors, assert_same_ranking
from vectordb.errors import IndexFileInvalid, Invalid
from vectordb.index import FlatIndex, Index

METRICS = ["cosine", "dot", "l2"]
_ids = st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _ids, st.integers(0, 1_000)),
        st.tuples(st.just("remove"), _ids, st.just(0)),
        st.tuples(st.just("reload"), st.just([]), st.just(0)),
    ),
    max_size=20,
)


def _vectors(seed: int, count: int, dimension: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None)
@given(steps=_steps, allowed=st.none() | _ids, k=st.integers(1, 40))
def test_any_sequence_of_changes_answers_as_the_naive_twin(metric, steps, allowed, k, tmp_path_factory):
    index: Index = FlatIndex(3, metric)
    naive = NaiveVectors(metric)
    for kind, ids, seed in steps:
        if kind == "add":
            vectors = _vectors(seed, len(ids))
            index.add(np.array(ids, dtype=np.int64), vectors)
            naive.vectors.update(zip(ids, vectors, strict=True))
        elif kind == "remove":
            index.remove(np.array(ids, dtype=np.int64))
            for id_ in ids:
                naive.vectors.pop(id_, None)
        else:
            path = tmp_path_factory.mktemp("index") / "flat"
            index.save(path)
            index = FlatIndex.load(path)
        assert len(index) == len(naive.vectors)
    queries = _vectors(5, 2)
    among = None if allowed is None else np.array(sorted(allowed), dtype=np.int64)
    found_ids, found_scores = index.search(queries, k, allowed=among)
    assert found_ids.shape == found_scores.shape == (2, k)
    for ids, scores, query in zip(found_ids, found_scores, queries, strict=True):
        expected = naive.search(query, k, None if allowed is None else set(allowed))
        assert_same_ranking(ids, scores, expected)


def test_equal_scores_stand_by_rising_id():
    index = FlatIndex(2, "l2")
    index.add(np.array([9, 4, 7]), np.ones((3, 2), dtype=np.float32))
    ids, _ = index.search(np.zeros((1, 2), dtype=np.float32), 2)
    assert ids.tolist() == [[4, 7]]


def test_replacing_many_times_does_not_grow_the_index_without_end():
    index = FlatIndex(8, "dot")
    ids = np.arange(100)
    for seed in range(50):
        index.add(ids, _vectors(seed, 100, 8))
    assert len(index) == 100
    assert index.memory_bytes() < 20 * 100 * 8 * 4


@pytest.mark.parametrize("shape", [(1, 2), (1, 4), (3,)])
def test_a_wrong_shape_is_refused_and_changes_nothing(shape):
    index = FlatIndex(3, "dot")
    with pytest.raises(Invalid):
        index.add(np.array([1]), np.ones(shape, dtype=np.float32))
    assert len(index) == 0


def test_a_zero_vector_is_refused_under_cosine_and_nothing_of_its_batch_is_added():
    index = FlatIndex(2, "cosine")
    with pytest.raises(Invalid):
        index.add(np.array([1, 2]), np.array([[1, 0], [0, 0]], dtype=np.float32))
    assert len(index) == 0


def test_an_unknown_search_parameter_is_refused():
    with pytest.raises(Invalid, match="ef"):
        FlatIndex(2, "dot").search(np.ones((1, 2), dtype=np.float32), 1, ef=64)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "flat"
    index = FlatIndex(64, "dot")
    index.add(np.arange(100), _vectors(1, 100, 64))
    index.save(path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[len(content) // 2 :]
    else:
        content.clear()
    path.write_bytes(content)
    with pytest.raises(IndexFileInvalid):
        FlatIndex.load(path)


def test_readers_beside_a_writer_see_whole_states_only():
    """The writer keeps ids in pairs with equal vectors; a reader must never see one of a pair without the other."""
    index = FlatIndex(4, "l2")
    pairs = [np.array([2 * number, 2 * number + 1]) for number in range(25)]
    stop, torn = threading.Event(), []

    def read():
        query = np.zeros((1, 4), dtype=np.float32)
        while not stop.is_set():
            ids, scores = index.search(query, 50)
            seen = dict(zip(ids[0].tolist(), scores[0].tolist(), strict=True))
            torn.extend(id_ for id_ in seen if id_ >= 0 and seen.get(id_ ^ 1) != seen[id_])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    rng = np.random.default_rng(3)
    for step in range(600):
        pair = pairs[step % 25]
        if step % 3 == 2:
            index.remove(pair)
        else:
            index.add(pair, np.repeat(rng.standard_normal((1, 4)).astype(np.float32), 2, axis=0))
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


@pytest.mark.parametrize("removed", [1, 60], ids=["few dead rows", "many dead rows"])
def test_many_queries_in_one_call_answer_as_one_by_one(removed):
    index = FlatIndex(3, "dot")
    index.add(np.arange(100), _vectors(1, 100))
    index.remove(np.arange(removed))
    queries = _vectors(2, 40)
    ids, scores = index.search(queries, 5)
    for number, query in enumerate(queries):
        alone_ids, alone_scores = index.search(query[np.newaxis], 5)
        assert ids[number].tolist() == alone_ids[0].tolist()
        assert scores[number].tolist() == alone_scores[0].tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 7, 384])
def test_equal_vectors_have_equal_scores_and_stand_by_id(metric, dimension):
    index = FlatIndex(dimension, metric)
    copied = _vectors(1, 1, dimension)
    copies = np.arange(0, 406, 2)
    index.add(copies[::-1], np.repeat(copied, len(copies), axis=0))
    index.add(np.arange(1, 400, 2), _vectors(2, 200, dimension))
    for query in _vectors(3, 10, dimension):
        ids, scores = index.search(query[np.newaxis], 403)
        of_copies = ids[0] % 2 == 0
        assert len(set(scores[0][of_copies].tolist())) == 1
        if dimension > 1:  # under cosine, one dimension has two directions only, and all tie
            assert ids[0][of_copies].tolist() == copies.tolist()


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1_000), k=st.integers(1, 30), dimension=st.sampled_from([2, 33, 384]))
def test_a_score_is_the_same_alone_in_a_batch_and_under_a_filter(metric, seed, k, dimension):
    index = FlatIndex(dimension, metric)
    vectors = _vectors(seed, 120, dimension) * np.float32(10.0) ** np.random.default_rng(seed).integers(-8, 8, (120, 1))
    index.add(np.arange(120), vectors[np.random.default_rng(seed).integers(0, 60, 120)].astype(np.float32))
    queries = _vectors(seed + 1, 7, dimension)
    batch_ids, batch_scores = index.search(queries, k)
    all_ids, all_scores = index.search(queries, 120)
    assert batch_ids.tolist() == all_ids[:, :k].tolist()
    assert batch_scores.tolist() == all_scores[:, :k].tolist()
    for number, query in enumerate(queries):
        alone_ids, alone_scores = index.search(query[np.newaxis], k)
        among_ids, among_scores = index.search(query[np.newaxis], k, allowed=np.sort(batch_ids[number]))
        assert alone_ids[0].tolist() == among_ids[0].tolist() == batch_ids[number].tolist()
        assert alone_scores[0].tolist() == among_scores[0].tolist() == batch_scores[number].tolist()
