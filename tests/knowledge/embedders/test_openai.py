from __future__ import annotations

import base64
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from knowledge.embedders import OpenAIEmbedder
from knowledge.errors import EmbedderRefused, EmbedderUnavailable
from tests.knowledge import misbehaving_server as server

KEY = "sk-very-secret"
TEXT = "what nobody may read in a log"
GOOD = [1.0] * server.DIMENSION


def make_embedder(base_url: str, **options: object) -> closing[OpenAIEmbedder]:
    given = {"timeout_s": 5.0, "max_retries": 0, "model": "small", "api_key": KEY, **options}
    return closing(OpenAIEmbedder(base_url=base_url, **given))  # type: ignore[arg-type]


def expect_unavailable(behaviour: server.Behaviour, **options: object) -> EmbedderUnavailable:
    with (
        server.serve(behaviour) as running,
        make_embedder(running.base_url, **options) as embedder,
        pytest.raises(EmbedderUnavailable) as caught,
    ):
        embedder.embed_documents([TEXT])
    return caught.value


@pytest.mark.parametrize("answer", [server.answer_well, server.answer_plain_lists_without_index])
def test_vectors_come_in_order_and_unit_length_over_several_batches(answer: server.Behaviour) -> None:
    texts = [f"text {index}" for index in range(7)]
    with server.serve(answer) as running, make_embedder(running.base_url, batch_size=3) as embedder:
        vectors = embedder.embed_documents(texts)
        query = embedder.embed_query(texts[5])
    expected = np.stack([server.vector_of(text) / np.linalg.norm(server.vector_of(text)) for text in texts])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_array_equal(query, vectors[5])
    assert vectors.dtype == np.float32
    assert [len(payload["input"]) for payload in running.payloads] == [3, 3, 1, 1]
    assert {payload["model"] for payload in running.payloads} == {"small"}
    assert set(running.authorizations) == {f"Bearer {KEY}"}


def test_the_dimension_is_asked_for_once_when_nobody_gave_it() -> None:
    with server.serve(server.answer_well) as running, make_embedder(running.base_url) as embedder:
        assert embedder.dimension == server.DIMENSION
        assert embedder.embed_documents([]).shape == (0, server.DIMENSION)
    assert len(running.payloads) == 1


def test_a_dimension_that_was_given_needs_no_request() -> None:
    with make_embedder("http://127.0.0.1:9/v1", dimension=1536) as embedder:
        assert embedder.dimension == 1536


def test_half_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    with server.serve(server.answer_well) as running, make_embedder(running.base_url) as embedder:
        embedder.embed_query("broken \ud83d here")
    assert running.payloads[0]["input"] == ["broken ? here"]


def test_a_server_that_never_finishes_is_given_up_at_the_deadline() -> None:
    # It goes on until the test lets it go: without a deadline over the whole, this would never return.
    error = expect_unavailable(server.trickle_body, timeout_s=0.4, max_retries=5)
    assert error.retry_after_s > 0


def test_a_connection_that_breaks_is_unavailable() -> None:
    assert "connection to the embedder failed" in str(expect_unavailable(server.break_off))


@pytest.mark.parametrize(("status", "is_refused"), [(400, True), (413, True), (422, True), (401, False), (429, False)])
def test_a_text_that_is_not_taken_is_told_from_a_fault_of_the_endpoint(status: int, is_refused: bool) -> None:
    error = expect_unavailable(server.answer_status(status))
    assert isinstance(error, EmbedderRefused) is is_refused


def test_an_answer_without_end_is_given_up_before_it_fills_the_memory() -> None:
    assert str(expect_unavailable(server.flood, timeout_s=60.0)) == "The embedder's answer is too large."


