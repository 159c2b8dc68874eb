"""Log lines for people, or as JSON for machines; each names the request that it belongs to."""

from __future__ import annotations

import logging
from typing import Any, Literal

from observability import request_id

LogFormat = Literal["line", "json"]
LINE = "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"
JSON = "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s %(process)d %(threadName)s"


class RequestIdFilter(logging.Filter):
    """Puts the request's id beside what a line says."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.current()
        return True


def configure(log_format: LogFormat, level: str) -> dict[str, Any]:
    """What `logging.config.dictConfig` wants: everything to stderr, quiet about what libraries send."""
    formatters = {
        "line": {"format": LINE},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": JSON,
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger", "threadName": "thread"},
        },
    }
    handler = {"class": "logging.StreamHandler", "formatter": log_format, "filters": ["request_id"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestIdFilter}},
        "formatters": formatters,
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {"httpx": {"level": "WARNING"}, "openai": {"level": "WARNING"}},
    }
