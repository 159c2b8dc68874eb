"""A deadline for a whole exchange.

httpx bounds each wait for bytes, so that a server which sends one byte now and then is never out of time. Here every
operation on a connection gets what is left until the deadline of the call that the calling thread is in.
"""

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx


class Deadline:
    """When the call of the current thread has to be over."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        """Give the calls of this thread inside the block `timeout_s` seconds together."""
        self._local.at = time.monotonic() + timeout_s
        try:
            yield
        finally:
            self._local.at = None

    def bound(self, timeout_s: float | None, late: type[Exception]) -> float | None:
        """Return `timeout_s`, or what is left when that is less. Raises `late` when nothing is left."""
        at: float | None = getattr(self._local, "at", None)
        if at is None:
            return timeout_s
        left_s = at - time.monotonic()
        if left_s <= 0:
            raise late("the deadline of the call is over")
        return left_s if timeout_s is None else min(timeout_s, left_s)


class DeadlineTransport(httpx.HTTPTransport):
    """httpx's transport over connections that keep to `deadline`."""

    def __init__(self, deadline: Deadline, limits: httpx.Limits) -> None:
        super().__init__(trust_env=False, limits=limits)
        # httpx lets no network backend be given; httpcore, whose pool this is, does.
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(deadline),
        )


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout_s = self._deadline.bound(timeout, httpcore.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, timeout_s, local_address, socket_options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.bound(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.bound(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout_s = self._deadline.bound(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
