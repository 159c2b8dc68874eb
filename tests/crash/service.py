"""The service's own processes on the test's database: web, worker and beat, against a given broker."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deploy.local.ports import find_free_port
from deploy.local.process import Child, wait_until_ready
from deploy.local.services import answers
from teams.models import Project
from tests.plugin import START_TIMEOUT_S, Neighbours, _test_database_url

POLL_S = 0.02
# An embedder that costs nothing makes what a chat itself costs small, and what a broker adds to it plain.
WEB_ENVIRONMENT = {"EMBEDDER": "tests.knowledge.fakes.TinyEmbedder", "WEB_CONCURRENCY": "1", "WEB_THREADS": "8"}


@dataclass(frozen=True, slots=True)
class Bot:
    """A project that knows a document, and a key to it."""

    project: Project
    key: str

    @property
    def chat_path(self) -> str:
        return f"/query/v1/projects/{self.project.pk}/chat"


@dataclass(frozen=True, slots=True)
class Web:
    """A running web server."""

    child: Child
    client: httpx.Client

    def ask(self, bot: Bot, question: str) -> tuple[httpx.Response, float]:
        """The answer, and how long it took in seconds."""
        started = time.perf_counter()
        response = self.client.post(bot.chat_path, json={"question": question}, headers={"X-API-KEY": bot.key})
        return response, time.perf_counter() - started


@dataclass(slots=True)
class Service:
    """Starts processes that know one broker; stops them all when it is closed."""

    neighbours: Neighbours
    broker_url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    _clients: list[httpx.Client] = field(default_factory=list)

    def start_web(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Web:
        port = find_free_port()
        argv = ["gunicorn", "-c", "deploy/gunicorn.py", "--bind", f"127.0.0.1:{port}", *arguments]
        given = {**WEB_ENVIRONMENT, **(environment or {})}
        child = self._start("web", argv, given, lambda: answers(port, "/healthz"))
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0)
        self._clients.append(client)
        return Web(child, client)

    def start_worker(
        self, queues: str = "live", *, concurrency: int = 1, environment: Mapping[str, str] | None = None
    ) -> Child:
        ready = self.neighbours.folder / f"ready-{find_free_port()}"
        argv = ["celery", "-A", "config", "worker", "-Q", queues, "-n", f"{ready.name}@%h", "-c", str(concurrency)]
        argv += ["--loglevel=INFO", "--without-gossip", "--without-mingle", "--include", "deploy.worker_ready"]
        given = {"WORKER_READY_FILE": str(ready), **(environment or {})}
        return self._start("worker", argv, given, ready.exists)

    def start_beat(self, environment: Mapping[str, str] | None = None) -> Child:
        argv = ["celery", "-A", "config", "beat", "--loglevel=INFO", "--pidfile="]
        return self._start("beat", argv, environment or {}, None)

    def stop(self, *children: Child) -> None:
        self.neighbours.supervisor.stop_together(children)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.stop(*self.children)

    def _start(
        self, name: str, argv: Sequence[str], environment: Mapping[str, str], is_ready: Callable[[], bool] | None
    ) -> Child:
        command = self.neighbours.command(
            f"{name}-{len(self.children)}-{find_free_port()}",
            [sys.executable, "-m", *argv],
            {
                "DATABASE_URL": _test_database_url(),
                "CELERY_BROKER_URL": self.broker_url,
                **self.environment,
                **environment,
            },
            is_ready=is_ready,
        )
        child = self.neighbours.supervisor.start(command)
        self.children.append(child)
        self.logs.append(command.log_path)
        wait_until_ready(child, timeout_s=START_TIMEOUT_S)
        return child


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str) -> float:
    """How many seconds it took. Fails when it takes longer."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(POLL_S)
    return time.monotonic() - started


def tell(figures: str) -> None:
    """For whoever looks at the figures (`make soak` shows them)."""
    print(f"\n  {figures}", flush=True)  # noqa: T201
