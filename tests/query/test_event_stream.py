"""The events of an answer, whatever its making does."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Generator, Iterator

import pytest
from django.db import connection
from rest_framework.response import Response

from knowledge.cancellation import Cancelled, on_cancellation
from query import event_stream, services
from query.agent import SourcesFound, TextWritten
from query.event_stream import PING, client_of, write_events
from query.models import QuestionAnswer
from query.streaming import make_aside
from teams.models import Project

PARTS = ("sources", "text", "answer", "exchange")
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


def test_nothing_is_made_before_it_is_asked_for():
    made = []

    def make() -> Generator[int, None, None]:
        for number in range(3):
            made.append(number)
            yield number

    parts = make_aside(make)
    assert next(parts) == 0
    time.sleep(0.1)
    assert made == [0]
    assert next(parts) == 1
    parts.close()
    time.sleep(0.1)
    assert made == [0, 1]


@pytest.mark.django_db(transaction=True)
def test_an_answer_is_kept_for_an_asker_who_is_there_when_it_is_whole(project: Project):
    for last in PARTS:
        made: list[object] = []

        def make(made: list[object] = made) -> Generator[object, None, None]:
            for part in services.ask_in_parts(project=project, question="Is it kept?"):
                made.append(part)
                yield part

        def is_gone(made: list[object] = made, last: str = last) -> bool:
            time.sleep(0.1)  # for the lane to run ahead, if it did
            return len(made) > PARTS.index(last)

        assert b"event: done" not in b"".join(events_of(make, is_gone))
        wait_for_lanes()
        assert QuestionAnswer.objects.exists() == (last == "exchange"), last


def wait_for_lanes() -> None:
    for thread in threading.enumerate():
        if thread.name == "answer":
            thread.join(10)


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_a_part_is_taken(taught: Project):
    def make() -> Generator[object, None, None]:
        for part in services.ask_in_parts(project=taught, question="How do I retry a task with exponential backoff?"):
            held.append(connection.connection is not None)
            yield part

    held: list[bool] = []
    assert [event.partition(b"\n")[0] for event in events_of(make)][-1] == b"event: done"
    wait_for_lanes()
    assert len(held) >= len(PARTS)
    assert not any(held[:-1])


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
