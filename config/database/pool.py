"""A bounded number of connections that threads take turns with."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from observability import metrics


class Closable(Protocol):
    def close(self) -> None: ...


Connection = TypeVar("Connection", bound=Closable)


class NoneFree(Exception):
    """All connections were in use for as long as somebody would wait for one."""


class ConnectionPool(Generic[Connection]):
    """At most `size` connections at a time; who finds none free waits for up to `wait_s`.

    What lay unused for `trusted_s` is asked whether it `is_alive` before it is lent again. After a fork the child
    begins with none: the parent's are the parent's.
    """

    def __init__(
        self, size: int, *, wait_s: float, is_alive: Callable[[Connection], bool], trusted_s: float = 1.0
    ) -> None:
        if size < 1:
            raise ValueError("size must be at least 1")
        self._size = size
        self._wait_s = wait_s
        self._is_alive = is_alive
        self._trusted_s = trusted_s
        metrics.DATABASE_CONNECTIONS.inc(size)
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._free = threading.Semaphore(self._size)
        self._idle: deque[tuple[Connection, float]] = deque()

    def borrow(self, open_one: Callable[[], Connection]) -> Connection:
        """A connection that nobody else has: the one used last, or a new one.

        It comes back by `give_back`, or is reported gone by `forget`. Raises NoneFree, and what `open_one` raises.
        """
        self._take_place()
        try:
            return self._take_idle() or open_one()
        except BaseException:
            self._leave_place()
            raise

    def give_back(self, connection: Connection) -> None:
        """Let others have it."""
        self._idle.append((connection, time.monotonic()))
        self._leave_place()

    def forget(self) -> None:
        """One that was lent is closed, and may be replaced."""
        self._leave_place()

    def close_idle(self) -> None:
        """Close all that nobody has."""
        while self._idle:
            self._pop()[0].close()

    def _take_place(self) -> None:
        if not self._free.acquire(blocking=False):
            metrics.DATABASE_CONNECTIONS_AWAITED.inc()
            try:
                is_free = self._free.acquire(timeout=self._wait_s)
            finally:
                metrics.DATABASE_CONNECTIONS_AWAITED.dec()
            if not is_free:
                metrics.DATABASE_CONNECTIONS_REFUSED.inc()
                raise NoneFree(f"All {self._size} connections to the database are in use.")
        metrics.DATABASE_CONNECTIONS_IN_USE.inc()

    def _leave_place(self) -> None:
        metrics.DATABASE_CONNECTIONS_IN_USE.dec()
        self._free.release()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            try:
                connection, since = self._pop()
            except IndexError:  # another thread was faster
                return None
            if time.monotonic() - since < self._trusted_s or self._is_alive(connection):
                return connection
            connection.close()
        return None

    def _pop(self) -> tuple[Connection, float]:
        return self._idle.pop()  # the one used last: those that are not needed fall idle
