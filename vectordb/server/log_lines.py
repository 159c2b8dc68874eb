"""One line for each request, by the id that its caller gave it or a new one; and of what fails, nothing that it quotes.

An exception's message may hold a text that somebody stored or asked for: it stands in the log only with
VECTORDB_LOG_TEXTS.
"""

import logging
import re
import time
import traceback
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vectordb.errors import VectorDBError

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
LogFormat = Literal["line", "json"]
HEADER = "X-Request-ID"
_LINE = "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s %(process)d %(threadName)s"
_JSON_NAMES = {"asctime": "time", "levelname": "level", "name": "logger", "threadName": "thread"}
_QUIET = ("/healthz", "/readyz", "/metrics")
"""What is asked all the time, by machines."""
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("vectordb.requests")
_request_id: ContextVar[str] = ContextVar("request_id", default="-")


class LogRequests:
    """Gives each request its id, answers with it, and writes its line when it has ended: never its query or body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _accept_or_make(Headers(scope=scope).get(HEADER))
        token = _request_id.set(request_id)
        begun = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            took_ms = (time.perf_counter() - begun) * 1e3
            level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
            path = scope["path"].encode("unicode_escape").decode()  # decoded by the server: it may hold line ends
            _log.log(level, "%s %s %d %.1f ms", scope["method"], path, status, took_ms)
            _request_id.reset(token)


def _accept_or_make(offered: str | None) -> str:
    return offered if offered is not None and _WELL_FORMED.fullmatch(offered) else uuid.uuid4().hex


class _NameRequest(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _request_id.get()
        return True


class _LineFormatter(logging.Formatter):
    def formatException(self, ei: _ExcInfo) -> str:  # type: ignore[override]  # noqa: N802  # logging's own name
        return _write_exception(ei)


class _ObjectFormatter(JsonFormatter):
    def formatException(self, ei: _ExcInfo) -> str:  # type: ignore[override]  # noqa: N802
        return _write_exception(ei)


def _write_exception(exc_info: _ExcInfo) -> str:
    return "".join(_describe(exc_info[1], exc_info[2], set())).rstrip("\n")


def _describe(error: BaseException | None, frames: TracebackType | None, seen: set[int]) -> Iterator[str]:
    """Give the lines of a traceback, what led to it first; an exception of ours with its message, others without."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _describe(earlier, earlier.__traceback__, seen)
        yield "\nWhich led to:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(frames)
    yield f"{type(error).__name__}: {error}\n" if isinstance(error, VectorDBError) else f"{type(error).__name__}\n"


def describe_logging(log_format: LogFormat, *, shows_texts: bool = False) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` wants: lines on stderr, for people or as JSON, each with its request."""
    line, json = (logging.Formatter, JsonFormatter) if shows_texts else (_LineFormatter, _ObjectFormatter)
    formatters: dict[str, Any] = {
        "line": {"()": line, "fmt": _LINE},
        "json": {"()": json, "fmt": _JSON, "rename_fields": _JSON_NAMES},
    }
    handler = {"class": "logging.StreamHandler", "formatter": log_format, "filters": ["request"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request": {"()": _NameRequest}},
        "formatters": formatters,
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }
