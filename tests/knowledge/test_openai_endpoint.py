from __future__ import annotations

import gzip
import json
import logging
import multiprocessing
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import openai
import pytest

from knowledge.errors import EndpointUnavailable
from knowledge.openai_endpoint import OpenAIEndpoint, read_bounded
from tests.knowledge import misbehaving_server as server

KEY = "sk-very-secret"
TEXT = "what nobody may read in a log"
NOWHERE = "http://127.0.0.1:9/v1"
MAX_BYTES = 50_000


def make_endpoint(base_url: str, **options: object) -> closing[OpenAIEndpoint]:
    given = {"api_key": KEY, "timeout_s": 5.0, "max_retries": 0, "called": "oracle", **options}
    return closing(OpenAIEndpoint(base_url=base_url, **given))  # type: ignore[arg-type]


async def request(client: openai.AsyncOpenAI) -> bytes:
    create = client.embeddings.with_streaming_response.create
    return await read_bounded(create(model="small", input=[TEXT]), max_bytes=MAX_BYTES)


def expect_unavailable(behaviour: server.Behaviour, **options: object) -> EndpointUnavailable:
    with (
        server.serve(behaviour) as running,
        make_endpoint(running.base_url, **options) as endpoint,
        pytest.raises(EndpointUnavailable) as caught,
    ):
        endpoint.call(request)
    return caught.value


def test_a_call_returns_what_the_request_does() -> None:
    with server.serve(server.answer_body(b"said")) as running, make_endpoint(running.base_url) as endpoint:
        assert endpoint.call(request) == b"said"
    assert running.authorizations == [f"Bearer {KEY}"]


def test_a_closed_endpoint_opens_again() -> None:
    with server.serve(server.answer_body(b"said")) as running, make_endpoint(running.base_url) as endpoint:
        endpoint.close()
        endpoint.call(request)
        endpoint.close()
        assert endpoint.call(request) == b"said"


def test_errors_that_are_not_the_endpoints_pass_and_are_not_tried_again() -> None:
    async def request_and_refuse(client: openai.AsyncOpenAI) -> None:
        await request(client)
        raise KeyError("mine")

    with (
        server.serve(server.answer_well) as running,
        make_endpoint(running.base_url, max_retries=2) as endpoint,
        pytest.raises(KeyError, match="mine"),
    ):
        endpoint.call(request_and_refuse)
    assert len(running.payloads) == 1


def test_a_body_of_the_largest_size_is_read_whole() -> None:
    body = b"a" * MAX_BYTES
    with server.serve(server.answer_body(body)) as running, make_endpoint(running.base_url) as endpoint:
        assert endpoint.call(request) == body


def test_a_body_without_end_is_read_a_little_beyond_the_bound() -> None:
    with server.serve(server.flood) as running, make_endpoint(running.base_url, timeout_s=60.0) as endpoint:
        assert MAX_BYTES < len(endpoint.call(request)) < MAX_BYTES + 10_000_000


@pytest.mark.parametrize("status", [307, 400, 429, 500])
def test_a_refusals_body_is_not_read_however_large_it_is(status: int) -> None:
    sent_bytes = 0

    def flood(exchange: server.Exchange) -> None:
        nonlocal sent_bytes
        head = f"HTTP/1.1 {status} No\r\nlocation: {NOWHERE}\r\ncontent-length: 400000000\r\n\r\n"
        exchange.wfile.write(head.encode())
        with suppress(OSError):  # the client went away
            for _ in range(4_000):
                exchange.wfile.write(b" " * 100_000)
                sent_bytes += 100_000
        exchange.close_connection = True

    assert f"status {status}" in str(expect_unavailable(flood, timeout_s=60.0))
    assert sent_bytes < 40_000_000  # what fits into the buffers between the two


def test_a_body_that_was_squeezed_unasked_is_not_unfolded() -> None:
    body = gzip.compress(b" " * 10_000_000)
    squeezed = server.answer_body(body, content_encoding="gzip")
    with server.serve(squeezed) as running, make_endpoint(running.base_url) as endpoint:
        assert endpoint.call(request) == body


def test_a_redirect_is_not_followed() -> None:
    with server.serve(server.answer_well) as elsewhere:
        redirected = server.answer_status(307, location=f"{elsewhere.base_url}/embeddings")
        assert "status 307" in str(expect_unavailable(redirected))
        assert elsewhere.payloads == []


@pytest.mark.parametrize("behaviour", [server.hang, server.trickle_headers, server.trickle_body])
def test_a_server_that_never_finishes_is_given_up_at_the_deadline(behaviour: server.Behaviour) -> None:
    # Each of the three goes on until the test lets it go: without a deadline over the whole, this would never return.
    error = expect_unavailable(behaviour, timeout_s=0.4, max_retries=5)
    assert error.retry_after_s > 0
    assert "oracle did not answer" in str(error)


@pytest.mark.parametrize("behaviour", [server.break_off, server.close_at_once, server.talk_no_http])
def test_a_connection_that_breaks_is_unavailable(behaviour: server.Behaviour) -> None:
    assert "connection to the oracle failed" in str(expect_unavailable(behaviour))


def test_a_refused_connection_is_unavailable() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        with (
            make_endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/v1") as endpoint,
            pytest.raises(EndpointUnavailable, match="connection"),
        ):
            endpoint.call(request)


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
    with server.serve(first, server.answer_well) as running, make_endpoint(running.base_url, max_retries=1) as endpoint:
        assert len(json.loads(endpoint.call(request))["data"]) == 1
    assert len(running.payloads) == 2


@pytest.mark.parametrize(("behaviour", "requests"), [(server.answer_status(500), 3), (server.answer_status(429), 1)])
def test_retries_are_bounded_and_a_rate_limit_is_not_hammered(behaviour: server.Behaviour, requests: int) -> None:
    with (
        server.serve(behaviour) as running,
        make_endpoint(running.base_url, max_retries=2) as endpoint,
        pytest.raises(EndpointUnavailable),
    ):
        endpoint.call(request)
    assert len(running.payloads) == requests


def test_many_lanes_share_one_endpoint() -> None:
    with (
        server.serve(server.answer_body(b"said")) as running,
        make_endpoint(running.base_url) as endpoint,
        ThreadPoolExecutor(8) as lanes,
    ):
        answers = list(lanes.map(endpoint.call, [request] * 16))
    assert answers == [b"said"] * 16


def test_a_forked_process_opens_its_own_connection() -> None:
    with server.serve(server.answer_body(b"said")) as running, make_endpoint(running.base_url) as endpoint:
        assert endpoint.call(request) == b"said"
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=_call_into, args=(endpoint, queue))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert queue.get() == b"said"


def _call_into(endpoint: OpenAIEndpoint, queue: multiprocessing.SimpleQueue[bytes]) -> None:
    queue.put(endpoint.call(request))


def test_a_server_that_wants_no_key_gets_none_of_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with server.serve(server.answer_well) as running, make_endpoint(running.base_url, api_key="") as endpoint:
        endpoint.call(request)
    assert running.authorizations == ["Bearer none"]


@pytest.mark.parametrize("api_key", ["line\nbreak", "schl\u00fcssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_quoted(api_key: str) -> None:
    with pytest.raises(ValueError, match="api_key must be printable ASCII") as caught:
        make_endpoint(NOWHERE, api_key=api_key)
    assert api_key not in str(caught.value)


@pytest.mark.parametrize("base_url", ["", "nonsense", "ftp://host/v1", "http://", "http://[half"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url|Invalid IPv6"):
        make_endpoint(base_url)


@pytest.mark.parametrize("options", [{"timeout_s": 0.0}, {"max_retries": -1}])
def test_limits_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        make_endpoint(NOWHERE, **options)
