"""One line for each request, by the id that its caller gave it or a new one."""

import logging
import re
import time
import uuid
from contextvars import ContextVar
from typing import Any, Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


def describe_logging(log_format: LogFormat) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` wants: lines on stderr, for people or as JSON, each with its request."""
    formatters: dict[str, Any] = {
        "line": {"format": _LINE},
        "json": {"()": "pythonjsonlogger.json.JsonFormatter", "format": _JSON, "rename_fields": _JSON_NAMES},
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
