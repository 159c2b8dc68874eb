"""The events of an answer, whatever its making does."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Generator, Iterator

import pytest
from rest_framework.response import Response

from knowledge.cancellation import Cancelled, on_cancellation
from query import event_stream
from query.agent import SourcesFound, TextWritten
from query.event_stream import PING, client_of, write_events
from query.streaming import make_aside

FAILED = {"type": "server_error", "errors": []}


def describe(error: Exception) -> Response:
    response = Response(FAILED, status=500)
    if isinstance(error, LookupError):
        response["Retry-After"] = "7"
    return response


def events_of(make: object, is_gone: object = lambda: False) -> list[bytes]:
    return list(write_events(make, describe=describe, is_gone=is_gone))  # type: ignore[arg-type]


def test_pings_come_while_nothing_else_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_stream, "PING_EVERY_S", 0.0)

    def make() -> Generator[SourcesFound, None, None]:
        time.sleep(1.2)
        yield SourcesFound(())

    events = events_of(make)
    assert events[-1] == b'event: sources\ndata: {"relevant_sources":[]}\n\n'
    assert set(events[:-1]) == {PING}
    assert len(events) >= 3


@pytest.mark.parametrize(("error", "retry_after_s"), [(LookupError("secret"), b"7"), (RuntimeError("secret"), b"null")])
def test_what_fails_in_the_middle_is_told_once_and_without_its_words(error: Exception, retry_after_s: bytes):
    def make() -> Generator[TextWritten, None, None]:
        yield TextWritten("Yes")
        raise error

    events = events_of(make)
    assert events[1] == b'event: delta\ndata: {"text":"Yes"}\n\n'
    assert events[2:] == [
        b'event: error\ndata: {"type":"server_error","errors":[],"status":500,"retry_after_s":%s}\n\n' % retry_after_s
    ]


def test_nothing_more_is_made_for_an_asker_who_is_gone():
    made = []

    def make() -> Generator[TextWritten, None, None]:
        for number in range(1_000):
            made.append(number)
            yield TextWritten("x")
            time.sleep(0.01)

    assert events_of(make, is_gone=lambda: len(made) > 2) == [PING] + [b'event: delta\ndata: {"text":"x"}\n\n'] * 2
    settled = len(made)
    time.sleep(0.2)
    assert len(made) <= settled + 1


def test_closing_cancels_what_is_waited_for():
    cancelled = threading.Event()
    ended = threading.Event()

    def make() -> Generator[int, None, None]:
        try:
            yield 1
            with on_cancellation(cancelled.set):
                assert cancelled.wait(10)
                raise Cancelled
        finally:
            ended.set()

    parts = make_aside(make, tick_s=0.01)
    assert next(parts) == 1
    assert next(parts) is None
    parts.close()
    assert ended.wait(10)


def test_without_anybody_to_cancel_it_nothing_is_heard():
    with on_cancellation(lambda: pytest.fail("nobody asked for it")):
        pass


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("descriptor", [None, 1500])
def test_an_asker_is_gone_when_he_hangs_up_and_not_before(many_descriptors: None, descriptor: int | None):
    served, client = socket.socketpair()
    if descriptor is not None:
        os.dup2(served.fileno(), descriptor)
        served.close()
        served = socket.socket(fileno=descriptor)
    with served, client:
        served.settimeout(30)
        is_gone = client_of({"gunicorn.socket": served})
        assert not is_gone()
        client.sendall(b"GET / HTTP/1.1")  # the next request, sent ahead
        assert not is_gone()
        assert served.recv(100)
        assert not is_gone()
        client.close()
        assert is_gone()
        served.close()
        assert is_gone()
