import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectordb.naive import NaiveWords, assert_same_ranking
from vectordb.errors import IndexFileInvalid, Invalid
from vectordb.index import LexicalIndex, TextIndex
from vectordb.index.tokens import Tokeniser

_WORDS = ["retry", "retries", "task", "queue", "the", "broker", "Ünïcode", "a_b", "x9"]
_texts = st.lists(st.sampled_from(_WORDS), max_size=8).map(" ".join)
_ids = st.lists(st.integers(0, 25), min_size=1, max_size=10, unique=True)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _ids, st.lists(_texts, min_size=10, max_size=10)),
        st.tuples(st.just("remove"), _ids, st.just([])),
        st.tuples(st.just("reload"), st.just([0]), st.just([])),
    ),
    max_size=15,
)


@pytest.mark.parametrize("smallest_tail", [4, 16_384], ids=["merging often", "never merging"])
@settings(max_examples=50, deadline=None)
@given(steps=_steps, question=_texts, allowed=st.none() | _ids, k=st.integers(1, 30))
def test_any_sequence_of_changes_answers_as_the_naive_twin(
    smallest_tail, steps, question, allowed, k, tmp_path_factory
):
    index: TextIndex = LexicalIndex(smallest_tail=smallest_tail)
    naive = NaiveWords()
    for kind, ids, texts in steps:
        if kind == "add":
            index.add(np.array(ids, dtype=np.int64), texts[: len(ids)])
            for id_, text in zip(ids, texts, strict=False):
                naive.add(id_, text)
        elif kind == "remove":
            index.remove(np.array(ids, dtype=np.int64))
            for id_ in ids:
                naive.texts.pop(id_, None)
        else:
            path = tmp_path_factory.mktemp("index") / "lexical"
            index.save(path)
            index = LexicalIndex.load(path)
        assert len(index) == len(naive.texts)
    among = None if allowed is None else np.array(sorted(allowed), dtype=np.int64)
    ids, scores = index.search(question, k, allowed=among)
    assert ids.shape == scores.shape == (k,)
    assert_same_ranking(ids, scores, naive.search(question, k, None if allowed is None else set(allowed)))


def test_a_text_is_found_by_another_form_of_its_words():
    index = LexicalIndex()
    index.add(np.array([1, 2]), ["Tasks that were retried", "a broker"])
    assert index.search("retrying a task", 2)[0].tolist() == [1, -1]


def test_a_question_of_stop_words_finds_nothing():
    index = LexicalIndex()
    index.add(np.array([1]), ["what is the task"])
    assert index.search("what is the", 1)[0].tolist() == [-1]


def test_ids_and_texts_must_be_as_many():
    with pytest.raises(Invalid):
        LexicalIndex().add(np.array([1, 2]), ["one"])


def test_a_damaged_file_is_refused(tmp_path):
    index = LexicalIndex()
    index.add(np.array([1]), ["one"])
    index.save(tmp_path / "lexical")
    (tmp_path / "lexical").write_bytes(b"PK nonsense")
    with pytest.raises(IndexFileInvalid):
        LexicalIndex.load(tmp_path / "lexical")


def test_identifiers_are_split_at_underscores_and_lower_cased():
    assert Tokeniser().tokenise("RETRY_backoff, v2!") == ["retri", "backoff", "v2"]


def test_words_are_still_stemmed_when_the_cache_is_full():
    tokeniser = Tokeniser(most_cached_words=3)
    words = ["apples", "pears", "plums", "grapes", "figs"]
    assert tokeniser.tokenise(" ".join(words * 2)) == ["appl", "pear", "plum", "grape", "fig"] * 2


def test_readers_beside_a_writer_never_fail_and_never_see_what_was_removed_before():
    index = LexicalIndex(smallest_tail=64)
    index.add(np.arange(1_000, 1_010), ["gone"] * 10)
    index.remove(np.arange(1_000, 1_010))
    stop, wrong = threading.Event(), []

    def read():
        while not stop.is_set():
            ids, scores = index.search("gone retry queue", 20)
            wrong.extend(id_ for id_ in ids.tolist() if id_ >= 1_000)
            assert np.isfinite(scores[ids >= 0]).all()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(300):
        ids = np.arange(step % 50, step % 50 + 5)
        if step % 4 == 3:
            index.remove(ids)
        else:
            index.add(ids, [f"retry queue word{step} word{number}" for number in range(5)])
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_words_are_cut_before_they_are_kept():
    tokeniser = Tokeniser()
    long = "x" * 1_000_000
    assert tokeniser.tokenise(long) == tokeniser.tokenise(long[:64]) == tokeniser.tokenise(long[:65])
    assert max(map(len, tokeniser._stems)) == 64
    index = LexicalIndex()
    index.add(np.array([1]), [long])
    assert index.search(f"{long} or more", 1)[0].tolist() == [1]


def test_the_cache_of_stems_stays_within_its_bound():
    tokeniser = Tokeniser(most_cached_words=100)
    tokeniser.tokenise(" ".join(f"word{number}" for number in range(1_000)))
    assert 0 < len(tokeniser._stems) <= 100


@pytest.mark.parametrize("removing", [True, False], ids=["removed", "replaced"])
def test_words_that_no_text_holds_any_more_are_forgotten(removing):
    index = LexicalIndex(smallest_tail=256)
    index.add(np.array([0]), ["a broker stays"])
    for step in range(20):
        index.add(np.array([1]), [" ".join(f"w{step}x{number}" for number in range(300))])
        if removing:
            index.remove(np.array([1]))
    assert len(index._state.terms) < 1_000
    assert index.search("broker", 1)[0].tolist() == [0]
    assert index.search("w19x7", 1)[0].tolist() == [-1 if removing else 1]
    assert index.search("w3x7", 1)[0].tolist() == [-1]
