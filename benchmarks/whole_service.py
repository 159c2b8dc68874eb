"""The whole service as a benchmark needs it: vectordb, web servers, workers and beat, and bots that know something."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.surroundings import Surroundings
from deploy.local.ports import accepts, find_free_port
from deploy.local.services import answers

if TYPE_CHECKING:
    from teams.models import Project

QUESTION = "Is a task that fails retried with exponential backoff when retry_backoff is set?"
DOCUMENT = "# Retries\n\nA task that fails is retried with exponential backoff when retry_backoff is set."


class WholeService:
    """Its processes in private surroundings; what `environment` says holds for all of them."""

    def __init__(self, surroundings: Surroundings, environment: Mapping[str, str]) -> None:
        self._surroundings = surroundings
        os.environ |= {"LOG_LEVEL": "ERROR", **environment}
        self._start_vectordb()
        surroundings.prepare_database()
        surroundings.start_broker()

    def start_web(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """A web server as it is deployed; its base URL."""
        port = find_free_port()
        argv = ["gunicorn", "-c", "deploy/gunicorn.py", "--bind", f"127.0.0.1:{port}", *arguments]
        self._start(f"web-{port}", argv, environment or {}, lambda: answers(port, "/healthz"))
        return f"http://127.0.0.1:{port}"

    def start_worker(self, queues: str, *, processes: int, is_nice: bool = False) -> None:
        """One that `is_nice` leaves processors to the others, as the backfill's does where it is deployed."""
        name = f"worker-{queues.replace(',', '-')}"
        ready = self._surroundings.folder / f"{name}.ready"
        argv = ["celery", "-A", "config", "worker", "-Q", queues, "-n", f"{name}@%h", "-c", str(processes)]
        argv += ["--without-gossip", "--without-mingle", "--include", "deploy.worker_ready"]
        self._start(name, argv, {"WORKER_READY_FILE": str(ready)}, ready.exists, is_nice=is_nice)

    def start_beat(self) -> None:
        schedule = str(self._surroundings.folder / "beat")
        self._start("beat", ["celery", "-A", "config", "beat", "--schedule", schedule, "--pidfile="], {}, None)

    def _start_vectordb(self) -> None:
        port = find_free_port()
        os.environ |= {"VECTORDB_URL": f"http://127.0.0.1:{port}", "VECTORDB_API_KEY": secrets.token_urlsafe(32)}
        argv = ["vectordb", "serve", "--data", str(self._surroundings.folder / "vectordb")]
        self._start("vectordb", [*argv, "--port", str(port), "--host", "127.0.0.1"], {}, lambda: accepts(port))

    def _start(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        is_ready: Callable[[], bool] | None,
        *,
        is_nice: bool = False,
    ) -> None:
        whole = [*(["nice"] if is_nice else []), sys.executable, "-m", *argv]
        command = self._surroundings.command(name, whole, environment, is_ready)
        self._surroundings.start(command)


def make_bot(name: str, scopes: Sequence[str]) -> tuple[Project, str]:
    """A project that can answer QUESTION, and a key to it."""
    from knowledge import tasks
    from knowledge.models import Document
    from teams.services import create_api_key, create_project

    project = create_project(team_name="benchmark", name=name)
    document = Document.objects.create(
        project=project, title="Retries", content=DOCUMENT, content_type="text/markdown", content_sha256="0" * 64
    )
    tasks.index_document.run(str(document.pk))
    _, key = create_api_key(project=project, name="benchmark", scopes=list(scopes))
    return project, key
