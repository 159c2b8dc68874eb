"""Log lines for people, or as JSON for machines; each names the request that it belongs to.

No question, answer or document stands in them unless LOG_TEXTS asks for that, and no key ever.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from observability import request_id
from observability.discretion import blank_secret_paths, describe, write_traceback

LogFormat = Literal["line", "json"]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
TEXTS = "texts"  # the logger of questions and answers, which is silent unless they are asked for
ROOMS = ("config", "observability", "schema", "teams", "knowledge", "query", "categorisation", "insights", "deploy")
LINE = "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"
JSON = "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s %(process)d %(threadName)s"
_JSON_NAMES = {"asctime": "time", "levelname": "level", "name": "logger", "threadName": "thread"}


class RequestIdFilter(logging.Filter):
    """Puts the request's id beside what a line says: Django's own lines on a request come when it is over."""

    def filter(self, record: logging.LogRecord) -> bool:
        of_request = getattr(getattr(record, "request", None), "request_id", None)
        record.request_id = of_request or request_id.current()
        return True


class LineFormatter(logging.Formatter):
    """Writes lines for people."""

    def __init__(self, fmt: str, *, shows_texts: bool) -> None:
        super().__init__(fmt)
        self._shows_texts = shows_texts

    def format(self, record: logging.LogRecord) -> str:
        return super().format(without_secrets(record) if self._shows_texts else without_texts(record))

    def formatException(self, ei: ExcInfo) -> str:  # type: ignore[override]  # noqa: N802  # logging's own name
        return super().formatException(ei) if self._shows_texts or ei[1] is None else write_traceback(ei[1], ei[2])


class ObjectFormatter(JsonFormatter):
    """Writes JSON objects: what their format names, and nothing of what libraries attach to a record besides."""

    def __init__(self, fmt: str, *, shows_texts: bool) -> None:
        super().__init__(fmt, rename_fields=_JSON_NAMES)
        self._shows_texts = shows_texts

    def format(self, record: logging.LogRecord) -> str:
        return super().format(without_secrets(record) if self._shows_texts else without_texts(record))

    def formatException(self, ei: ExcInfo) -> str:  # type: ignore[override]  # noqa: N802  # logging's own name
        if self._shows_texts or ei[1] is None:
            return logging.Formatter.formatException(self, ei)
        return write_traceback(ei[1], ei[2])

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        known = {name: record.__dict__.get(name) for name in self._required_fields}
        log_data |= {self.rename_fields.get(name, name): value for name, value in known.items()}
        log_data |= {name: message_dict[name] for name in ("exc_info", "stack_info") if message_dict.get(name)}


def without_texts(record: logging.LogRecord) -> logging.LogRecord:
    """A copy of the record in which exceptions are described, and not quoted; without secrets, too."""
    discreet = copy.copy(record)
    discreet.exc_text = None  # another handler may have written it
    if isinstance(record.msg, BaseException):
        discreet.msg = describe(record.msg)
    if isinstance(record.args, Mapping):
        discreet.args = {name: _discreet(value) for name, value in record.args.items()}
        if record.exc_info and record.exc_info[1] is not None and "exc" in record.args:  # Celery's, quoted already
            discreet.args["exc"] = describe(record.exc_info[1])
    elif record.args:
        discreet.args = tuple(_discreet(value) for value in record.args)
    return without_secrets(discreet)


def without_secrets(record: logging.LogRecord) -> logging.LogRecord:
    """The record, or a copy in which the secret part of a path is blanked."""
    message = record.getMessage()
    blanked = blank_secret_paths(message)
    if blanked == message:
        return record
    discreet = copy.copy(record)
    discreet.msg, discreet.args = blanked, ()
    return discreet


def _discreet(value: object) -> Any:
    return _Described(value) if isinstance(value, BaseException) else value


class _Described:
    """Stands where an exception stood, whether it is asked for its `str` or its `repr`."""

    def __init__(self, error: BaseException) -> None:
        self._description = describe(error)

    def __str__(self) -> str:
        return self._description

    __repr__ = __str__


def configure(log_format: LogFormat, level: str, *, shows_texts: bool = False) -> dict[str, Any]:
    """What `logging.config.dictConfig` wants: everything to stderr, and DEBUG for the service's own rooms alone.

    What libraries say at that level holds statements with their values, and what is sent to models.
    """
    formatters = {
        "line": {"()": LineFormatter, "fmt": LINE, "shows_texts": shows_texts},
        "json": {"()": ObjectFormatter, "fmt": JSON, "shows_texts": shows_texts},
    }
    handler = {"class": "logging.StreamHandler", "formatter": log_format, "filters": ["request_id"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestIdFilter}},
        "formatters": formatters,
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": "INFO" if level == "DEBUG" else level},
        "loggers": {
            **{room: {"level": level} for room in ROOMS},
            **{name: {"level": "WARNING"} for name in ("httpx", "httpx2", "openai")},
            "django": {"handlers": [], "propagate": True},  # its own, with DEBUG, writes what this one does not
            TEXTS: {"level": "INFO" if shows_texts else "CRITICAL"},
        },
    }