@pytest.mark.parametrize(
    ("status", "headers", "retry_after_s"),
    [
        (429, {"retry_after": "17"}, 17),
        (500, {}, 5),
        (401, {}, 60),
    ],
)
def test_a_refusal_says_when_to_come_back_and_quotes_nothing(
    status: int, headers: dict[str, str], retry_after_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = expect_unavailable(server.answer_status(status, **headers))
    assert error.retry_after_s == retry_after_s
    assert str(status) in str(error)
    shown = repr(error) + repr(error.__cause__) + caplog.text
    assert KEY not in shown
    assert TEXT not in shown
    assert error.__suppress_context__


@pytest.mark.parametrize(
    "behaviour",
    [
        server.answer_body(b""),
        server.answer_body(b"<html>welcome</html>", content_type="text/html"),
        server.answer_body(b'{"data": [{"embedding": [1.0'),
        server.answer_body(b"\xff\xfe\x00"),
        server.answer_body(b"[" * 200_000),
        server.answer_body(b"null"),
        server.answer_body(b"[]"),
        server.answer_body(b"{}"),
        server.answer_body(b'{"data": [{"embedding": [NaN, 1.0]}]}'),
        server.answer_body(b'{"data": [{"embedding": [1e999, 1.0]}]}'),
        server.answer_body(b'{"data": [{"embedding": [1' + b"0" * 400 + b"]}]}"),
        server.answer_data(None),
        server.answer_data([]),
        server.answer_data(["text"]),
        server.answer_data([{}]),
        server.answer_data([{"embedding": None}]),
        server.answer_data([{"embedding": []}]),
        server.answer_data([{"embedding": ""}]),
        server.answer_data([{"embedding": "no base64!"}]),
        server.answer_data([{"embedding": "AAAA"}]),
        server.answer_data([{"embedding": base64.b64encode(np.full(4, np.nan, "<f4").tobytes()).decode()}]),
        server.answer_data([{"embedding": [[1.0]]}]),
        server.answer_data([{"embedding": ["1.0"]}]),
        server.answer_data([{"embedding": [True]}]),
        server.answer_data([{"embedding": [0.0] * server.DIMENSION}]),
        server.answer_data([{"embedding": [1e308] * server.DIMENSION}]),
        server.answer_data([{"embedding": GOOD}, {"embedding": GOOD}]),
        server.answer_data([{"embedding": GOOD, "index": 1}]),
        server.answer_data([{"embedding": GOOD, "index": "0"}]),
    ],
)
def test_an_answer_that_is_no_embedding_is_unavailable(behaviour: server.Behaviour) -> None:
    assert TEXT not in str(expect_unavailable(behaviour))


def test_vectors_of_different_dimensions_in_one_answer_are_refused() -> None:
    behaviour = server.answer_data([{"embedding": GOOD}, {"embedding": GOOD[:-1]}])
    with (
        server.serve(behaviour) as running,
        make_embedder(running.base_url) as embedder,
        pytest.raises(EmbedderUnavailable, match=r"\[7, 8\] dimensions"),
    ):
        embedder.embed_documents(["one", "two"])


def test_a_dimension_other_than_the_given_or_the_first_is_refused() -> None:
    shorter = server.answer_data([{"embedding": GOOD[:-1]}])
    assert "8 dimensions" in str(expect_unavailable(shorter, dimension=server.DIMENSION))
    with server.serve(server.answer_well, shorter) as running, make_embedder(running.base_url) as embedder:
        embedder.embed_query(TEXT)
        with pytest.raises(EmbedderUnavailable, match="not of 8 dimensions"):
            embedder.embed_query(TEXT)


def test_many_lanes_share_one_embedder() -> None:
    texts = [f"lane {lane}" for lane in range(16)]
    with server.serve(server.answer_well) as running, make_embedder(running.base_url) as embedder:
        with ThreadPoolExecutor(8) as lanes:
            vectors = list(lanes.map(embedder.embed_query, texts))
        np.testing.assert_array_equal(np.stack(vectors), embedder.embed_documents(texts))


@pytest.mark.parametrize(
    ("base_url", "fingerprint"),
    [
        ("https://api.example.com/v1/", "small@api.example.com/v1"),
        ("http://user:password@host:8080/v1?key=secret", "small@host:8080/v1"),
    ],
)
def test_the_fingerprint_names_model_and_endpoint_and_no_secret(base_url: str, fingerprint: str) -> None:
    with make_embedder(base_url) as embedder:
        assert embedder.fingerprint == fingerprint


@pytest.mark.parametrize("options", [{"timeout_s": 0.0}, {"max_retries": -1}, {"batch_size": 0}])
def test_limits_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        make_embedder("http://127.0.0.1:9/v1", **options)
