"""A streamed answer as server-sent events: `sources`, `delta` as often as there is text, then `done` or `error`."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import Context
from typing import Any

import orjson
from rest_framework.response import Response

from observability import metrics
from query.agent import Answer, AnswerPart, SourcesFound, TextWritten
from query.models import QuestionAnswer
from query.serializers import ChatAnswer, FoundSources
from query.streaming import Parts, make_aside

CONTENT_TYPE = "text/event-stream"
PING = b": ping\n\n"
PING_EVERY_S = 10.0  # the contract's bound is 15

Part = AnswerPart | QuestionAnswer


def write_events(
    make: Callable[[], Parts[Part]],
    *,
    describe: Callable[[Exception], Response],
    is_gone: Callable[[], bool],
    context: Context | None = None,
) -> Iterator[bytes]:
    """The events of the answer that `make` makes in parts, exactly one terminal one, and pings while nothing comes.

    It ends without another word when the asker `is_gone`, and so does the answer: he is looked for after each part
    before the next is begun, and when the answer is whole before it is written down. `describe` turns what is raised
    into the response that a call without streaming would get. `context` is the request's, which is over when this
    begins.
    """
    silent_since, end = time.monotonic(), "abandoned"
    try:
        yield PING  # the headers go out with it: whoever waits sees that it was heard
        with closing(make_aside(make, context=context)) as parts:
            for part in parts:
                if isinstance(part, QuestionAnswer):
                    end = "done"  # it is kept, whether or not somebody reads of it
                if is_gone():
                    return
                now = time.monotonic()
                if isinstance(part, Answer):
                    continue  # and with that it is written down
                if part is not None:
                    silent_since = now
                    yield _write(part)
                elif now - silent_since >= PING_EVERY_S:
                    silent_since = now
                    yield PING
    except Exception as error:  # noqa: BLE001 - the status is sent: every failure has to be told here
        end = "error"
        yield _write_error(describe(error))
    finally:
        metrics.STREAMED_ANSWERS.labels(end).inc()


def client_of(environ: dict[str, Any]) -> Callable[[], bool]:
    """Whether whoever asked has hung up, as far as the server lets us see its socket."""
    connection: socket.socket | None = environ.get("gunicorn.socket")

    def is_gone() -> bool:
        if connection is None:
            return False
        try:
            events = select.poll()  # select.select knows no descriptor beyond 1023
            events.register(connection, select.POLLIN)
            return bool(events.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):  # closed already
            return True

    return is_gone


def _write(part: SourcesFound | TextWritten | QuestionAnswer) -> bytes:
    match part:
        case SourcesFound():
            return _write_event("sources", FoundSources(part).data)
        case TextWritten():
            return _write_event("delta", {"text": part.text})
        case QuestionAnswer():
            return _write_event("done", ChatAnswer(part).data)


def _write_error(response: Response) -> bytes:
    retry_after = response.headers.get("Retry-After")
    told = {"status": response.status_code, "retry_after_s": int(retry_after) if retry_after else None}
    return _write_event("error", {**response.data, **told})


def _write_event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))
