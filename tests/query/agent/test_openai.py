"""The client of OpenAI-compatible models, against a real server process that misbehaves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from knowledge.cancellation import Cancellation, Cancelled, cancellable_by
from query.agent import Exchange, RAGAgent
from query.agent.openai import _THOUGHTS, OpenAILLM, _read_text, drop_thoughts
from query.errors import LLMUnavailable
from tests.knowledge import misbehaving_server
from tests.openai_server import MODES, RETRY_AFTER_S, RunningServer, running_openai_server
from tests.query.agent.fakes import FakeRetriever, passage, prompt

KEY = "sk-very-secret"
QUESTION = prompt("How do I keep a secret question?", passage("Set max_retries."))
# What a call may take at most, with its timeout of one second; far above, so that a busy machine fails no test.
BOUND_S = 15.0


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_openai_server() as running:
        yield running


@pytest.fixture
def llm(server: RunningServer) -> Iterator[OpenAILLM]:
    server.set_mode("ok")
    client = OpenAILLM(base_url=server.base_url, model="test", api_key=KEY, timeout_s=10.0, max_retries=1)
    yield client
    client.close()


def impatient(server: RunningServer) -> OpenAILLM:
    return OpenAILLM(base_url=server.base_url, model="test", api_key=KEY, timeout_s=1.0, max_retries=1)


def test_an_answer_is_written_from_the_sources(server: RunningServer, llm: OpenAILLM):
    assert llm.generate(QUESTION) == "It says: Set max_retries. [1]."
    last = server.read_requests()["last"][-1]
    assert last == {"path": "/v1/chat/completions", "authorization": f"Bearer {KEY}"}


def test_a_follow_up_is_rewritten_by_one_call(server: RunningServer, llm: OpenAILLM):
    before = server.read_requests()["count"]
    assert llm.make_self_contained("And it?", [Exchange("What is a chord?", "This.")]) == "And it?"
    assert server.read_requests()["count"] == before + 1


def test_the_agent_answers_with_it(llm: OpenAILLM):
    answer = RAGAgent(FakeRetriever([passage("Set max_retries.")]), llm).answer("How?", [])
    assert answer.text == "It says: Set max_retries. [1]."
    assert not answer.is_uncertain


def test_the_address_that_may_hold_a_password_is_in_no_log(server: RunningServer, caplog: pytest.LogCaptureFixture):
    address = server.base_url.replace("://", "://user:very-secret@")
    llm = OpenAILLM(base_url=address, model="test", api_key=KEY, timeout_s=10.0, max_retries=1)
    with caplog.at_level(logging.INFO):
        assert llm.generate(QUESTION)
    llm.close()
    assert "secret" not in caplog.text


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("ok", "slow")])
def test_every_fault_ends_in_bounded_time_as_unavailable(server: RunningServer, mode: str):
    server.set_mode(mode)
    llm = impatient(server)
    started_at = time.monotonic()
    with pytest.raises(LLMUnavailable) as caught:
        llm.generate(QUESTION)
    assert time.monotonic() - started_at < BOUND_S
    assert caught.value.retry_after_s == (RETRY_AFTER_S if mode in ("429", "500") else 5)
    server.set_mode("ok")
    llm.close()


def test_a_streamed_answer_comes_in_pieces_and_is_the_same(llm: OpenAILLM):
    pieces = list(llm.stream(QUESTION))
    assert len(pieces) > 3
    assert "".join(pieces) == llm.generate(QUESTION)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("ok", "slow")])
def test_every_fault_of_a_stream_ends_in_bounded_time_as_unavailable(server: RunningServer, mode: str):
    server.set_mode(mode)
    llm = impatient(server)
    started_at = time.monotonic()
    with pytest.raises(LLMUnavailable):
        list(llm.stream(QUESTION))
    assert time.monotonic() - started_at < BOUND_S
    server.set_mode("ok")
    llm.close()


def test_a_stream_that_has_begun_is_not_asked_for_again(server: RunningServer, llm: OpenAILLM):
    server.set_mode("break_off")
    before = server.read_requests()["count"]
    with pytest.raises(LLMUnavailable):
        list(llm.stream(QUESTION))
    assert server.read_requests()["count"] == before + 1


@pytest.mark.parametrize("way", ["closed", "cancelled"])
def test_a_stream_that_nobody_reads_any_more_ends_the_call(server: RunningServer, llm: OpenAILLM, way: str):
    server.set_mode("hang")
    before = server.read_requests()["abandoned"]
    cancellation = Cancellation()
    with cancellable_by(cancellation):
        pieces = llm.stream(QUESTION)
        assert next(pieces)
        if way == "closed":
            pieces.close()
        else:
            cancellation.request()
            with pytest.raises(Cancelled):
                list(pieces)
    deadline = time.monotonic() + BOUND_S
    while server.read_requests()["abandoned"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_call_that_is_cancelled_ends_at_once(server: RunningServer, llm: OpenAILLM):
    server.set_mode("hang")
    cancellation = Cancellation()
    threading.Timer(0.3, cancellation.request).start()
    started_at = time.monotonic()
    with cancellable_by(cancellation), pytest.raises(Cancelled):
        llm.generate(QUESTION)
    assert time.monotonic() - started_at < 8.0  # its timeout is 10


thoughts = st.lists(st.sampled_from(["<think>", "</think>", "<thi", "nk>", " ", "\n", "Yes [1].", "<"]), max_size=8)


@given(thoughts)
@example(["<think>", "hm", "</think>", "\n", "Yes"])
@example(["<think>", "never ended"])
def test_thoughts_are_no_part_of_a_stream_either(pieces: list[str]):
    assert "".join(drop_thoughts(pieces)).strip() == _THOUGHTS.sub("", "".join(pieces), count=1).strip()


def test_long_thoughts_in_small_pieces_are_dropped():
    text = "<think>" + "so many words " * 30_000 + "</think>\nYes [1]."
    assert "".join(drop_thoughts(text[start : start + 4] for start in range(0, len(text), 4))) == "Yes [1]."


def test_a_slow_answer_within_the_time_is_an_answer(server: RunningServer, llm: OpenAILLM):
    server.set_mode("slow")
    assert llm.generate(QUESTION).endswith("[1].")


def test_nobody_listening_is_unavailable():
    with pytest.raises(LLMUnavailable):
        OpenAILLM(base_url="http://127.0.0.1:1/v1", model="m", api_key=KEY, timeout_s=5.0).generate(QUESTION)


def test_an_answer_without_end_is_given_up_before_it_fills_the_memory():
    with misbehaving_server.serve(misbehaving_server.flood) as running:
        llm = OpenAILLM(base_url=running.base_url, model="m", api_key=KEY, timeout_s=60.0, max_retries=1)
        with pytest.raises(LLMUnavailable, match="too large"):
            llm.generate(QUESTION)
        llm.close()
    assert len(running.payloads) == 1


def test_lost_connections_and_5xx_are_tried_again_and_refusals_are_not(server: RunningServer, llm: OpenAILLM):
    counts = {}
    for mode in ("500", "break_off", "429", "nonsense"):
        server.set_mode(mode)
        before = server.read_requests()["count"]
        with pytest.raises(LLMUnavailable):
            llm.generate(QUESTION)
        counts[mode] = server.read_requests()["count"] - before
    assert counts == {"500": 2, "break_off": 2, "429": 1, "nonsense": 1}


@pytest.mark.parametrize("mode", ["500", "429", "nonsense", "hang"])
def test_neither_key_nor_texts_reach_messages_or_logs(
    server: RunningServer, mode: str, caplog: pytest.LogCaptureFixture
):
    # The SDK and its transport log what they send at DEBUG: that is the reader's own wish, and not our doing.
    caplog.set_level(logging.INFO)
    server.set_mode(mode)
    with pytest.raises(LLMUnavailable) as caught:
        impatient(server).generate(QUESTION)
    told = f"{caught.value} {caplog.text}"
    assert KEY not in told
    assert "secret question" not in told
    assert "max_retries" not in told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"message": {"content": "  "}}]}',
        b'{"choices": [{"message": {"content": ["a"]}}]}',
        b'{"choices": {"0": 1}}',
        b"\xff\xfe",
    ],
)
def test_bodies_without_text_are_unavailable(body: bytes):
    with pytest.raises(LLMUnavailable):
        _read_text(body)


def test_what_a_model_thinks_aloud_is_no_part_of_the_answer():
    body = b'{"choices": [{"message": {"content": "<think>hm\\nhm</think>\\nYes \\u0000[1]."}}]}'
    assert _read_text(body) == "Yes [1]."


@pytest.mark.parametrize(
    "wrong",
    [{"base_url": "example.com"}, {"base_url": "ftp://x"}, {"timeout_s": 0}, {"max_retries": -1}, {"api_key": "ü"}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"."):
        OpenAILLM(**{"base_url": "http://x/v1", "model": "m", "api_key": "k", **wrong})
