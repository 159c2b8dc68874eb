from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.embedders import MiniLMEmbedder, model_files
from knowledge.embedders.minilm import bucket_by_length
from knowledge.errors import ModelFilesInvalid
from tests.knowledge.embedders.naive_minilm import NaiveMiniLM

TEXTS = [
    "How do I retry a task with exponential backoff?",
    "a",
    "",
    "naïve café, 日本語 and an emoji 🙂",
    "the worker stops answering " * 20,
    "retry " * 400,
    "Two workers share one queue; which of them takes the message?",
]


@pytest.fixture(scope="module")
def naive() -> NaiveMiniLM:
    return NaiveMiniLM()


def test_the_graph_computes_what_plain_numpy_computes(minilm: MiniLMEmbedder, naive: NaiveMiniLM) -> None:
    expected = np.stack([naive.embed(text) for text in TEXTS])
    np.testing.assert_allclose(minilm.embed_documents(TEXTS), expected, atol=1e-5)


def test_rows_come_in_the_order_of_the_texts_and_have_unit_length(minilm: MiniLMEmbedder) -> None:
    texts = [f"{'word ' * (index * 7 % 23)}number {index}" for index in range(60)]
    vectors = minilm.embed_documents(texts)
    assert vectors.shape == (60, minilm.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors, np.stack([minilm.embed_query(text) for text in texts]), atol=1e-5)


def test_no_texts_give_no_rows(minilm: MiniLMEmbedder) -> None:
    assert minilm.embed_documents([]).shape == (0, 384)


def test_half_a_surrogate_pair_is_embedded_as_a_question_mark(minilm: MiniLMEmbedder) -> None:
    np.testing.assert_array_equal(minilm.embed_query("broken \ud83d here"), minilm.embed_query("broken ? here"))


def test_what_is_beyond_256_tokens_does_not_take_part_and_is_counted_without_being_quoted(
    minilm: MiniLMEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    # 254 words beside the two tokens that open and close every text.
    whole = "secret " * 254
    with caplog.at_level(logging.INFO):
        vectors = minilm.embed_documents([whole + "and something else entirely", "short"])
    np.testing.assert_allclose(vectors[0], minilm.embed_query(whole), atol=1e-5)
    assert "1 of 2 texts" in caplog.text
    assert "secret" not in caplog.text


def test_paraphrases_pass_the_relevance_threshold_and_strangers_do_not(minilm: MiniLMEmbedder) -> None:
    question = minilm.embed_query("How do I change my password?")
    near, far = minilm.embed_documents(["Steps to change your password", "The tides follow the moon"])
    assert question @ near > minilm.relevance_threshold > question @ far


def test_the_fingerprint_names_the_model_and_its_weights() -> None:
    assert MiniLMEmbedder().fingerprint == "sentence-transformers/all-MiniLM-L6-v2@53aa51172d14"


def test_many_lanes_load_the_model_once(minilm: MiniLMEmbedder, caplog: pytest.LogCaptureFixture) -> None:
    fresh = MiniLMEmbedder(threads_per_call=2)
    start = Barrier(8)

    def embed(lane: int) -> np.ndarray:
        start.wait()
        return fresh.embed_query(f"lane {lane}")

    with caplog.at_level(logging.INFO), ThreadPoolExecutor(8) as lanes:
        vectors = list(lanes.map(embed, range(8)))
    assert caplog.text.count("Loaded the embedding model") == 1
    expected = np.stack([minilm.embed_query(f"lane {lane}") for lane in range(8)])
    np.testing.assert_allclose(np.stack(vectors), expected, atol=1e-5)


def test_a_missing_model_names_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesInvalid, match=r"python -m knowledge.embedders.install"):
        MiniLMEmbedder(tmp_path).load()


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    folder = model_files.installed_dir(tmp_path)
    folder.mkdir()
    (folder / model_files.MODEL_NAME).write_bytes(b"no graph at all")
    (folder / model_files.TOKENIZER_NAME).write_text("{}")
    with pytest.raises(ModelFilesInvalid, match="cannot be loaded"):
        MiniLMEmbedder(tmp_path).embed_query("anything")


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MiniLMEmbedder(threads_per_call=0)


def test_naming_the_package_loads_neither_onnxruntime_nor_the_sdk() -> None:
    code = "import sys, knowledge.embedders; sys.exit('onnxruntime' in sys.modules or 'openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_the_package_has_no_other_names() -> None:
    import knowledge.embedders

    with pytest.raises(AttributeError, match="no attribute 'Hashing'"):
        _ = knowledge.embedders.Hashing


@given(lengths=st.lists(st.integers(1, 300), max_size=60), max_tokens=st.integers(1, 1024))
def test_buckets_hold_every_text_once_and_stay_within_the_limit(lengths: list[int], max_tokens: int) -> None:
    batches = list(bucket_by_length(lengths, max_tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= max_tokens
