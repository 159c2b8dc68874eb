"""What waits to be done, as gauges: the broker is asked for its queues, PostgreSQL for the rows that are the work.

The web server tells them, because there is one whatever workers there are. A neighbour that does not answer costs a
scrape PATIENCE_S, and its gauges are left out until it does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.conf import settings
from django.db import connection, transaction
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import insights.selectors
import knowledge.selectors
from categorisation.queues import count_all_waiting
from categorisation.services import backlog
from categorisation.services.backlog import Age, OpenRuns, Unlabelled
from config.celery import app
from knowledge.selectors import Pending

logger = logging.getLogger(__name__)

FRESH_S = 5.0
PATIENCE_S = 1.0
STATEMENT_TIMEOUT_MS = 2_000
BROKER_TIMEOUT_S = 2.0

T = TypeVar("T")


class Asked(Generic[T]):
    """Something that a neighbour is asked for at most once in `fresh_s`, in a thread that nobody has to wait for."""

    def __init__(
        self, ask: Callable[[], T], *, fresh_s: float = FRESH_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asking: threading.Event | None = None
        self._answer: T | None = None
        self._fresh_until = 0.0

    def begin(self) -> None:
        """Ask, unless the last answer is fresh or still awaited."""
        with self._lock:
            if self._asking is not None or self._monotonic() < self._fresh_until:
                return
            self._asking = threading.Event()
            threading.Thread(target=self._run, name="figures", daemon=True).start()

    def read(self, patience_s: float) -> T | None:
        """The answer; None when it fails, or does not come in time."""
        self.begin()
        with self._lock:
            asking = self._asking
        if asking is not None:
            asking.wait(patience_s)
        with self._lock:
            return self._answer if self._monotonic() < self._fresh_until else None

    def _run(self) -> None:
        answer: T | None = None
        try:
            answer = self._ask()
        except Exception as error:  # noqa: BLE001 - drivers and transports raise kinds of their own; that it failed is what is told
            logger.debug("figures cannot be had: %s", type(error).__name__)
        with self._lock:
            self._answer, self._fresh_until = answer, self._monotonic() + self._fresh_s
            asking, self._asking = self._asking, None
        if asking is not None:
            asking.set()


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database says that is to be done."""

    unlabelled: dict[Age, Unlabelled]
    given_up: int
    runs: list[OpenRuns]
    documents: Pending
    reports: dict[str, int]


def read_rows() -> Rows:
    """Ask the database, for STATEMENT_TIMEOUT_MS a question at most. For a thread of its own, whose connection ends."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])
                cursor.execute("SELECT set_config('jit', 'off', true)")
                cursor.execute("SELECT set_config('max_parallel_workers_per_gather', '0', true)")
            return Rows(
                unlabelled=backlog.count_unlabelled(),
                given_up=backlog.count_given_up(),
                runs=backlog.count_open_runs(),
                documents=knowledge.selectors.count_pending(),
                reports=insights.selectors.count_reports(),
            )
    finally:
        connection.close()


def read_queues() -> dict[str, int]:
    """Ask the broker how many messages wait in each queue that tasks are sent to."""
    queues = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    return count_all_waiting(app, sorted(queues | {settings.CELERY_TASK_DEFAULT_QUEUE}), timeout_s=BROKER_TIMEOUT_S)


class Waiting(Collector):
    """Tells all that as gauges."""

    def __init__(
        self, read_rows: Callable[[], Rows] = read_rows, read_queues: Callable[[], dict[str, int]] = read_queues
    ) -> None:
        self._rows = Asked(read_rows)
        self._queues = Asked(read_queues)

    def collect(self) -> Iterator[Metric]:
        for each in (self._rows, self._queues):
            each.begin()
        deadline = time.monotonic() + PATIENCE_S
        queues = self._queues.read(PATIENCE_S)
        rows = self._rows.read(max(0.0, deadline - time.monotonic()))
        yield GaugeMetricFamily("parley_broker_up", "Whether the broker told its queues", queues is not None)
        yield GaugeMetricFamily("parley_database_up", "Whether PostgreSQL told what waits", rows is not None)
        if queues is not None:
            yield _family("queue_messages", "Messages that wait for a worker", "queue", queues.items())
        if rows is not None:
            yield from _tell_rows(rows)


def _tell_rows(rows: Rows) -> Iterator[Metric]:
    ages = rows.unlabelled.items()
    yield _family(
        "unlabelled_threads",
        f"Threads to be labelled, by the sweeper or by runs; {backlog.MOST} means at least so many",
        "age",
        ((age, waiting.threads) for age, waiting in ages),
    )
    yield _family(
        "unlabelled_oldest_age_seconds",
        "How long ago the oldest of them was begun",
        "age",
        ((age, waiting.oldest_s) for age, waiting in ages),
    )
    yield GaugeMetricFamily(
        "parley_given_up_threads", "Threads that could not be labelled in five attempts", rows.given_up
    )
    yield GaugeMetricFamily("parley_pending_documents", "Documents to be indexed", rows.documents.documents)
    yield GaugeMetricFamily(
        "parley_pending_documents_oldest_age_seconds", "How long the oldest of them has waited", rows.documents.oldest_s
    )
    yield _family(
        "reports",
        "Reports by e-mail that are due, of unknown fate (to be sent again by an operator), or failed of late",
        "state",
        rows.reports.items(),
    )
    open_runs = GaugeMetricFamily("parley_open_runs", "Runs that are not at their end", labels=["kind", "state"])
    left = GaugeMetricFamily("parley_open_runs_threads_left", "Threads that they have left", labels=["kind", "state"])
    for run in rows.runs:
        open_runs.add_metric([run.kind, run.state], run.runs)
        left.add_metric([run.kind, run.state], run.threads_left)
    yield from (open_runs, left)


def _family(name: str, documentation: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(f"parley_{name}", documentation, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family
