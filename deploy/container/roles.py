"""The processes that the image can be, by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from deploy.local.services import BACKFILL_PROCESSES

LIVE_PROCESSES = 3
READY_FILES = {name: f"/tmp/{name}.ready" for name in ("worker", "worker-ingest", "worker-backfill")}  # noqa: S108


class UnknownRole(Exception):
    """The message is for whoever started the container."""


def argv_of(role: str, arguments: list[str], environ: Mapping[str, str]) -> list[str]:
    """What becomes of the container's process. Raises UnknownRole."""
    match role:
        case "web":
            return _python("gunicorn", "-c", "deploy/gunicorn.py", *arguments)
        case "worker":
            return _worker("live,mail", "service-worker", LIVE_PROCESSES, arguments)
        case "worker-ingest":
            return _worker("ingest", "service-worker-ingest", _count(environ, "INGEST_PROCESSES", 1), arguments)
        case "worker-backfill":
            return ["nice", *_worker("backfill", "service-worker-backfill", BACKFILL_PROCESSES, arguments)]
        case "beat":
            return _celery("beat", "--pidfile=", "--loglevel=INFO", *arguments)
        case "flower":
            return _python("celery", "flower", "--address=0.0.0.0", "--port=5555", *arguments)
        case "vectordb":
            return _python("vectordb", "serve", "--host", "0.0.0.0", "--port", "8003", *arguments)
        case "manage":
            return [sys.executable, "manage.py", *arguments]
    raise UnknownRole(f"There is no role {role}; see deploy/container/roles.py.")


def _worker(queues: str, node: str, processes: int, arguments: list[str]) -> list[str]:
    argv = ("worker", "-Q", queues, "-n", f"{node}@%h", "-c", str(processes), "--loglevel=INFO")
    return _celery(*argv, "--include", "deploy.worker_ready", *arguments)


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1000):
        raise UnknownRole(f"{name} must be a whole number, 1 or more; it is {text!r}.")
    return int(text)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _celery(*arguments: str) -> list[str]:
    return _python("celery", "-A", "config", *arguments)
