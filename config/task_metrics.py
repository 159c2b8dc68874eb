"""What Celery's workers tell Prometheus: tasks by their end; on METRICS_PORT, the figures of all their processes."""

from __future__ import annotations

import sys
import time
from typing import Any

from celery import Task
from celery.signals import task_postrun, task_prerun, worker_init
from django.conf import settings

from observability import exposition, metrics

_begun: dict[str, float] = {}  # when the tasks that are under way in this process began, by their id


def count_tasks() -> None:
    """Listen to Celery's signals; to be called once in each process."""
    task_prerun.connect(_begin, weak=False)
    task_postrun.connect(_end, weak=False)
    worker_init.connect(serve_figures, weak=False)


def _begin(task_id: str, **_: Any) -> None:
    _begun[task_id] = time.perf_counter()
    metrics.TASKS_RUNNING.inc()


def _end(task_id: str, task: Task, state: str | None, **_: Any) -> None:
    if (begun := _begun.pop(task_id, None)) is None:
        return
    metrics.TASKS_RUNNING.dec()
    metrics.TASKS.labels(task.name, (state or "unknown").lower()).inc()
    metrics.TASK_SECONDS.labels(task.name).observe(time.perf_counter() - begun)


def serve_figures(**_: Any) -> None:
    """Answer on METRICS_PORT, if it is set, from the worker's first process, from which the others are forked."""
    port, token = settings.ENVIRONMENT.metrics_port, settings.ENVIRONMENT.metrics_token
    if port is None:
        return
    try:
        exposition.serve(port, token.get_secret_value() if token else "")
    except OSError as error:
        sys.exit(f"METRICS_PORT: cannot listen on port {port}: {error.strerror}")
