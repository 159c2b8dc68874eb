"""Telling the figures to Prometheus: what is written, who may read it, and a small server for processes without one."""

from __future__ import annotations

import hmac
import ipaddress
import os
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from observability import metrics_folder
from observability.metrics import REGISTRY

PATH = "/metrics"
CLIENT_TIMEOUT_S = 5.0
_TRIES = 5
_PAUSE_S = 0.02


def write(accept: str = "", collectors: Sequence[Collector] = ()) -> tuple[bytes, str]:
    """What all processes of this server counted and what `collectors` add, and its content type.

    `accept` is the request's header of that name: it says which of Prometheus's formats is wanted.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_Gathered([*_collect_counted(), *(metric for each in collectors for metric in each.collect())])), (
        content_type
    )


class _Gathered(CollectorRegistry):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _collect_counted() -> list[Metric]:
    folder = metrics_folder.find()
    if folder is None:
        return list(REGISTRY.collect())
    with metrics_folder.settled(folder):
        for _ in range(_TRIES - 1):
            try:
                return list(MultiProcessCollector(None, str(folder)).collect())
            except struct.error:  # a process has begun a file, and not written its head yet
                time.sleep(_PAUSE_S)
        return list(MultiProcessCollector(None, str(folder)).collect())


def may_read(*, authorization: str, peer: str, is_forwarded: bool, token: str) -> bool:
    """Whoever has the token, where there is one; otherwise only this very machine, and nobody through a proxy on it."""
    if token:
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())
    return not is_forwarded and _is_loopback(peer)


def _is_loopback(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return address.is_loopback or bool(getattr(address, "ipv4_mapped", None) and address.ipv4_mapped.is_loopback)  # type: ignore[union-attr]


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_TIMEOUT_S
    token: ClassVar[str]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self._answer(404, b"Not found.\n")
            return
        given = {
            "authorization": self.headers.get("Authorization", ""),
            "peer": str(self.client_address[0]),
            "is_forwarded": any(name in self.headers for name in ("X-Forwarded-For", "Forwarded")),
        }
        if not may_read(token=self.token, **given):  # type: ignore[arg-type]
            self._answer(401 if self.token else 403, b"METRICS_TOKEN says who may read this.\n")
            return
        body, content_type = write(self.headers.get("Accept", ""))
        self._answer(200, body, content_type)

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """It is asked every few seconds: no lines about that."""


def serve(port: int, token: str) -> ThreadingHTTPServer:
    """Answer on that port, from a thread of this process, until it ends. Raises OSError when the port is taken."""
    handler = type("Handler", (_Handler,), {"token": token})
    server = ThreadingHTTPServer(("", port), handler)
    server.daemon_threads = True
    os.register_at_fork(after_in_child=server.socket.close)  # the port is this process's alone
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
