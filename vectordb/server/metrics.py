"""`/metrics` for Prometheus: what this process counts and measures. No label names a library: that would tell whose it
is, and there may be many.
"""

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vectordb.engine import Database, Load, Step
from vectordb.errors import StorageFailed
from vectordb.server.exchange import database_of, threads_of

router = APIRouter(tags=["health"])

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_INDEX = ("flat", "ready")  # every library's, as yet


class ServerMetrics:
    """What is counted while the server runs. The engine tells it how long things take."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "vectordb_http_requests",
            "Requests answered, by the route's template, method and class of status",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "vectordb_http_request_seconds",
            "Until a request was answered",
            ("route", "method"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("vectordb_http_requests_in_flight", "Requests being answered", registry=self.registry)
        self._step_seconds = Histogram(
            "vectordb_search_step_seconds",
            "How long the steps of searches took",
            ("step",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commit_seconds = Histogram(
            "vectordb_commit_seconds",
            "How long commits took: most of it is the fsync of the log",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def note_step(self, step: Step, seconds: float) -> None:
        """Observe a step of a search."""
        self._step_seconds.labels(step).observe(seconds)

    def note_commit(self, seconds: float) -> None:
        """Observe a commit."""
        self._commit_seconds.observe(seconds)


class Libraries(Collector):
    """What all libraries hold together, at the moment of asking."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        libraries = self._database.list_libraries()
        loads: list[Load] = []
        for library in libraries:
            try:
                loads.append(library.measure_load())
            except StorageFailed:  # it is being deleted
                continue
        read_only = sum(library.is_read_only for library in libraries)
        yield GaugeMetricFamily("vectordb_libraries", "Libraries that are open", len(loads))
        yield GaugeMetricFamily("vectordb_libraries_read_only", "Those that take no writes any more", read_only)
        yield _sum("chunks", "Chunks", [load.chunks for load in loads])
        yield _sum("disk_bytes", "Bytes of the libraries' files", [load.bytes_on_disk for load in loads])
        yield _sum("index_memory_bytes", "Bytes of the indexes in memory", [load.bytes_in_memory for load in loads])
        yield _sum("writes_waiting", "Writes that wait for a writer", [load.writes_waiting for load in loads])
        yield _sum("writes_waiting_bytes", "Bytes that they keep in memory", [load.bytes_waiting for load in loads])
        indexes = GaugeMetricFamily("vectordb_indexes", "Indexes by type and state", labels=["type", "state"])
        indexes.add_metric(list(_INDEX), len(loads))
        yield indexes


def _sum(name: str, documentation: str, values: list[int]) -> Metric:
    return GaugeMetricFamily(f"vectordb_{name}", documentation, sum(values))


class MeasureRequests:
    """ASGI middleware: counts and measures every request."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_and_look)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, f"{status // 100}xx").inc()
            self._metrics.request_seconds.labels(route, method).observe(time.perf_counter() - started)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The figures in Prometheus's text format. The key may also come as `Authorization: Bearer`."""
    counted: ServerMetrics = request.app.state.metrics
    encode, content_type = choose_encoder(request.headers.get("accept", ""))

    def write() -> bytes:
        return encode(_All(counted.registry, Libraries(database_of(request))))

    return Response(await threads_of(request).read(write), media_type=content_type)


class _All(CollectorRegistry):
    def __init__(self, *collectors: Collector) -> None:
        super().__init__()
        self._all = collectors

    def collect(self) -> Iterator[Metric]:
        for each in self._all:
            yield from each.collect()
