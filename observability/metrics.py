"""Every figure that the service's processes count, by name. No label tells whose a thing is: figures are for operators.

Where METRICS_PORT is set, or the web server has prepared a folder, the processes of a server count together
(observability/metrics_folder.py). Elsewhere a process counts for itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from observability import metrics_folder

if os.environ.get("METRICS_PORT"):  # a worker's
    metrics_folder.prepare()
# prometheus_client decides at its import, and Celery's command has imported it before us, by Flower's plug-in
values.ValueClass = values.MutexValue if metrics_folder.find() is None else values.MultiProcessValue()  # type: ignore[misc]

REGISTRY = CollectorRegistry()
SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
LONG_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


def _counter(name: str, documentation: str, **labels: tuple[str, ...]) -> Counter:
    """With `name=("a", "b")`, one label, whose values are told from the beginning, as 0."""
    counter = Counter(f"parley_{name}", documentation, tuple(labels), registry=REGISTRY)
    for known in labels.values():
        for value in known:
            counter.labels(value)
    return counter


def _histogram(name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"parley_{name}", documentation, labels, buckets=buckets, registry=REGISTRY)


def _gauge(name: str, documentation: str) -> Gauge:
    """The sum over the processes that are alive."""
    return Gauge(f"parley_{name}", documentation, registry=REGISTRY, multiprocess_mode="livesum")


# -- the web server ---------------------------------------------------------------------------------------------------

HTTP_REQUESTS = Counter(
    "parley_http_requests",
    "Requests answered, by the route's template, method and class of status",
    ("route", "method", "status"),
    registry=REGISTRY,
)
HTTP_REQUEST_SECONDS = _histogram(
    "http_request_seconds", "Until a request was answered; a streamed one to its end", LONG_S, "route", "method"
)
HTTP_REQUESTS_IN_FLIGHT = _gauge("http_requests_in_flight", "Requests being answered, streamed ones to their end")
THROTTLED_REQUESTS = _counter("throttled_requests_total", "Calls refused with 429 because their key made too many")
CHAT_STEP_SECONDS = _histogram("chat_step_seconds", "How long the steps of an answer took", LONG_S, "step")
ANSWERS = _counter(
    "answers_total", "Answers written; uncertain: the documents did not tell", outcome=("certain", "uncertain")
)
STREAMED_ANSWERS = _counter("streamed_answers_total", "How streamed answers ended", end=("done", "error", "abandoned"))
DEPENDENCY_FAILURES = _counter(
    "dependency_failures_total",
    "Calls and tasks that had to be put off because a neighbour failed",
    dependency=("database", "vectordb", "embedder", "llm"),
)
NUDGES = _counter(
    "nudges_total", "Messages to workers; the sweepers find the work of those not sent", outcome=("sent", "dropped")
)
DATABASE_CONNECTIONS = _gauge("database_pool_connections", "Connections that the processes may have at most")
DATABASE_CONNECTIONS_IN_USE = _gauge("database_pool_in_use", "Connections lent to threads")
DATABASE_CONNECTIONS_AWAITED = _gauge("database_pool_waiting", "Threads that wait for a connection")
DATABASE_CONNECTIONS_REFUSED = _counter("database_pool_timeouts_total", "Threads that waited in vain for a connection")

# -- workers ----------------------------------------------------------------------------------------------------------

TASKS = Counter("parley_tasks", "Tasks that ended, by name and Celery's state", ("task", "state"), registry=REGISTRY)
TASK_SECONDS = _histogram("task_seconds", "How long tasks took", LONG_S, "task")
TASKS_RUNNING = _gauge("tasks_running", "Tasks being run")
CLASSIFICATIONS = _counter(
    "classifications_total",
    "What became of the threads that were claimed",
    outcome=("labelled", "superseded", "dropped", "postponed", "failed", "given up"),
)
CLASSIFIER_CALL_SECONDS = _histogram("classifier_call_seconds", "How long a call of the classifier took", LONG_S)
LANES_BUSY = _gauge("lanes_busy", "Calls of the classifier under way")
BATCHES = _counter(
    "batches_total", "Batches of the backfill; idle: another one of the worker was at it", outcome=("worked", "idle")
)
LABEL_WRITE_SECONDS = _histogram("label_write_seconds", "How long a flush of labels took", SHORT_S)
DOCUMENTS = _counter(
    "documents_total", "What came of taking up a document", outcome=("indexed", "unfinished", "postponed", "failed")
)
REPORTS = _counter(
    "reports_total",
    "What became of reports by e-mail that were taken up; due: refused for now; lost: another sender had taken it",
    outcome=("sent", "skipped", "due", "failed", "unknown", "lost"),
)
INDEXING_STEP_SECONDS = _histogram("indexing_step_seconds", "How long the steps of indexing took", LONG_S, "step")


@contextmanager
def timed(histogram: Histogram, *labels: str) -> Iterator[None]:
    """Observe how long the block takes, whether it raises or not."""
    started = time.perf_counter()
    try:
        yield
    finally:
        (histogram.labels(*labels) if labels else histogram).observe(time.perf_counter() - started)
