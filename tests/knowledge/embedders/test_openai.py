from __future__ import annotations

import base64
import logging
import multiprocessing
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from knowledge.embedders import OpenAIEmbedder
from knowledge.errors import EmbedderUnavailable
from tests.knowledge.embedders import misbehaving_server as server

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


@pytest.mark.parametrize("behaviour", [server.hang, server.trickle_headers, server.trickle_body])
def test_a_server_that_never_finishes_is_given_up_at_the_deadline(behaviour: server.Behaviour) -> None:
    # Each of the three goes on until the test lets it go: without a deadline over the whole, this would never return.
    error = expect_unavailable(behaviour, timeout_s=0.4, max_retries=5)
    assert error.retry_after_s > 0


@pytest.mark.parametrize("behaviour", [server.break_off, server.close_at_once, server.talk_no_http])
def test_a_connection_that_breaks_is_unavailable(behaviour: server.Behaviour) -> None:
    assert "connection to the embedder failed" in str(expect_unavailable(behaviour))


def test_a_refused_connection_is_unavailable() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        with (
            make_embedder(f"http://127.0.0.1:{taken.getsockname()[1]}/v1") as embedder,
            pytest.raises(EmbedderUnavailable, match="connection"),
        ):
            embedder.embed_query(TEXT)


@pytest.mark.parametrize(
    ("status", "headers", "retry_after_s"),
    [
        (429, {"retry_after": "17"}, 17),
        (429, {}, 5),
        (429, {"retry_after": "0"}, 1),
        (429, {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 5),
        (429, {"retry_after": "99999999999999999999"}, 3600),
        (500, {}, 5),
        (503, {"retry_after": "30"}, 30),
        (400, {}, 60),
        (401, {}, 60),
        (404, {}, 60),
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


@pytest.mark.parametrize("first", [server.answer_status(500), server.break_off, server.close_at_once])
def test_a_fault_that_passes_is_tried_again(first: server.Behaviour) -> None:
    with server.serve(first, server.answer_well) as running, make_embedder(running.base_url, max_retries=1) as embedder:
        assert embedder.embed_query(TEXT).shape == (server.DIMENSION,)
    assert len(running.payloads) == 2


@pytest.mark.parametrize(("behaviour", "requests"), [(server.answer_status(500), 3), (server.answer_status(429), 1)])
def test_retries_are_bounded_and_a_rate_limit_is_not_hammered(behaviour: server.Behaviour, requests: int) -> None:
    with (
        server.serve(behaviour) as running,
        make_embedder(running.base_url, max_retries=2) as embedder,
        pytest.raises(EmbedderUnavailable),
    ):
        embedder.embed_query(TEXT)
    assert len(running.payloads) == requests


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


def test_a_forked_process_opens_its_own_connection() -> None:
    with server.serve(server.answer_well) as running, make_embedder(running.base_url) as embedder:
        expected = embedder.embed_query(TEXT)
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=_embed_into, args=(embedder.embed_query, queue))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        np.testing.assert_array_equal(queue.get(), expected)


def _embed_into(embed: Callable[[str], np.ndarray], queue: multiprocessing.SimpleQueue[np.ndarray]) -> None:
    queue.put(embed(TEXT))


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


def test_a_server_that_wants_no_key_gets_none_of_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with server.serve(server.answer_well) as running, make_embedder(running.base_url, api_key="") as embedder:
        embedder.embed_query(TEXT)
    assert running.authorizations == ["Bearer none"]


@pytest.mark.parametrize("api_key", ["line\nbreak", "schl\u00fcssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_quoted(api_key: str) -> None:
    with pytest.raises(ValueError, match="api_key must be printable ASCII") as caught:
        make_embedder("http://127.0.0.1:9/v1", api_key=api_key)
    assert api_key not in str(caught.value)


@pytest.mark.parametrize("base_url", ["", "nonsense", "ftp://host/v1", "http://", "http://[half"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url|Invalid IPv6"):
        make_embedder(base_url)


@pytest.mark.parametrize("options", [{"timeout_s": 0.0}, {"max_retries": -1}, {"batch_size": 0}])
def test_limits_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        make_embedder("http://127.0.0.1:9/v1", **options)
