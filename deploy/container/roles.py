"""The processes that the image can be, by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from deploy.local.services import BACKFILL_PROCESSES

LIVE_PROCESSES = 3
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # of the container, whose ports are published by whoever runs it
READY_FILES = {name: f"/tmp/{name}.ready" for name in ("worker", "worker-ingest", "worker-backfill")}  # noqa: S108


class UnknownRole(Exception):
    """The message is for whoever started the container."""


def argv_of(role: str, arguments: list[str], environ: Mapping[str, str]) -> list[str]:
    """What becomes of the container's process. Raises UnknownRole."""
    commands = {
        "web": lambda: _python("gunicorn", "-c", "deploy/gunicorn.py"),
        "worker": lambda: _worker("live,mail", "service-worker", LIVE_PROCESSES),
        "worker-ingest": lambda: _worker("ingest", "service-worker-ingest", _count(environ, "INGEST_PROCESSES", 1)),
        "worker-backfill": lambda: ["nice", *_worker("backfill", "service-worker-backfill", BACKFILL_PROCESSES)],
        "beat": lambda: _celery("deploy.container.beat", "beat", "--pidfile=", "--loglevel=INFO"),
        "flower": lambda: _python("celery", "flower", f"--address={EVERY_ADDRESS}", "--port=5555"),
        "vectordb": lambda: _python("vectordb", "serve", "--host", EVERY_ADDRESS, "--port", "8003"),
        "demo": lambda: _python("deploy.container.demo"),
        "backup": lambda: _python("deploy.backup"),
        "manage": lambda: [sys.executable, "manage.py"],
    }
    if role not in commands:
        raise UnknownRole(f"There is no role {role}, but {', '.join(sorted([*commands, 'secrets']))}.")
    return [*commands[role](), *arguments]


def _worker(queues: str, node: str, processes: int) -> list[str]:
    argv = _celery("config", "worker", "-Q", queues, "-n", f"{node}@%h", "-c", str(processes), "--loglevel=INFO")
    return [*argv, "--without-gossip", "--without-mingle", "--include", "deploy.worker_ready"]


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1000):
        raise UnknownRole(f"{name} must be a whole number, 1 to 999; it is {text!r}.")
    return int(text)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _celery(application: str, *arguments: str) -> list[str]:
    return _python("celery", "-A", application, *arguments)
